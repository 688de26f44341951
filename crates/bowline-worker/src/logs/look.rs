//! Reads the next range of a job's file, masked; notices that the job truncated it; gives back to the disk
//! what is not kept of a long one. Blocks: runs in the pool.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use bowline_core::id::AttemptRef;
use bowline_protocol::{LogKeep, LogStream};
use bytes::Bytes;

use super::mask::Mask;
use super::tail::Growth;

/// Bytes by which it is known that a file was not written anew: the last ones that were read.
const CHECK_BYTES: u64 = 64;
/// Blocks of the disk are given back in such pieces.
const PUNCH_BYTES: u64 = 64 << 10;

/// A range to read.
#[derive(Debug, Clone)]
pub(crate) struct Look {
    pub(crate) attempt: AttemptRef,
    pub(crate) stream: LogStream,
    pub(crate) path: PathBuf,
    pub(crate) mask: Option<Arc<Mask>>,
    pub(crate) cut: Option<Cut>,
    pub(crate) keep: LogKeep,
    /// In the log.
    pub(crate) from: u64,
    pub(crate) bytes_max: u64,
    pub(crate) growth: Growth,
}

/// Where a job's file begins in its log, and how it was found last.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Cut {
    /// Where in the log the file's first byte lies.
    pub(crate) base: u64,
    /// How long the log was.
    pub(crate) size: u64,
    /// Where in the log these bytes lie: the last ones that were read.
    check_at: u64,
    check: Vec<u8>,
    /// The file has nothing any more from what is kept of its beginning up to here, in the file.
    punched: u64,
}

/// What a look found.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) look: Look,
    pub(crate) mask: Arc<Mask>,
    pub(crate) cut: Cut,
    /// Where the bytes begin: further on than looked for where what lies between is not kept.
    pub(crate) jumped_to: u64,
    /// Masked.
    pub(crate) bytes: Bytes,
    /// When the file was written last, in milliseconds since 1970.
    pub(crate) written_ms: u64,
    /// The final length, where the end was reached and nothing can follow.
    pub(crate) length: Option<u64>,
}

impl Look {
    /// A file that is not there is an empty log; what cannot be read is taken for the log's end where the
    /// job is over, so that a log never holds anything back.
    pub(crate) fn read(self) -> Seen {
        match self.try_read() {
            Ok(seen) => seen,
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(attempt = %self.attempt, path = %self.path.display(), %error, "a log cannot be read");
                }
                let length = (self.growth == Growth::Over).then_some(self.from);
                Seen {
                    mask: self.mask.clone().unwrap_or_default(),
                    cut: self.cut.clone().unwrap_or_default(),
                    jumped_to: self.from,
                    bytes: Bytes::new(),
                    written_ms: 0,
                    length,
                    look: self,
                }
            }
        }
    }

    fn try_read(&self) -> io::Result<Seen> {
        let mask = match &self.mask {
            Some(mask) => Arc::clone(mask),
            None => Arc::new(Mask::read(&mask_file(&self.path))?),
        };
        let mut cut = match &self.cut {
            Some(cut) => cut.clone(),
            None => Cut { base: read_base(&self.path)?, size: self.from, ..Cut::default() },
        };
        let file = File::open(&self.path)?;
        let metadata = file.metadata()?;
        let in_file = metadata.len();
        if cut.is_new_file(&file, in_file)? {
            let base = self.from.max(cut.base);
            write_base(&self.path, base)?;
            tracing::info!(attempt = %self.attempt, at = base, "a job truncated its own output");
            cut = Cut { base, size: base, ..Cut::default() };
        }
        let size = cut.base + in_file;
        let middle_end = size.saturating_sub(self.keep.tail);
        let is_long = size > self.keep.head + self.keep.tail;
        // What came before the file's beginning cannot be had any more.
        let mut from = self.from.max(cut.base);
        if is_long && from >= self.keep.head {
            from = from.max(middle_end);
        }
        let mut until = size.min(from.saturating_add(self.bytes_max));
        if is_long && from < self.keep.head {
            until = until.min(self.keep.head);
        }
        let mut bytes = range(&file, cut.base, (from, until))?;
        let is_final = self.growth == Growth::Over && from + bytes.len() as u64 >= size;
        if !is_final {
            bytes.truncate(bytes.len() - mask.held(&bytes));
        }
        mask_behind(&mask, &mut bytes, &file, (cut.base, from))?;
        let end = from + bytes.len() as u64;
        cut.size = size;
        cut.remember(&file, end)?;
        if is_long {
            // A little more stays: what is kept is masked together with what stands before it.
            cut.punch(&self.path, self.keep.head, middle_end.saturating_sub(PUNCH_BYTES));
        }
        let written_ms = metadata.modified().ok().map_or(0, milliseconds);
        let length = is_final.then_some(end);
        let bytes = Bytes::from(bytes);
        Ok(Seen { look: self.clone(), mask, cut, jumped_to: from, bytes, written_ms, length })
    }
}

/// The bytes as they are.
fn range(file: &File, base: u64, (from, until): (u64, u64)) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(until.saturating_sub(from)).unwrap_or(0)];
    let read = read_full(file, &mut bytes, from - base)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// Masks bytes, with what stands before them: a secret may reach into them.
fn mask_behind(mask: &Mask, bytes: &mut Vec<u8>, file: &File, (base, from): (u64, u64)) -> io::Result<()> {
    let context = mask.context().min(from - base);
    if context == 0 {
        mask.apply(bytes);
        return Ok(());
    }
    let mut whole = vec![0; usize::try_from(context).unwrap_or(0)];
    let read = read_full(file, &mut whole, from - base - context)?;
    if read < whole.len() {
        // The file is shorter than it was: the next look finds out why.
        bytes.clear();
        return Ok(());
    }
    let before = whole.len();
    whole.append(bytes);
    mask.apply(&mut whole);
    *bytes = whole.split_off(before);
    Ok(())
}

impl Cut {
    /// Whether the file is another one than it was: shorter than what was read of it, or with other bytes.
    fn is_new_file(&self, file: &File, in_file: u64) -> io::Result<bool> {
        if in_file < self.size.saturating_sub(self.base) {
            return Ok(true);
        }
        let at = self.check_at.saturating_sub(self.base);
        if self.check.is_empty() || at < self.punched {
            return Ok(false);
        }
        let mut now = vec![0; self.check.len()];
        Ok(read_full(file, &mut now, at)? < now.len() || now != self.check)
    }

    /// The file was read up to there.
    fn remember(&mut self, file: &File, end: u64) -> io::Result<()> {
        let length = CHECK_BYTES.min(end - self.base);
        let mut check = vec![0; usize::try_from(length).unwrap_or(0)];
        if read_full(file, &mut check, end - length - self.base)? == check.len() {
            (self.check_at, self.check) = (end - length, check);
        }
        Ok(())
    }

    /// Gives back the disk's blocks of what is not kept: from, to in the log.
    fn punch(&mut self, path: &Path, from: u64, to: u64) {
        let from = self.punched.max(from.saturating_sub(self.base).next_multiple_of(PUNCH_BYTES));
        let to = to.saturating_sub(self.base) / PUNCH_BYTES * PUNCH_BYTES;
        if from >= to {
            return;
        }
        self.punched = to;
        #[cfg(target_os = "linux")]
        {
            use rustix::fs::FallocateFlags;
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            let punched = OpenOptions::new()
                .write(true)
                .open(path)
                .and_then(|file| Ok(rustix::fs::fallocate(&file, flags, from, to - from)?));
            if let Err(error) = punched {
                // Where the file system cannot do it, the bytes stay until the attempt is done with.
                tracing::debug!(path = %path.display(), %error, "a long log cannot be made smaller");
            }
        }
    }
}

fn read_full(file: &File, bytes: &mut [u8], at: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], at + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn milliseconds(at: SystemTime) -> u64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(0)
}

/// What is to be masked in the logs of this folder.
pub(crate) fn mask_file(log: &Path) -> PathBuf {
    log.with_file_name("masked")
}

fn base_file(log: &Path) -> PathBuf {
    log.with_extension("base")
}

fn read_base(log: &Path) -> io::Result<u64> {
    match fs::read_to_string(base_file(log)) {
        Ok(text) => text.trim().parse().map_err(io::Error::other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

/// Whole or not at all: it is known before anything that was written after it is sent.
fn write_base(log: &Path, base: u64) -> io::Result<()> {
    let (path, new) = (base_file(log), log.with_extension("base-new"));
    fs::write(&new, base.to_string())?;
    File::open(&new)?.sync_all()?;
    fs::rename(&new, &path)
}
