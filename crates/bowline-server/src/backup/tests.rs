//! A data folder backed up and put back, without a server.

use std::path::PathBuf;

use bowline_blob::{BlobStore, LogKey, LogStore, LogStream, Segment};
use bowline_store::RollbackStore as _;
use tempfile::TempDir;

use super::*;

const AT: jiff::Timestamp = jiff::Timestamp::UNIX_EPOCH;

/// A data folder with an empty store, and something beside it.
fn data() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir_all(data.join("logs/0/1")).unwrap();
    std::fs::create_dir_all(data.join("blobs")).unwrap();
    drop(bowline_store_sqlite::open(&data.join(STORE_FILE)).unwrap());
    for (name, text) in [("token", "t"), ("secret", "s"), ("logs/0/1/_.0.1.out", "said"), ("blobs/ab", "kept")] {
        std::fs::write(data.join(name), text).unwrap();
    }
    (folder, data)
}

fn backup(data: &std::path::Path, contents: Contents) -> PathBuf {
    let file = data.with_file_name(format!("{contents:?}.tar"));
    let manifest = write(data, contents, AT, std::fs::File::create(&file).unwrap()).unwrap();
    assert_eq!(check(&file).unwrap(), manifest);
    file
}

#[test]
fn what_was_backed_up_comes_back_as_a_later_generation_each_time() {
    let (_folder, data) = data();
    let (all, store) = (backup(&data, Contents::All), backup(&data, Contents::Store));
    let fresh = data.with_file_name("fresh");
    let restored = restore(&all, &fresh, Force::No, AT).unwrap();
    assert_eq!((restored.generation, &restored.aside), (1, &None));
    for name in ["token", "secret", "logs/0/1/_.0.1.out", "blobs/ab"] {
        assert_eq!(std::fs::read(fresh.join(name)).unwrap(), std::fs::read(data.join(name)).unwrap(), "{name}");
    }
    assert!(matches!(restore(&all, &fresh, Force::No, AT), Err(BackupError::NotEmpty { .. })));
    // A longer log is the newer one, and stays.
    std::fs::write(fresh.join("logs/0/1/_.0.1.out"), "said more").unwrap();
    std::fs::write(fresh.join("token"), "another").unwrap();
    assert_eq!(bowline_store_sqlite::state_of(&fresh.join(STORE_FILE)).unwrap().0.0, 1);
    for (file, generation) in [(&store, 2), (&all, 3), (&store, 4)] {
        let restored = restore(file, &fresh, Force::Yes, AT).unwrap();
        assert_eq!(restored.generation, generation);
        assert!(restored.aside.unwrap().join(STORE_FILE).exists());
    }
    assert_eq!(std::fs::read_to_string(fresh.join("logs/0/1/_.0.1.out")).unwrap(), "said more");
    assert_eq!(std::fs::read_to_string(fresh.join("token")).unwrap(), "t");
    assert_eq!(std::fs::read_to_string(fresh.join("replaced-19700101T000000Z/token")).unwrap(), "another");
    half_restored(&fresh).unwrap();
}

#[test]
fn a_folder_in_use_is_refused_and_a_broken_backup_changes_nothing() {
    let (_folder, data) = data();
    let file = backup(&data, Contents::All);
    let mut opened = bowline_store_sqlite::open(&data.join(STORE_FILE)).unwrap();
    let refused = restore(&file, &data, Force::Yes, AT).unwrap_err();
    assert!(refused.is_refusal(), "{refused}");
    opened.store.accept_rollback(None).unwrap();
    // Beside whoever has it open.
    let at = write(&data, Contents::Store, AT, std::io::sink()).unwrap();
    assert_eq!(at.generation, 1);
    drop(opened);
    let bytes = std::fs::read(&file).unwrap();
    for length in [0, 100, 512, bytes.len() / 2, bytes.len() - 2_000] {
        std::fs::write(&file, &bytes[..length]).unwrap();
        let broken = restore(&file, &data, Force::Yes, AT).unwrap_err();
        assert!(matches!(broken, BackupError::NotWhole { .. }), "{length}: {broken:?}");
        assert_eq!(bowline_store_sqlite::state_of(&data.join(STORE_FILE)).unwrap().0.0, 1);
    }
    let left: Vec<String> = std::fs::read_dir(&data)
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    assert!(left.iter().all(|name| !name.starts_with('.') && !name.starts_with("replaced")), "{left:?}");
}

#[test]
fn a_tar_that_leads_out_of_the_folder_is_refused() {
    let (_folder, data) = data();
    let file = data.with_file_name("evil.tar");
    for name in ["../evil", "/evil", "logs/../../evil", "other"] {
        let mut tar = tar::Builder::new(std::fs::File::create(&file).unwrap());
        let mut header = tar::Header::new_gnu();
        header.set_size(1);
        header.set_entry_type(tar::EntryType::Regular);
        let field = &mut header.as_old_mut().name;
        field[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        tar.append(&header, &b"x"[..]).unwrap();
        tar.finish().unwrap();
        let refused = check(&file).unwrap_err();
        assert!(matches!(refused, BackupError::NotWhole { .. }), "{name}: {refused:?}");
        assert!(!data.with_file_name("evil").exists());
    }
}

/// Every name in a tar.
fn names(file: &std::path::Path) -> Vec<String> {
    let mut tar = tar::Archive::new(std::fs::File::open(file).unwrap());
    tar.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().display().to_string()).collect()
}

#[test]
fn a_log_keeps_its_gaps_and_a_longer_one_that_is_there_keeps_its_own() {
    let (_folder, data) = data();
    let key = |attempt| LogKey { task: 1, index: None, generation: 0, attempt };
    let after = |from, bytes| Segment { offset: 9, bytes, left_out_from: Some(from), ..Segment::default() };
    let logs = LogStore::open(data.join("logs")).unwrap();
    for attempt in [2, 3] {
        logs.append(key(attempt), LogStream::Output, 0, b"abc").unwrap();
        logs.append_segment(key(attempt), LogStream::Output, &after(3, b"xyz")).unwrap();
    }
    logs.seal(key(3), LogStream::Output, 12).unwrap();
    let all = backup(&data, Contents::All);
    let marks = |data: &std::path::Path, attempt| {
        let logs = LogStore::open(data.join("logs")).unwrap();
        let state = logs.state(key(attempt), LogStream::Output).unwrap();
        (state.is_sealed(), logs.marks(key(attempt), LogStream::Output).unwrap().left_out(state.length))
    };
    let fresh = data.with_file_name("fresh");
    restore(&all, &fresh, Force::No, AT).unwrap();
    assert_eq!(marks(&fresh, 2), (false, vec![(3, 9)]));
    assert_eq!(marks(&fresh, 3), (true, vec![(3, 9)]));
    // In another folder one log is longer and whole, though it has fewer records; the other is open there.
    let other = data.with_file_name("other");
    let logs = LogStore::open(other.join("logs")).unwrap();
    logs.append(key(2), LogStream::Output, 0, b"all that it said").unwrap();
    logs.append_segment(key(3), LogStream::Output, &after(0, b"xyz")).unwrap();
    drop(logs);
    restore(&all, &other, Force::Yes, AT).unwrap();
    assert_eq!(marks(&other, 2), (false, vec![]));
    assert_eq!(marks(&other, 3), (true, vec![(3, 9)]));
    assert!(!other.join("logs/0/1/_.0.3.out").exists(), "a log has one name");
}

#[test]
fn logs_without_a_byte_are_sealed_in_the_restored_folder_too() {
    let (_folder, data) = data();
    let key = |task| LogKey { task, index: None, generation: 0, attempt: 1 };
    let sealed = |data: &std::path::Path, tasks: [u64; 3]| {
        let logs = LogStore::open(data.join("logs")).unwrap();
        tasks.map(|task| logs.state(key(task), LogStream::Output).unwrap().is_sealed())
    };
    let seal = |data: &std::path::Path, task| {
        let logs = LogStore::open(data.join("logs")).unwrap();
        logs.seal(key(task), LogStream::Output, 0).unwrap();
    };
    seal(&data, 501);
    seal(&data, 1_501);
    let all = backup(&data, Contents::All);
    check(&all).unwrap();
    let other = data.with_file_name("other");
    seal(&other, 502);
    for to in [data.with_file_name("fresh"), other] {
        let had = sealed(&to, [502, 502, 502])[0];
        restore(&all, &to, Force::Yes, AT).unwrap();
        assert_eq!(sealed(&to, [501, 1_501, 502]), [true, true, had]);
    }
}

#[test]
fn of_the_blobs_only_whole_ones_are_taken() {
    let (_folder, data) = data();
    let blobs = BlobStore::open(data.join("blobs")).unwrap();
    let digest = blobs.put(&vec![7; 3 << 20]).unwrap().to_string();
    let sums = data.join(format!("blobs/{}/{digest}.sums", &digest[..2]));
    assert!(sums.exists());
    for rest in ["incoming/half", "damaged/other"] {
        std::fs::write(data.join("blobs").join(rest), "x").unwrap();
    }
    let found = names(&backup(&data, Contents::All));
    let found: Vec<&str> = found.iter().filter_map(|name| name.strip_prefix("blobs/")).collect();
    assert_eq!(found, ["ab", format!("{}/{digest}", &digest[..2]).as_str()]);
}
