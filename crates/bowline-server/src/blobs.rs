//! Blobs beside the store: collecting those that nobody names any more.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bowline_blob::{BlobError, BlobStore, Digest};
use bowline_store::{ReadStore, StoreError};
use tokio_util::sync::CancellationToken;

use crate::clock;

/// Between two rounds, at least and at most.
const ROUND_EVERY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_hours(1));

/// Blobs could not be collected.
#[derive(Debug, thiserror::Error)]
enum CollectError {
    #[error(transparent)]
    Blob(#[from] BlobError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Goes through the blobs now and then, until it is cancelled.
pub(crate) async fn collect(
    blobs: Arc<BlobStore>,
    reader: Arc<dyn ReadStore>,
    kept: Duration,
    stop: CancellationToken,
) {
    let every = (kept / 2).clamp(ROUND_EVERY.0, ROUND_EVERY.1);
    loop {
        let (blobs, reader) = (Arc::clone(&blobs), Arc::clone(&reader));
        let round = tokio::task::spawn_blocking(move || round(&blobs, &*reader, kept)).await;
        match round {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "blobs not collected; tried again later");
            }
            Err(error) => tracing::error!(%error, "collecting blobs panicked"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(every) => {}
        }
    }
}

fn round(blobs: &BlobStore, reader: &dyn ReadStore, kept: Duration) -> Result<(), CollectError> {
    let collected = blobs.collect((clock::system(), kept), |some| -> Result<HashSet<Digest>, CollectError> {
        let texts: Vec<String> = some.iter().map(ToString::to_string).collect();
        let named = reader.named_blobs(&texts)?;
        Ok(some.iter().zip(&texts).filter(|(_, text)| named.contains(*text)).map(|(digest, _)| *digest).collect())
    })?;
    if collected != bowline_blob::Collected::default() {
        tracing::info!(
            blobs = collected.blobs,
            bytes = collected.bytes,
            uploads = collected.uploads,
            "blobs collected that nobody named"
        );
    }
    Ok(())
}
