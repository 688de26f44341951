//! What a child writes into its log, shown as it comes: for `up --verbose`.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::output::raw_error;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Most bytes shown of one look; more come with the next.
const PIECE_BYTES_MAX: u64 = 1 << 20;

/// Shows what comes from now on, each line with the child's name before it. Ends with the process.
#[expect(clippy::disallowed_methods, reason = "a thread beside everything else, with nothing to be waited for")]
pub(super) fn follow(name: &'static str, log: PathBuf) {
    let mut place = Place::end_of(&log);
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(LOOK_EVERY);
            let text = place.read(&log).unwrap_or_default();
            let lines: Vec<String> = text.lines().map(|line| format!("{name}: {line}\n")).collect();
            if raw_error(lines.concat().as_bytes()).is_err() {
                return;
            }
        }
    });
}

/// How far a log was read.
#[derive(Debug, Default, PartialEq, Eq)]
struct Place {
    file: u64,
    offset: u64,
}

impl Place {
    fn end_of(log: &Path) -> Self {
        std::fs::metadata(log).map(|log| Self { file: log.ino(), offset: log.len() }).unwrap_or_default()
    }

    /// The whole lines that came since. A log that was begun anew is read from its start.
    fn read(&mut self, log: &Path) -> std::io::Result<String> {
        let mut file = File::open(log)?;
        let now = file.metadata()?;
        if now.ino() != self.file || now.len() < self.offset {
            *self = Self { file: now.ino(), offset: 0 };
        }
        file.seek(SeekFrom::Start(self.offset))?;
        let mut bytes = Vec::new();
        file.take(PIECE_BYTES_MAX).read_to_end(&mut bytes)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        self.offset += whole as u64;
        Ok(String::from_utf8_lossy(&bytes[..whole]).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn whole_lines_are_read_once_and_a_log_begun_anew_from_its_start() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("server.log");
        std::fs::write(&log, "before\n").unwrap();
        let mut place = Place::end_of(&log);
        assert_eq!(place.read(&log).unwrap(), "");
        let mut file = File::options().append(true).open(&log).unwrap();
        file.write_all(b"one\ntw").unwrap();
        assert_eq!(place.read(&log).unwrap(), "one\n");
        file.write_all(b"o\n").unwrap();
        assert_eq!(place.read(&log).unwrap(), "two\n");
        std::fs::rename(&log, folder.path().join("server.log.1")).unwrap();
        std::fs::write(&log, "anew\n").unwrap();
        assert_eq!(place.read(&log).unwrap(), "anew\n");
    }
}
