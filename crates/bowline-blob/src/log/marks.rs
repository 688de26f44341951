//! What a log says of itself beside its bytes: what is left out, where its job truncated it, and when
//! what was written. Kept in a file of fixed records beside the log, written before the bytes that
//! they go with.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crate::error::LogError;

/// Bytes of a record: its kind and two numbers.
pub(super) const RECORD_BYTES: usize = 24;
/// Most records that are read at a time.
const RECORDS_MAX: usize = 2_048;

/// What is left out of a log, and where its job truncated it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogMarks {
    /// Ranges that never came: from, to. In order, none touches another.
    gaps: Vec<(u64, u64)>,
    /// Where the job truncated its own output.
    truncated: Vec<u64>,
    /// First and last bytes that are kept of a longer log.
    keep: Option<(u64, u64)>,
}

/// A record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Record {
    /// What comes from this offset on was written at this time, in milliseconds since 1970.
    Time(u64, u64),
    /// From, to: never came.
    Gap(u64, u64),
    /// The job truncated its output here.
    Truncated(u64),
    /// First and last bytes that are kept.
    Keep(u64, u64),
}

impl LogMarks {
    /// What is left out of a log that is so long: from, to; in order, apart from each other.
    pub fn left_out(&self, length: u64) -> Vec<(u64, u64)> {
        let mut all: Vec<_> = self.gaps.iter().map(|(from, to)| (*from, (*to).min(length))).collect();
        all.extend(self.middle(length));
        merged(all)
    }

    /// Where the job truncated its own output, in order.
    pub fn truncated(&self) -> &[u64] {
        &self.truncated
    }

    /// What lies between the first and the last bytes that are kept.
    pub(super) fn middle(&self, length: u64) -> Option<(u64, u64)> {
        let (head, tail) = self.keep?;
        let end = length.checked_sub(tail)?;
        (head < end).then_some((head, end))
    }

    pub(super) fn has(&self, record: Record) -> bool {
        match record {
            Record::Time(..) => false,
            Record::Gap(from, to) => self.gaps.iter().any(|gap| gap.0 <= from && to <= gap.1),
            Record::Truncated(at) => self.truncated.contains(&at),
            Record::Keep(head, tail) => self.keep == Some((head, tail)),
        }
    }

    pub(super) fn add(&mut self, record: Record) {
        match record {
            Record::Time(..) => {}
            Record::Gap(from, to) => {
                self.gaps.push((from, to));
                self.gaps = merged(std::mem::take(&mut self.gaps));
            }
            Record::Truncated(at) => {
                if let Err(place) = self.truncated.binary_search(&at) {
                    self.truncated.insert(place, at);
                }
            }
            Record::Keep(head, tail) => self.keep = Some((head, tail)),
        }
    }

    /// Gaps within what is left out anyhow need not be remembered.
    pub(super) fn forget_within(&mut self, middle: (u64, u64)) {
        self.gaps.retain(|gap| gap.0 < middle.0 || gap.1 > middle.1);
    }
}

fn merged(mut ranges: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    ranges.retain(|(from, to)| from < to);
    ranges.sort_unstable();
    let mut merged: Vec<(u64, u64)> = Vec::with_capacity(ranges.len());
    for (from, to) in ranges {
        match merged.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(to),
            _ => merged.push((from, to)),
        }
    }
    merged
}

impl Record {
    fn encode(self) -> [u8; RECORD_BYTES] {
        let (kind, a, b): (u64, u64, u64) = match self {
            Self::Time(at, ms) => (1, at, ms),
            Self::Gap(from, to) => (2, from, to),
            Self::Truncated(at) => (3, at, 0),
            Self::Keep(head, tail) => (4, head, tail),
        };
        let mut bytes = [0; RECORD_BYTES];
        for (place, number) in [kind, a, b].into_iter().enumerate() {
            bytes[place * 8..][..8].copy_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    /// Whether it speaks of bytes that a log of this length does not have.
    fn is_beyond(self, length: u64) -> bool {
        match self {
            Self::Gap(_, to) => to > length,
            Self::Time(from, _) => from > length,
            Self::Truncated(at) => at > length,
            Self::Keep(..) => false,
        }
    }

    /// A kind of a later version is passed over.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let number = |place: usize| {
            let bytes = bytes.get(place * 8..)?.get(..8)?;
            Some(u64::from_le_bytes(bytes.try_into().ok()?))
        };
        let (kind, a, b) = (number(0)?, number(1)?, number(2)?);
        match kind {
            1 => Some(Self::Time(a, b)),
            2 => Some(Self::Gap(a, b)),
            3 => Some(Self::Truncated(a)),
            4 => Some(Self::Keep(a, b)),
            _ => None,
        }
    }
}

/// What a copy of a log needs beside it: its records, as they hold for a copy of `copied` bytes. Called
/// after the bytes were copied (records are written before their bytes), with the length that the log
/// had then: until there what lies in the middle may have been given back under the copy's reader.
/// `None`: the log has no records. Blocks.
pub fn records_for_copy(index: &Path, copied: u64, length: u64) -> Result<Option<Vec<u8>>, LogError> {
    if !index.exists() {
        return Ok(None);
    }
    let (mut marks, mut at, mut bytes) = (LogMarks::default(), 0, Vec::new());
    loop {
        let (records, next) = read(index, at)?;
        if next == at {
            break;
        }
        at = next;
        for record in records.into_iter().filter(|record| !record.is_beyond(copied)) {
            marks.add(record);
            bytes.extend_from_slice(&record.encode());
        }
    }
    if let Some((head, later)) = marks.middle(length) {
        let (from, to) = (marks.middle(copied).map_or(head, |middle| middle.1), later.min(copied));
        if from < to {
            bytes.extend_from_slice(&Record::Gap(from, to).encode());
        }
    }
    Ok(Some(bytes))
}

/// Reads records from a place in their file on, at most so many as are read at a time; and where to go on.
pub(super) fn read(path: &Path, from: u64) -> Result<(Vec<Record>, u64), LogError> {
    let failed = |source| LogError::io("read", path, source);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), from)),
        Err(source) => return Err(failed(source)),
    };
    let mut bytes = vec![0; RECORDS_MAX * RECORD_BYTES];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], from + filled as u64).map_err(failed)? {
            0 => break,
            read => filled += read,
        }
    }
    // Half a record is one that is being written, or was when the power went.
    let whole = filled / RECORD_BYTES * RECORD_BYTES;
    let records = bytes[..whole].chunks(RECORD_BYTES).filter_map(Record::decode).collect();
    Ok((records, from + whole as u64))
}

/// What the records say of a log of this length. Records of bytes that never came, because a crash
/// came before them, are taken out of the file.
pub(super) fn load(path: &Path, length: u64) -> Result<(LogMarks, u64, Option<u64>), LogError> {
    let (mut marks, mut at, mut last_ms) = (LogMarks::default(), 0, None);
    let (mut kept, mut stale) = (Vec::new(), false);
    loop {
        let (records, next) = read(path, at)?;
        if next == at {
            break;
        }
        at = next;
        for record in records {
            let is_stale = record.is_beyond(length);
            stale |= is_stale;
            if !is_stale {
                marks.add(record);
                kept.extend_from_slice(&record.encode());
                if let Record::Time(_, ms) = record {
                    last_ms = Some(ms);
                }
            }
        }
    }
    let torn = fs::metadata(path).is_ok_and(|metadata| metadata.len() != at);
    if stale || torn {
        let temporary = path.with_extension("index-new");
        let rewrite = || -> io::Result<()> {
            let mut file = File::create(&temporary)?;
            file.write_all(&kept)?;
            file.sync_all()?;
            fs::rename(&temporary, path)
        };
        rewrite().map_err(|source| LogError::io("rewrite", path, source))?;
        at = kept.len() as u64;
    }
    Ok((marks, at, last_ms))
}

/// Appends records.
pub(super) fn append(file: &File, at: u64, records: &[Record]) -> io::Result<u64> {
    let bytes: Vec<u8> = records.iter().flat_map(|record| record.encode()).collect();
    file.write_all_at(&bytes, at)?;
    Ok(at + bytes.len() as u64)
}
