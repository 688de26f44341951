//! Reading the rows that parked inputs wait for; and the fetcher, the thread that does so beside the writer.
//!
//! A need arises only for what is not in the engine's memory, and what has changed leaves that
//! memory only when it is durable: so a read that begins after the need arose sees it.

use std::sync::Arc;

use bowline_core::id::ParkId;
use bowline_core::input::{Fact, Need};
use bowline_store::{ReadStore, StoreError};
use tokio::sync::mpsc;

use crate::returns::Return;

/// Needs of one parked input.
pub(crate) type Parked = (ParkId, Vec<Need>);

/// Reads what a parked input needs: one fact for each need, in their order.
pub fn facts(reader: &dyn ReadStore, needs: &[Need]) -> Result<Vec<Fact>, StoreError> {
    needs.iter().map(|need| reader.fact(need)).collect()
}

/// The fetcher's thread: ends when the writer drops its end, or when the store can't be read.
pub(crate) fn run(
    reader: &Arc<dyn ReadStore>,
    parked: &mut mpsc::UnboundedReceiver<Parked>,
    returns: &mpsc::UnboundedSender<Return>,
) {
    while let Some((park, needs)) = parked.blocking_recv() {
        let back = match facts(reader.as_ref(), &needs) {
            Ok(facts) => Return::Facts { park, facts },
            Err(error) => Return::Broken(format!("reading what a request needs: {}", chain(&error))),
        };
        let broken = matches!(back, Return::Broken(_));
        if returns.send(back).is_err() || broken {
            return;
        }
    }
}

/// An error with its sources, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
