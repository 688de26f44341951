//! Segments sent again, gaps, seals, followers, deletion, and what is there after a restart.

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
    store.delete(5).unwrap();
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
    store.delete(7).unwrap();
    store.delete(7).unwrap();
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
