//! Processes as `/proc` shows them, and signals that can't hit the wrong one.

use std::cell::RefCell;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// The variable that every process of a job carries in its environment.
pub const MARK_VARIABLE: &str = "BOWLINE_MARK";

/// The kernel's ticks in a second, for all its interfaces to programs.
const TICKS_PER_SECOND: u64 = 100;
const TICK: Duration = Duration::from_millis(1000 / TICKS_PER_SECOND);

/// What a list of children has room in at first: some hundred.
const CHILDREN_BYTES: usize = 1024;

/// One process that is not a zombie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) parent: u32,
    pub(crate) group: u32,
    pub(crate) session: u32,
    /// When it began; with the pid it names one process of this boot.
    pub(crate) start_ticks: u64,
}

impl Process {
    /// Whether these are one process, whatever became of its parent and its group meanwhile.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.pid == other.pid && self.start_ticks == other.start_ticks
    }
}

/// What is known of a process. `None`: it is gone, or a zombie, or can't be looked at.
pub(crate) fn process(pid: u32) -> Option<Process> {
    look_at(pid).ok().flatten()
}

/// What is known of a process. `None`: it is gone, or a zombie. The error: nobody can tell.
pub(crate) fn look_at(pid: u32) -> io::Result<Option<Process>> {
    match fs::read(format!("/proc/{pid}/stat")) {
        Ok(stat) => Ok(parse_stat(&stat)),
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A process that has just been made by this one, between two moments in ticks.
pub(crate) fn newborn(pid: u32, (from, to): (u64, u64)) -> Process {
    let own = std::process::id();
    let begun_at = |start_ticks| Process { pid, parent: own, group: pid, session: pid, start_ticks };
    if from == to {
        // Mostly: a tick is long. To ask the kernel costs more than to make a file.
        return begun_at(from);
    }
    // A child that has ended already is a zombie: its start is of no use then, and it can't be mistaken, because
    // its number is not given away before it is reaped.
    process(pid).unwrap_or(begun_at(0))
}

/// Whether an error on a process's file says that there is no such process.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(Errno::SRCH.raw_os_error())
}

/// The name may hold anything, blanks and brackets too: the fields begin after the last bracket.
fn parse_stat(stat: &[u8]) -> Option<Process> {
    let open = stat.iter().position(|byte| *byte == b'(')?;
    let close = stat.iter().rposition(|byte| *byte == b')')?;
    let pid = str::from_utf8(&stat[..open]).ok()?.trim().parse().ok()?;
    let mut fields = str::from_utf8(&stat[close + 1..]).ok()?.split_ascii_whitespace();
    if matches!(fields.next()?, "Z" | "X" | "x") {
        return None;
    }
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    let session = fields.next()?.parse().ok()?;
    let start_ticks = fields.nth(15)?.parse().ok()?;
    Some(Process { pid, parent, group, session, start_ticks })
}

/// All processes that can be seen.
pub(crate) fn all() -> io::Result<Vec<Process>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        if let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) {
            found.extend(process(pid));
        }
    }
    Ok(found)
}

thread_local! {
    /// This thread's list of children, kept open: it is read at the end of each job.
    static CHILDREN: RefCell<Option<File>> = const { RefCell::new(None) };
}

/// The numbers of this thread's children, zombies too.
pub(crate) fn own_children() -> io::Result<Vec<u32>> {
    match CHILDREN.with_borrow_mut(read_children) {
        Ok(text) => Ok(str::from_utf8(&text)
            .unwrap_or_default()
            .split_ascii_whitespace()
            .filter_map(|pid| pid.parse().ok())
            .collect()),
        // A kernel without that file: zombies are not seen, and stay until this process ends.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let own = std::process::id();
            Ok(all()?.into_iter().filter(|process| process.parent == own).map(|process| process.pid).collect())
        }
        Err(error) => Err(error),
    }
}

fn read_children(kept: &mut Option<File>) -> io::Result<Vec<u8>> {
    if kept.is_none() {
        *kept = Some(File::open("/proc/thread-self/children")?);
    }
    let file = kept.as_ref().ok_or(io::ErrorKind::NotFound)?;
    let (mut text, mut length) = (vec![0; CHILDREN_BYTES], 0);
    loop {
        // From the beginning it is made anew.
        match file.read_at(&mut text[length..], length as u64)? {
            0 => break,
            count => length += count,
        }
        if length == text.len() {
            text.resize(2 * length, 0);
        }
    }
    text.truncate(length);
    Ok(text)
}

/// The numbers of a process's children, zombies too, in the order of their births; orphans that it got
/// since come last.
pub(crate) fn children_of(parent: u32) -> Vec<u32> {
    if let Ok(text) = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")) {
        return text.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect();
    }
    let all = all().unwrap_or_default();
    all.iter().filter(|process| process.parent == parent).map(|process| process.pid).collect()
}

/// The mark that a process carries, where it has one and may be looked at.
pub(crate) fn mark_of(pid: u32) -> Option<String> {
    let environ = fs::read(format!("/proc/{pid}/environ")).ok()?;
    environ.split(|byte| *byte == 0).find_map(|variable| {
        let value = variable.strip_prefix(MARK_VARIABLE.as_bytes())?.strip_prefix(b"=")?;
        std::ffi::OsStr::from_bytes(value).to_str().map(str::to_owned)
    })
}

/// Adds every descendant of the processes in `roots`, as far as `all` knows them.
pub(crate) fn with_descendants(mut roots: Vec<Process>, all: &[Process]) -> Vec<Process> {
    let mut at = 0;
    while at < roots.len() {
        let parent = roots[at].pid;
        for child in all.iter().filter(|child| child.parent == parent) {
            if !roots.iter().any(|known| known.pid == child.pid) {
                roots.push(*child);
            }
        }
        at += 1;
    }
    roots
}

/// Sends a signal to exactly this process; nothing happens where it is gone, even if another one has
/// its number by now.
pub(crate) fn signal(target: &Process, signal: Signal) {
    let Some(pid) = to_pid(target.pid) else { return };
    let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else { return };
    if process(target.pid).is_some_and(|now| now.start_ticks == target.start_ticks) {
        // It may end meanwhile: then there is nothing to do.
        pidfd_send_signal(&handle, signal).ok();
    }
}

pub(crate) fn to_pid(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

/// A moment since boot in the kernel's ticks.
pub(crate) fn ticks(at: Duration) -> u64 {
    u64::try_from(at.as_nanos() / TICK.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_process_name_does_not_shift_the_fields() {
        let stat = b"42 (a) S 1 ) R 7 8 9 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 12345 999 1";
        let expected = Process { pid: 42, parent: 7, group: 8, session: 9, start_ticks: 12345 };
        assert_eq!(parse_stat(stat), Some(expected));
        assert_eq!(parse_stat(b"42 (x) Z 7 8 9 0"), None);
    }

    #[test]
    fn this_process_is_seen_as_it_is() {
        let own = process(std::process::id()).unwrap();
        assert_eq!(Some(own.parent), rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get().unsigned_abs()));
        assert!(own.start_ticks <= ticks(crate::clock::boottime()));
        assert!(all().unwrap().contains(&own));
    }

    #[test]
    fn a_newborn_is_known_as_the_kernel_knows_it() {
        for _ in 0..20 {
            let from = ticks(crate::clock::boottime());
            #[expect(clippy::disallowed_methods, reason = "a process to look at")]
            let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
            let found = newborn(child.id(), (from, ticks(crate::clock::boottime())));
            let seen = process(child.id()).unwrap();
            child.kill().unwrap();
            child.wait().unwrap();
            assert!(found.is_same(&seen), "{found:?} {seen:?}");
        }
    }

    #[test]
    fn descendants_are_found_at_any_depth() {
        let make = |pid, parent| Process { pid, parent, group: 0, session: 0, start_ticks: 0 };
        let all = [make(4, 3), make(3, 2), make(2, 1), make(9, 8)];
        let found = with_descendants(vec![make(2, 1)], &all);
        assert_eq!(found.iter().map(|process| process.pid).collect::<Vec<_>>(), [2, 3, 4]);
    }
}
