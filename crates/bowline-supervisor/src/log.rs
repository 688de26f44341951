//! What the supervisor has to say: a few lines in a small file, because nobody looks at its terminal.

use std::fmt;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::clock::boottime;

/// The log ends here, in bytes.
const BYTES_MAX: usize = 1 << 20;

/// The log of one life of a supervisor.
#[derive(Debug)]
pub(crate) struct Log {
    file: File,
    room: usize,
}

impl Log {
    /// Begins anew.
    pub(crate) fn begin(path: &Path) -> io::Result<Self> {
        let file = File::options().create(true).write(true).truncate(true).mode(0o600).open(path)?;
        Ok(Self { file, room: BYTES_MAX })
    }

    /// Adds a line, with the time since boot.
    pub(crate) fn say(&mut self, text: impl fmt::Display) {
        let line = format!("{:.3} {text}\n", boottime().as_secs_f64());
        let Some(room) = self.room.checked_sub(line.len()) else { return };
        self.room = room;
        // A disk that takes no log is no reason to stop.
        self.file.write_all(line.as_bytes()).ok();
    }
}
