//! Segments sent again, gaps, seals, followers, deletion, and what is there after a restart.

use super::entry::Names;
use super::*;

fn key(task: u64, attempt: u32) -> LogKey {
    LogKey { task, index: None, generation: 1, attempt }
}

fn store() -> (tempfile::TempDir, LogStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = LogStore::open(folder.path().join("logs")).unwrap();
    (folder, store)
}

#[test]
fn a_segment_sent_again_changes_nothing() {
    let (_folder, store) = store();
    let key = key(4711, 1);
    assert_eq!(store.append(key, LogStream::Output, 0, b"hello ").unwrap().length, 6);
    assert_eq!(store.append(key, LogStream::Output, 0, b"hello ").unwrap().length, 6);
    assert_eq!(store.append(key, LogStream::Output, 3, b"lo world").unwrap().length, 11);
    assert_eq!(store.read(key, LogStream::Output, 0, 100).unwrap(), b"hello world");
    assert_eq!(store.read(key, LogStream::Output, 6, 3).unwrap(), b"wor");
    assert_eq!(store.read(key, LogStream::Output, 11, 3).unwrap(), b"");
    assert_eq!(store.read(key, LogStream::Error, 0, 3).unwrap(), b"");
    store.sync().unwrap();
}

#[test]
fn folders_are_synced_when_a_file_has_a_new_name_and_what_was_written_is_asked_for_once() {
    let (_folder, store) = store();
    let key = key(4711, 1);
    let round = || {
        let found = store.entry(key, LogStream::Output).begin_sync().unwrap().unwrap();
        (found.new, found.names, found.index.is_some())
    };
    let times = [(0, 1_000)];
    let segment =
        |offset, bytes, times| Segment { offset, bytes, left_out_from: None, times, truncated: false, keep: None };
    store.append(key, LogStream::Output, 0, b"hello").unwrap();
    assert_eq!(round(), (0..5, Names::Unknown, false), "the log's own name");
    store.append(key, LogStream::Output, 5, b" world").unwrap();
    assert_eq!(round(), (5..11, Names::Durable, false));
    store.append_segment(key, LogStream::Output, &segment(11, b"!", &times)).unwrap();
    assert_eq!(round(), (11..12, Names::Unknown, true), "that of its records");
    store.append_segment(key, LogStream::Output, &segment(12, b"!", &[(12, 2_000)])).unwrap();
    assert_eq!(round(), (12..13, Names::Durable, true));
    store.seal(key, LogStream::Output, 13).unwrap();
    assert_eq!(round(), (13..13, Names::Unknown, false), "its last name");
    assert_eq!(round(), (13..13, Names::Durable, false));
}

#[test]
fn a_gap_is_refused_with_what_is_expected() {
    let (_folder, store) = store();
    store.append(key(1, 1), LogStream::Output, 0, b"abc").unwrap();
    let refused = store.append(key(1, 1), LogStream::Output, 5, b"f").unwrap_err();
    assert!(matches!(refused, LogError::Gap { expected: 3, offset: 5, .. }), "{refused}");
    let refused = store.seal(key(1, 1), LogStream::Output, 9).unwrap_err();
    assert!(matches!(refused, LogError::Gap { expected: 3, .. }), "{refused}");
}

#[test]
fn a_sealed_log_takes_nothing_more_and_stays_readable() {
    let (folder, store) = store();
    let key = key(1, 2);
    store.append(key, LogStream::Error, 0, b"abc").unwrap();
    assert!(store.seal(key, LogStream::Error, 3).unwrap().is_sealed());
    assert!(store.seal(key, LogStream::Error, 3).unwrap().is_sealed());
    assert_eq!(store.append(key, LogStream::Error, 0, b"abc").unwrap().length, 3);
    assert!(matches!(store.append(key, LogStream::Error, 3, b"d"), Err(LogError::Sealed { sealed: 3, .. })));
    assert!(matches!(store.seal(key, LogStream::Error, 2), Err(LogError::Sealed { .. })));
    store.sync().unwrap();
    drop(store);
    let store = LogStore::open(folder.path().join("logs")).unwrap();
    let state = store.state(key, LogStream::Error).unwrap();
    assert_eq!((state.length, state.is_sealed()), (3, true));
    assert_eq!(store.read(key, LogStream::Error, 1, 9).unwrap(), b"bc");
}

#[test]
fn an_empty_log_is_sealed_too() {
    let (folder, store) = store();
    assert!(store.seal(key(9, 1), LogStream::Output, 0).unwrap().is_sealed());
    store.sync().unwrap();
    drop(store);
    let store = LogStore::open(folder.path().join("logs")).unwrap();
    assert!(store.state(key(9, 1), LogStream::Output).unwrap().is_sealed());
    assert!(!store.state(key(9, 2), LogStream::Output).unwrap().is_sealed());
}

/// The names of the files below a folder.
fn files_below(folder: &std::path::Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            names.extend(files_below(&entry.path()));
        } else {
            names.push(entry.file_name().into_string().unwrap());
        }
    }
    names.sort();
    names
}

#[test]
fn empty_logs_share_a_file_that_goes_with_the_last_of_them() {
    let (folder, store) = store();
    let root = folder.path().join("logs");
    let streams = [LogStream::Output, LogStream::Error];
    for task in 9..40 {
        for stream in streams {
            for _again in 0..2 {
                assert!(store.seal(key(task, 1), stream, 0).unwrap().is_sealed());
            }
        }
    }
    store.sync().unwrap();
    assert_eq!(files_below(&root), ["empty"]);
    // The place is taken.
    assert!(store.seal(key(9, 2), LogStream::Output, 0).unwrap().is_sealed());
    store.append(key(9, 3), LogStream::Output, 0, b"x").unwrap();
    store.seal(key(9, 3), LogStream::Output, 1).unwrap();
    store.sync().unwrap();
    assert_eq!(files_below(&root), ["_.1.2.out.sealed", "_.1.3.out.sealed", "empty"]);
    drop(store);
    let store = LogStore::open(&root).unwrap();
    for (task, stream) in (9..40).flat_map(|task| streams.map(|stream| (task, stream))) {
        assert_eq!(store.state(key(task, 1), stream).unwrap(), LogState { length: 0, end: LogEnd::Sealed });
        assert_eq!(store.read(key(task, 1), stream, 0, 9).unwrap(), b"");
    }
    let open = |attempt, stream| !store.state(key(9, attempt), stream).unwrap().is_sealed();
    assert!(!open(2, LogStream::Output) && open(2, LogStream::Error) && open(4, LogStream::Output));
    assert!(!store.state(LogKey { generation: 2, ..key(9, 1) }, LogStream::Output).unwrap().is_sealed());
    assert!(!store.state(key(40, 1), LogStream::Output).unwrap().is_sealed());
    let taken = store.append(key(9, 1), LogStream::Output, 0, b"x");
    assert!(matches!(taken, Err(LogError::Sealed { sealed: 0, .. })));
    let but_one: Vec<u64> = (10..40).collect();
    assert!(store.delete(&but_one).is_empty());
    assert!(!store.state(key(12, 1), LogStream::Output).unwrap().is_sealed());
    assert!(store.state(key(9, 1), LogStream::Output).unwrap().is_sealed());
    assert!(store.delete(&[9, 10]).is_empty());
    assert_eq!(files_below(&root), [""; 0]);
    assert!(store.seal(key(50, 1), LogStream::Output, 0).unwrap().is_sealed());
    store.sync().unwrap();
}

#[test]
fn empty_logs_of_elements_share_a_file_and_go_with_their_task() {
    let (folder, store) = store();
    let root = folder.path().join("logs");
    let element = |index| LogKey { task: 7, index: Some(index), generation: 1, attempt: 1 };
    for index in [0, 1, 999, u32::MAX] {
        store.seal(element(index), LogStream::Output, 0).unwrap();
    }
    store.sync().unwrap();
    assert_eq!(files_below(&root), ["4294967295.1.1.out.sealed", "empty"]);
    let again = LogStore::open(&root).unwrap();
    let sealed = |index| again.state(element(index), LogStream::Output).unwrap().is_sealed();
    assert!([0, 1, 999, u32::MAX].into_iter().all(sealed) && !sealed(2) && !sealed(u32::MAX - 1));
    assert!(store.delete(&[7]).is_empty());
    assert_eq!(files_below(&root), [""; 0]);
}

#[test]
fn marks_of_empty_logs_come_to_those_that_are_there() {
    let (folder, store) = store();
    let (one, other) = (folder.path().join("logs"), folder.path().join("other"));
    store.seal(key(1, 1), LogStream::Output, 0).unwrap();
    store.seal(key(2, 1), LogStream::Output, 0).unwrap();
    let there = LogStore::open(&other).unwrap();
    there.seal(key(2, 2), LogStream::Output, 0).unwrap();
    there.seal(key(900, 1), LogStream::Output, 0).unwrap();
    drop((store, there));
    merge_empties(&one.join("0/empty"), &other.join("0/empty")).unwrap();
    let both = LogStore::open(&other).unwrap();
    let sealed = |task, attempt| both.state(key(task, attempt), LogStream::Output).unwrap().is_sealed();
    assert!(sealed(1, 1) && sealed(2, 2) && sealed(900, 1) && !sealed(2, 1));
}

#[tokio::test]
async fn followers_see_every_growth_and_the_seal_and_the_end() {
    let (_folder, store) = store();
    let key = key(5, 1);
    let mut follower = store.follow(key, LogStream::Output).unwrap();
    assert_eq!(follower.borrow_and_update().length, 0);
    store.append(key, LogStream::Output, 0, b"ab").unwrap();
    follower.changed().await.unwrap();
    assert_eq!(follower.borrow_and_update().length, 2);
    store.seal(key, LogStream::Output, 2).unwrap();
    follower.changed().await.unwrap();
    assert!(follower.borrow_and_update().is_sealed());
    assert!(store.delete(&[4, 5]).is_empty());
    assert!(follower.changed().await.is_err());
    assert_eq!(store.read(key, LogStream::Output, 0, 9).unwrap(), b"");
}

#[test]
fn elements_and_attempts_have_logs_of_their_own_and_go_with_their_task() {
    let (_folder, store) = store();
    let element = |index| LogKey { task: 7, index: Some(index), generation: 1, attempt: 1 };
    for index in 0..20 {
        store.append(element(index), LogStream::Output, 0, index.to_string().as_bytes()).unwrap();
    }
    store.append(key(8, 1), LogStream::Output, 0, b"other").unwrap();
    // More than are synced one by one.
    store.sync().unwrap();
    assert_eq!(store.read(element(13), LogStream::Output, 0, 9).unwrap(), b"13");
    assert!(store.delete(&[7]).is_empty());
    assert!(store.delete(&[7]).is_empty());
    assert_eq!(store.read(element(13), LogStream::Output, 0, 9).unwrap(), b"");
    assert_eq!(store.read(key(8, 1), LogStream::Output, 0, 9).unwrap(), b"other");
}

#[test]
fn idle_logs_are_closed_and_found_again() {
    let (_folder, store) = store();
    let logs = OPEN_LOGS_MAX as u64 + 10;
    for task in 0..logs {
        store.append(key(task, 1), LogStream::Output, 0, b"x").unwrap();
        if task % 100 == 0 {
            store.sync().unwrap();
        }
    }
    store.sync().unwrap();
    store.append(key(logs, 1), LogStream::Output, 0, b"x").unwrap();
    assert!(store.open.lock().len() <= OPEN_LOGS_MAX + 10, "{}", store.open.lock().len());
    for task in 0..logs {
        assert_eq!(store.append(key(task, 1), LogStream::Output, 1, b"y").unwrap().length, 2);
    }
}

#[test]
fn writers_at_the_same_time_share_rounds_and_lose_nothing() {
    let (folder, store) = store();
    let store = &store;
    std::thread::scope(|scope| {
        for task in 0..8 {
            scope.spawn(move || {
                for offset in 0..50 {
                    store.append(key(task, 1), LogStream::Output, offset, b"z").unwrap();
                    store.sync().unwrap();
                }
            });
        }
    });
    let again = LogStore::open(folder.path().join("logs")).unwrap();
    for task in 0..8 {
        assert_eq!(again.state(key(task, 1), LogStream::Output).unwrap().length, 50);
    }
}

#[test]
fn what_is_left_out_is_declared_and_kept_across_a_restart() {
    let (folder, store) = store();
    let key = key(1, 1);
    let append = |store: &LogStore, segment: Segment<'_>| store.append_segment(key, LogStream::Output, &segment);
    append(&store, Segment { bytes: b"head", ..Segment::default() }).unwrap();
    let gap = Segment { offset: 100, bytes: b"tail", left_out_from: Some(4), ..Segment::default() };
    assert!(append(&store, Segment { left_out_from: None, ..gap }).is_err());
    assert!(append(&store, Segment { left_out_from: Some(5), ..gap }).is_err());
    for _ in 0..2 {
        assert_eq!(append(&store, gap).unwrap().length, 104);
    }
    let cut = Segment { offset: 104, bytes: b"new", truncated: true, times: &[(104, 7)], ..Segment::default() };
    assert_eq!(append(&store, cut).unwrap().length, 107);
    assert_eq!(append(&store, cut).unwrap().length, 107);
    // Sent again in one piece with what was there already: it stays left out.
    assert_eq!(append(&store, Segment { offset: 0, bytes: &[b'x'; 107], ..Segment::default() }).unwrap().length, 107);
    store.seal(key, LogStream::Output, 107).unwrap();
    store.sync().unwrap();
    for store in [store, LogStore::open(folder.path().join("logs")).unwrap()] {
        let marks = store.marks(key, LogStream::Output).unwrap();
        assert_eq!(marks.left_out(107), [(4, 100)]);
        assert_eq!(marks.truncated(), [104]);
        assert_eq!(store.read(key, LogStream::Output, 100, 9).unwrap(), b"tailnew");
        assert_eq!(store.times(key, LogStream::Output, 0).unwrap().0, [(104, 7)]);
    }
}

#[test]
fn a_truncation_with_nothing_behind_it_is_kept_and_told_once() {
    let (folder, store) = store();
    let key = key(1, 1);
    store.append(key, LogStream::Output, 0, b"before").unwrap();
    let cut = Segment { offset: 6, truncated: true, ..Segment::default() };
    for _ in 0..2 {
        assert_eq!(store.append_segment(key, LogStream::Output, &cut).unwrap().length, 6);
        store.seal(key, LogStream::Output, 6).unwrap();
    }
    store.sync().unwrap();
    for store in [store, LogStore::open(folder.path().join("logs")).unwrap()] {
        assert_eq!(store.marks(key, LogStream::Output).unwrap().truncated(), [6]);
    }
}

#[test]
fn beyond_its_limit_a_log_is_its_head_and_its_tail_on_the_disk_too() {
    use std::os::unix::fs::MetadataExt as _;
    let (folder, store) = store();
    let key = key(1, 1);
    let mebibyte = vec![b'm'; 1 << 20];
    for at in 0..32u64 {
        let segment =
            Segment { offset: at << 20, bytes: &mebibyte, keep: Some((1 << 20, 1 << 20)), ..Segment::default() };
        store.append_segment(key, LogStream::Output, &segment).unwrap();
    }
    store.seal(key, LogStream::Output, 32 << 20).unwrap();
    store.sync().unwrap();
    assert_eq!(store.marks(key, LogStream::Output).unwrap().left_out(32 << 20), [(1 << 20, 31 << 20)]);
    let path = sealed(&key.path(&folder.path().join("logs"), LogStream::Output));
    let metadata = fs::metadata(path).unwrap();
    assert_eq!(metadata.len(), 32 << 20);
    assert!(metadata.blocks() * 512 <= 3 << 20, "{} blocks", metadata.blocks());
}

#[test]
fn records_of_bytes_that_never_came_are_taken_back() {
    let (folder, store) = store();
    let key = key(1, 1);
    let path = key.path(&folder.path().join("logs"), LogStream::Output);
    store.append(key, LogStream::Output, 0, b"abc").unwrap();
    store.sync().unwrap();
    drop(store);
    // A crash between the record of a gap and the bytes behind it; half a record after it.
    let file = File::create(index(&path)).unwrap();
    let end = marks::append(&file, 0, &[marks::Record::Truncated(1), marks::Record::Gap(3, 50)]).unwrap();
    file.set_len(end + 5).unwrap();
    let store = LogStore::open(folder.path().join("logs")).unwrap();
    store.append(key, LogStream::Output, 3, &[b'd'; 60]).unwrap();
    let marks = store.marks(key, LogStream::Output).unwrap();
    assert_eq!((marks.left_out(63), marks.truncated()), (vec![], &[1][..]));
    drop(store);
    let store = LogStore::open(folder.path().join("logs")).unwrap();
    assert_eq!(store.marks(key, LogStream::Output).unwrap().left_out(63), []);
}

#[test]
fn times_are_kept_where_they_change() {
    let (_folder, store) = store();
    let key = key(1, 1);
    let say = |offset, bytes, times| {
        let segment = Segment { offset, bytes, times, ..Segment::default() };
        store.append_segment(key, LogStream::Output, &segment).unwrap();
    };
    say(0, b"0123456789", &[(0, 5), (4, 5), (6, 9)]);
    say(0, b"0123456789ab", &[(0, 5), (6, 9), (11, 12)]);
    let (times, place) = store.times(key, LogStream::Output, 0).unwrap();
    assert_eq!(times, [(0, 5), (6, 9), (11, 12)]);
    assert_eq!(store.times(key, LogStream::Output, place).unwrap(), (vec![], place));
}

#[test]
fn a_copy_made_while_the_middle_goes_shows_no_zeros() {
    let (folder, store) = store();
    let key = key(1, 1);
    let long = vec![b'x'; 1 << 20];
    let keep = Some((64 << 10, 128 << 10));
    let segment = |offset, bytes| Segment { offset, bytes, keep, ..Segment::default() };
    store.append_segment(key, LogStream::Output, &segment(0, &long)).unwrap();
    let path = key.path(&folder.path().join("logs"), LogStream::Output);
    // The length is read, then the log goes on, and only then are the bytes read.
    let copied = 1 << 20;
    store.append_segment(key, LogStream::Output, &segment(copied, &long)).unwrap();
    let bytes = fs::read(&path).unwrap();
    let records = records_for_copy(&index(&path), copied, 2 << 20).unwrap().unwrap();
    let other = folder.path().join("copy");
    let to = key.path(&other, LogStream::Output);
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::write(&to, &bytes[..1 << 20]).unwrap();
    fs::write(index(&to), records).unwrap();
    let copy = LogStore::open(other).unwrap();
    let left_out = copy.marks(key, LogStream::Output).unwrap().left_out(copied);
    assert_eq!(left_out, [(64 << 10, 1 << 20)]);
    // And what comes next goes on as it does in the first.
    copy.append_segment(key, LogStream::Output, &segment(copied, &long)).unwrap();
    let left_out = copy.marks(key, LogStream::Output).unwrap().left_out(2 << 20);
    assert_eq!(left_out, store.marks(key, LogStream::Output).unwrap().left_out(2 << 20));
}
