//! What the jobs of workloads do: this program itself, so that a job costs as little as it can.

use std::io::Write as _;
use std::time::Duration;

use anyhow::Result;
use bowline_core::size::parse_size;
use bowline_core::time::Span;
use clap::Subcommand;

use crate::clock::{Stopwatch, pause};

/// Between two pieces of a steady log.
const PIECE_EVERY: Duration = Duration::from_millis(50);
/// A line of a log, with its end.
const LINE: &[u8; 64] = b"a line of a log, as long as such lines are, and then a little..\n";
/// Lines are written so many at a time, in bytes.
const PIECE_BYTES: usize = 64 << 10;

/// What a job does.
#[derive(Debug, Subcommand)]
pub(crate) enum Play {
    /// Writes a log as fast as it can, or so much each second.
    Log {
        /// So much in all.
        #[arg(long, value_parser = parse_size)]
        bytes: u64,
        /// For so long, evenly. As fast as it can where not said.
        #[arg(long)]
        over: Option<Span>,
    },
}

/// Does it.
pub(crate) fn play(play: &Play) -> Result<()> {
    let Play::Log { bytes, over } = play;
    let piece: Vec<u8> = LINE.iter().copied().cycle().take(PIECE_BYTES).collect();
    let mut out = std::io::stdout().lock();
    let watch = Stopwatch::start();
    let mut written = 0;
    while written < *bytes {
        let due = over.map_or(*bytes, |over| due(*bytes, over.0, watch.elapsed()));
        while written < due {
            let length = usize::try_from(due - written).unwrap_or(usize::MAX).min(piece.len());
            out.write_all(&piece[..length])?;
            written += length as u64;
        }
        if written < *bytes {
            pause(PIECE_EVERY);
        }
    }
    Ok(out.flush()?)
}

/// How much of it must be written after so long.
fn due(bytes: u64, over: Duration, elapsed: Duration) -> u64 {
    let part = u128::from(bytes) * elapsed.as_millis() / over.as_millis().max(1);
    u64::try_from(part).unwrap_or(u64::MAX).min(bytes)
}

#[cfg(test)]
mod tests {
    use super::{Duration, due};

    #[test]
    fn a_steady_log_comes_evenly_and_ends() {
        let second = Duration::from_secs(1);
        assert_eq!((due(1_000, second, second / 2), due(1_000, second, second * 3)), (500, 1_000));
        assert_eq!(due(7, Duration::ZERO, Duration::from_millis(1)), 7);
    }
}
