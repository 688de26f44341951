//! Records are read back as they were written, whatever the crash cut off, and damage is named.

use std::time::Duration;

use super::*;
use crate::wire::{Ended, Exit, Exited};

fn begun(key: &str) -> Begun {
    Begun {
        key: key.into(),
        boot_id: "boot".into(),
        mark: format!("m-{key}"),
        cgroup: Some("/c/g".into()),
        at: Duration::from_secs(3),
    }
}

fn exited(key: &str) -> Ended {
    Ended::Exited(Exited {
        key: key.into(),
        exit: Exit::Code(3),
        stopped: None,
        started_at: Duration::from_secs(3),
        ended_at: Duration::from_secs(4),
        leftovers: 0,
        recorded: true,
    })
}

fn state() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(paths::jobs_dir(dir.path())).unwrap();
    dir
}

fn write(state: &Path, key: &str) {
    let mut record = Record::create(state, &begun(key)).unwrap();
    record.add(&Entry::Spawned(Spawned { pid: 5, start_ticks: 77 })).unwrap();
    record.add(&Entry::Ended(exited(key))).unwrap();
    record.add(&Entry::Clean).unwrap();
}

#[test]
fn a_record_is_read_back_as_it_was_written() {
    let state = state();
    write(state.path(), "1#1");
    let records = load(state.path()).unwrap();
    assert_eq!(records.damaged, Vec::<String>::new());
    let loaded = &records.whole[0];
    assert_eq!(loaded.begun, begun("1#1"));
    assert_eq!(loaded.spawned, Some(Spawned { pid: 5, start_ticks: 77 }));
    assert_eq!(loaded.ended, Some(exited("1#1")));
    assert_eq!(loaded.is_clean, Clean::Yes);
}

#[test]
fn a_reopened_record_goes_on_where_it_ended() {
    let state = state();
    drop(Record::create(state.path(), &begun("a")).unwrap());
    let loaded = load(state.path()).unwrap().whole.remove(0);
    assert_eq!(loaded.ended, None);
    Record::reopen(state.path(), &loaded).unwrap().add(&Entry::Ended(exited("a"))).unwrap();
    assert_eq!(load(state.path()).unwrap().whole[0].ended, Some(exited("a")));
}

#[test]
fn entries_stay_within_the_room_set_aside() {
    let state = state();
    let key = "k".repeat(crate::wire::KEY_BYTES_MAX);
    let before = {
        drop(Record::create(state.path(), &begun(&key)).unwrap());
        std::fs::metadata(paths::jobs_dir(state.path()).join(&key)).unwrap().len()
    };
    remove(state.path(), &key).unwrap();
    write(state.path(), &key);
    assert_eq!(std::fs::metadata(paths::jobs_dir(state.path()).join(&key)).unwrap().len(), before);
}

#[test]
fn torn_files_are_named_and_the_whole_ones_kept() {
    let state = state();
    write(state.path(), "whole");
    write(state.path(), "torn");
    let torn = paths::jobs_dir(state.path()).join("torn");
    let bytes = std::fs::read(&torn).unwrap();
    let whole_entries = parse(&bytes).unwrap().bytes;
    for end in 0..usize::try_from(whole_entries).unwrap() {
        std::fs::write(&torn, &bytes[..end]).unwrap();
        let records = load(state.path()).unwrap();
        // What was cut between two entries is a shorter record; anything else is damage.
        let cut_between = records.damaged.is_empty();
        assert_eq!(records.whole.len(), 1 + usize::from(cut_between), "cut at {end}");
        assert!(records.whole.iter().any(|loaded| loaded.begun.key == "whole"));
    }
    for at in 0..usize::try_from(whole_entries).unwrap() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x10;
        std::fs::write(&torn, &flipped).unwrap();
        assert_eq!(load(state.path()).unwrap().damaged, ["torn"], "a bit flipped at {at}");
    }
}

#[test]
fn a_file_under_another_name_and_a_link_are_damage() {
    let state = state();
    write(state.path(), "a");
    let jobs = paths::jobs_dir(state.path());
    std::fs::rename(jobs.join("a"), jobs.join("b")).unwrap();
    std::os::unix::fs::symlink("b", jobs.join("c")).unwrap();
    assert_eq!(load(state.path()).unwrap().damaged, ["b", "c"]);
}

#[test]
fn records_of_known_keys_are_synced_and_unknown_ones_passed_over() {
    let state = state();
    write(state.path(), "a");
    sync_in(&paths::jobs_dir(state.path()), ["a", "gone"]).unwrap();
    assert!(sync_in(&paths::jobs_dir(state.path()), ["../a"]).is_err());
}
