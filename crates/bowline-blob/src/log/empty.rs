//! Logs that were sealed without a byte, as most are: each is a mark of some bytes in a file that it shares with
//! others, instead of a file and a folder of its own.
//!
//! Such a file is `empty` in the folder that its logs would lie in: for a thousand tasks, or for the elements
//! of one. A task, or an element, has one place in it, for one attempt; a second attempt that wrote nothing
//! either gets a file of its own, as has every log with something in it. A place is
//! written whole, lies within one sector of the disk, and says, in `u32`s: generation, attempt, and which streams are sealed.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::key::{LogKey, LogStream};
use crate::error::LogError;

/// The name of such a file.
const NAME: &str = "empty";
/// Bytes of a place.
const PLACE_BYTES: usize = 16;
/// Elements beyond this have files of their own: the marks' file would be long, and hold nothing.
const INDEX_MAX: u32 = 1 << 20;

type Place = [u8; PLACE_BYTES];
const FREE: Place = [0; PLACE_BYTES];

/// The marks of logs that were sealed without a byte.
#[derive(Debug)]
pub(super) struct Empties {
    root: PathBuf,
    /// Held while a place is read and written, so that no file goes while another place in it is taken.
    /// The file that was used last stays open.
    last: Mutex<Option<(PathBuf, Arc<File>)>>,
}

/// Whether a log was marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Marked {
    /// It was.
    Yes,
    /// Its place is taken by another attempt, or there is none.
    NoRoom,
}

impl Empties {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root, last: Mutex::new(None) }
    }

    /// Where this log's mark lies, and at which byte. `None`: nowhere.
    fn place(&self, key: LogKey) -> Option<(PathBuf, u64)> {
        let (folder, number) = match key.index {
            None => LogKey::group_of(&self.root, key.task),
            Some(index) => (LogKey::folder_of(&self.root, key.task), u64::from(index)),
        };
        let has_one = key.index.is_none_or(|index| index < INDEX_MAX);
        has_one.then(|| (folder.join(NAME), number * PLACE_BYTES as u64))
    }

    /// Marks a log as sealed without a byte. Durable once its file is synced. Blocks.
    pub(super) fn mark(&self, key: LogKey, stream: LogStream) -> Result<Marked, LogError> {
        let Some((path, at)) = self.place(key) else { return Ok(Marked::NoRoom) };
        let mut last = self.last.lock();
        let failed = |source| LogError::io("mark an empty log in", &path, source);
        let file = open(&mut last, &path, Make::Yes).map_err(failed)?.expect("it is made where it is not there");
        let there = read_place(&file, at).map_err(failed)?;
        let mine = encode(key, streams_of(key, there) | bit(stream));
        if there != FREE && there[..8] != mine[..8] {
            return Ok(Marked::NoRoom);
        }
        if there != mine {
            file.write_all_at(&mine, at).map_err(failed)?;
        }
        Ok(Marked::Yes)
    }

    /// Whether a log is marked so. Blocks.
    pub(super) fn has(&self, key: LogKey, stream: LogStream) -> Result<bool, LogError> {
        let Some((path, at)) = self.place(key) else { return Ok(false) };
        let mut last = self.last.lock();
        let failed = |source| LogError::io("look for an empty log in", &path, source);
        let Some(file) = open(&mut last, &path, Make::No).map_err(failed)? else { return Ok(false) };
        Ok(streams_of(key, read_place(&file, at).map_err(failed)?) & bit(stream) != 0)
    }

    /// What is to be synced for a log that is marked. `None`: no log of its file is. Blocks.
    pub(super) fn to_sync(&self, key: LogKey) -> Result<Option<(Arc<File>, PathBuf)>, LogError> {
        let Some((path, _)) = self.place(key) else { return Ok(None) };
        let file = open(&mut self.last.lock(), &path, Make::No);
        let file = file.map_err(|source| LogError::io("open", &path, source))?;
        Ok(file.map(|file| (file, path)))
    }

    /// Frees the places of these tasks, and removes a file that has none left that is taken. The marks of elements go
    /// with their task's folder. Answers those that can't be freed. Blocks.
    pub(super) fn forget(&self, tasks: &[u64]) -> Vec<(u64, LogError)> {
        let mut files: BTreeMap<PathBuf, Vec<u64>> = BTreeMap::new();
        for task in tasks {
            let (folder, _) = LogKey::group_of(&self.root, *task);
            files.entry(folder.join(NAME)).or_default().push(*task);
        }
        let mut last = self.last.lock();
        *last = None;
        let free = |(path, tasks): (PathBuf, Vec<u64>)| {
            let error = self.free(&path, &tasks).err()?;
            Some((tasks[0], LogError::io("free places in", &path, error)))
        };
        files.into_iter().filter_map(free).collect()
    }

    fn free(&self, path: &Path, tasks: &[u64]) -> io::Result<()> {
        let mut bytes = match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            read => read?,
        };
        for task in tasks {
            let (_, number) = LogKey::group_of(&self.root, *task);
            let at = usize::try_from(number).unwrap_or(usize::MAX).saturating_mul(PLACE_BYTES);
            if let Some(place) = bytes.get_mut(at..).and_then(|rest| rest.get_mut(..PLACE_BYTES)) {
                place.copy_from_slice(&FREE);
            }
        }
        if bytes.iter().all(|byte| *byte == 0) {
            return fs::remove_file(path);
        }
        OpenOptions::new().write(true).open(path)?.write_all_at(&bytes, 0)
    }
}

/// Whether a file is made where there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Make {
    Yes,
    No,
}

fn open(last: &mut Option<(PathBuf, Arc<File>)>, path: &Path, make: Make) -> io::Result<Option<Arc<File>>> {
    if let Some((open, file)) = last
        && open == path
    {
        return Ok(Some(Arc::clone(file)));
    }
    let opened = || OpenOptions::new().read(true).write(true).create(make == Make::Yes).truncate(false).open(path);
    let file = match (opened(), make) {
        (Err(error), Make::No) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        (Err(error), Make::Yes) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(path.parent().expect("it lies in a folder"))?;
            opened()?
        }
        (opened, _) => opened?,
    };
    let file = Arc::new(file);
    *last = Some((path.to_owned(), Arc::clone(&file)));
    Ok(Some(file))
}

/// Beyond the file's end every place is free.
fn read_place(file: &File, at: u64) -> io::Result<Place> {
    let mut place = FREE;
    match file.read_exact_at(&mut place, at) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(FREE),
        read => read.map(|()| place),
    }
}

fn bit(stream: LogStream) -> u32 {
    match stream {
        LogStream::Output => 1,
        LogStream::Error => 2,
    }
}

fn encode(key: LogKey, streams: u32) -> Place {
    let mut place = FREE;
    for (number, at) in [key.generation, key.attempt, streams].into_iter().zip([0, 4, 8]) {
        place[at..][..4].copy_from_slice(&number.to_le_bytes());
    }
    place
}

/// Which of this attempt's streams a place says are sealed.
fn streams_of(key: LogKey, place: Place) -> u32 {
    let streams = u32::from_le_bytes([place[8], place[9], place[10], place[11]]);
    if place == encode(key, streams) { streams } else { 0 }
}

/// Whether a file of this name holds marks of empty logs.
pub fn is_empties(name: &str) -> bool {
    name == NAME
}

/// Takes over, into one file of marks, those of another for which it has room. Written beside it, synced, and put in its place.
/// Blocks.
pub fn merge_empties(from: &Path, to: &Path) -> io::Result<()> {
    let more = fs::read(from)?;
    let mut bytes = match fs::read(to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        read => read?,
    };
    bytes.resize(bytes.len().max(more.len()), 0);
    for (place, other) in bytes.chunks_exact_mut(PLACE_BYTES).zip(more.chunks_exact(PLACE_BYTES)) {
        if place == FREE {
            place.copy_from_slice(other);
        }
    }
    let fresh = to.with_extension("new");
    let mut file = File::create(&fresh)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    fs::rename(&fresh, to)
}
