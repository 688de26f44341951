//! A bad network between two ends that know each other by it alone: it delays, stalls, resets, half-closes, and
//! cuts in the middle of a frame.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::plan::Weather;

/// Bytes that are passed on at once.
const PIECE_BYTES: usize = 16 << 10;
/// While it delays, each piece waits so long.
const DELAY: Duration = Duration::from_millis(40);
/// And is no larger than this.
const DELAYED_BYTES: usize = 700;

/// What connections look at before each piece.
#[derive(Debug, Clone, Copy, Default)]
struct Now {
    weather: Option<Weather>,
    /// Counts what happens once to all that are open.
    resets: u64,
    half_up: u64,
    half_down: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Up,
    Down,
}

/// A relay. It ends with its owner.
#[derive(Debug)]
pub(crate) struct Relay {
    now: watch::Sender<Now>,
    /// So many bytes more pass before everything is reset.
    cut: Arc<Mutex<Option<(Way, usize)>>>,
    _work: JoinSet<()>,
}

impl Relay {
    /// Whoever connects there talks to the target.
    pub(crate) async fn new(listen: SocketAddr, target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(listen).await.with_context(|| format!("listening on {listen}"))?;
        let (now, told) = watch::channel(Now::default());
        let cut = Arc::new(Mutex::new(None));
        let mut work = JoinSet::new();
        let shared = Arc::new(Shared { target, told, reset: now.clone(), cut: Arc::clone(&cut) });
        work.spawn(accept(listener, shared));
        Ok(Self { now, cut, _work: work })
    }

    /// From here on it does this to all connections, or once to those that are open.
    pub(crate) fn begin(&self, weather: Weather) {
        let cut = |way, bytes| *self.cut.lock().unwrap_or_else(PoisonError::into_inner) = Some((way, bytes));
        match weather {
            Weather::Delays | Weather::Stalls => self.now.send_modify(|now| now.weather = Some(weather)),
            Weather::Resets => self.now.send_modify(|now| now.resets += 1),
            Weather::ResetsAfterUp(bytes) => cut(Way::Up, bytes),
            Weather::ResetsAfterDown(bytes) => cut(Way::Down, bytes),
            Weather::HalfClosesUp => self.now.send_modify(|now| now.half_up += 1),
            Weather::HalfClosesDown => self.now.send_modify(|now| now.half_down += 1),
        }
    }

    /// It only passes bytes on.
    pub(crate) fn mend(&self) {
        *self.cut.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.now.send_modify(|now| now.weather = None);
    }
}

#[derive(Debug)]
struct Shared {
    target: SocketAddr,
    told: watch::Receiver<Now>,
    reset: watch::Sender<Now>,
    cut: Arc<Mutex<Option<(Way, usize)>>>,
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((from, _)) = accepted {
                    open.spawn(carry_both(from, Arc::clone(&shared)));
                }
            }
            Some(_) = open.join_next() => {}
        }
    }
}

async fn carry_both(from: TcpStream, shared: Arc<Shared>) {
    let mut told = shared.told.clone();
    let resets = told.borrow_and_update().resets;
    let Ok(to) = TcpStream::connect(shared.target).await else { return };
    for end in [&from, &to] {
        // Whatever is unsent when it is closed is dropped, and the other end gets a reset.
        rustix::net::sockopt::set_socket_linger(end, Some(Duration::ZERO)).ok();
        end.set_nodelay(true).ok();
    }
    let ((from_read, from_write), (to_read, to_write)) = (from.into_split(), to.into_split());
    let is_reset = async {
        while told.changed().await.is_ok() {
            if told.borrow_and_update().resets != resets {
                return;
            }
        }
    };
    tokio::select! {
        () = is_reset => {}
        _ = futures::future::join(
            carry(Way::Up, from_read, to_write, &shared),
            carry(Way::Down, to_read, from_write, &shared),
        ) => {}
    }
}

/// Passes bytes on, one way, until an end is gone.
async fn carry(way: Way, mut read: OwnedReadHalf, mut write: OwnedWriteHalf, shared: &Shared) {
    let mut told = shared.told.clone();
    let half = |now: &Now| if way == Way::Up { now.half_up } else { now.half_down };
    let halves = half(&told.borrow_and_update());
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let now = *told.borrow_and_update();
        if half(&now) != halves {
            // Nothing more goes this way; the other one stays.
            write.shutdown().await.ok();
            return;
        }
        if now.weather == Some(Weather::Stalls) {
            if told.changed().await.is_err() {
                return;
            }
            continue;
        }
        let is_slow = now.weather == Some(Weather::Delays);
        let limit = if is_slow { DELAYED_BYTES } else { PIECE_BYTES };
        let length = tokio::select! {
            length = read.read(&mut piece[..limit]) => length.unwrap_or(0),
            changed = told.changed() => {
                if changed.is_err() { return }
                continue;
            }
        };
        if length == 0 {
            write.shutdown().await.ok();
            return;
        }
        if is_slow {
            tokio::time::sleep(DELAY).await;
        }
        let passes = due(way, length, &shared.cut);
        if write.write_all(&piece[..passes]).await.is_err() {
            return;
        }
        if passes < length {
            shared.reset.send_modify(|now| now.resets += 1);
            return;
        }
    }
}

/// How many of these bytes pass before a cut.
fn due(way: Way, length: usize, cut: &Mutex<Option<(Way, usize)>>) -> usize {
    let mut cut = cut.lock().unwrap_or_else(PoisonError::into_inner);
    match *cut {
        Some((which, left)) if which == way && left < length => {
            *cut = None;
            left
        }
        Some((which, left)) if which == way => {
            *cut = Some((which, left - length));
            length
        }
        Some(_) | None => length,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_comes_at_its_byte_and_once() {
        let cut = Mutex::new(Some((Way::Up, 10)));
        assert_eq!(due(Way::Down, 100, &cut), 100);
        assert_eq!(due(Way::Up, 8, &cut), 8);
        assert_eq!(due(Way::Up, 8, &cut), 2);
        assert_eq!(due(Way::Up, 8, &cut), 8);
    }
}
