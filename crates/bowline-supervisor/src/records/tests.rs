//! Records are read back as they were written, whatever the crash cut off, and damage is named.

use std::path::Path;
use std::time::Duration;

use super::files::{Record, load, remove};
use super::spares::Spares;
use super::*;
use crate::paths;
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
    let mut record = Record::create(state, &begun(key), &mut Spares::open(state)).unwrap();
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
    drop(Record::create(state.path(), &begun("a"), &mut Spares::open(state.path())).unwrap());
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
        drop(Record::create(state.path(), &begun(&key), &mut Spares::open(state.path())).unwrap());
        std::fs::metadata(paths::jobs_dir(state.path()).join(&key)).unwrap().len()
    };
    remove(state.path(), &key, &mut Spares::open(state.path())).unwrap();
    write(state.path(), &key);
    assert_eq!(std::fs::metadata(paths::jobs_dir(state.path()).join(&key)).unwrap().len(), before);
}

#[test]
fn what_is_whole_is_kept_and_what_is_torn_is_named() {
    let state = state();
    write(state.path(), "whole");
    write(state.path(), "torn");
    let torn = paths::jobs_dir(state.path()).join("torn");
    let bytes = std::fs::read(&torn).unwrap();
    let whole = parse(&bytes).unwrap();
    let first = Entry::Begun(begun("torn")).framed().len();
    for end in 0..usize::try_from(whole.bytes).unwrap() {
        std::fs::write(&torn, &bytes[..end]).unwrap();
        let records = load(state.path()).unwrap();
        let found = records.whole.iter().find(|loaded| loaded.begun.key == "torn");
        assert_eq!(found.is_some(), end >= first, "cut at {end}");
        // What was cut between two entries is a shorter record.
        let is_room = found.is_some_and(|found| found.tail == Tail::Room);
        assert_eq!(records.damaged.is_empty(), is_room, "cut at {end}");
        assert!(records.whole.iter().any(|loaded| loaded.begun.key == "whole"));
    }
    for (at, bit) in (0..usize::try_from(whole.bytes).unwrap()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << bit;
        std::fs::write(&torn, &flipped).unwrap();
        let records = load(state.path()).unwrap();
        assert_eq!(records.damaged, ["torn"], "bit {bit} flipped at {at}");
        let found = records.whole.iter().find(|loaded| loaded.begun.key == "torn");
        assert_eq!(found.map(|found| found.begun.clone()), (at >= first).then(|| begun("torn")), "at {at}");
        assert!(found.is_none_or(|found| found.is_clean == Clean::Unknown), "at {at}");
    }
}

#[test]
fn a_damaged_record_is_not_written_to() {
    let state = state();
    write(state.path(), "a");
    let path = paths::jobs_dir(state.path()).join("a");
    let mut bytes = std::fs::read(&path).unwrap();
    let end = usize::try_from(parse(&bytes).unwrap().bytes).unwrap();
    bytes[end - 1] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let loaded = load(state.path()).unwrap().whole.remove(0);
    assert!(Record::reopen(state.path(), &loaded).is_err());
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
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
fn an_end_that_was_synced_makes_up_for_what_a_record_has_lost() {
    let ends: Vec<u8> = ["a", "gone"].iter().flat_map(|key| slot(&exited(key)).unwrap()).collect();
    let (begun_a, _) = opening(&begun("a"));
    let (begun_b, _) = opening(&begun("b"));
    let files = [("a".to_owned(), Some(begun_a)), ("b".to_owned(), Some(begun_b))];
    let records = read_all(files, &ends);
    assert_eq!(records.whole[0].ended, Some(exited("a")));
    assert_eq!(records.whole[1].ended, None);
    assert_eq!(records.ends, [exited("gone")]);
    assert_eq!(records.damaged, Vec::<String>::new());
}

#[test]
fn a_torn_slot_spoils_none_but_its_own() {
    let whole: Vec<u8> = ["a", "b", "c"].iter().flat_map(|key| slot(&exited(key)).unwrap()).collect();
    for at in SLOT_BYTES..2 * SLOT_BYTES {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x40;
        let records = read_all([], &flipped);
        let length = Entry::Ended(exited("b")).framed().len();
        if at < SLOT_BYTES + length {
            assert_eq!(records.damaged, ["ends/1"], "a bit flipped at {at}");
            assert_eq!(records.ends, [exited("a"), exited("c")]);
        }
    }
    for end in 0..whole.len() {
        let (slots, ends, damaged) = Slots::read(&whole[..end]);
        assert_eq!(slots.count(), end.div_ceil(SLOT_BYTES));
        assert!(damaged.len() <= 1 && ends.len() >= end / SLOT_BYTES);
    }
}

#[test]
fn slots_are_used_again_and_a_damaged_one_is_not() {
    let mut bytes = [slot(&exited("a")).unwrap(), slot(&exited("b")).unwrap(), [0; SLOT_BYTES]].concat();
    bytes[SLOT_BYTES + 9] ^= 1;
    let (mut slots, _, damaged) = Slots::read(&bytes);
    assert_eq!((damaged, slots.count(), slots.used()), (vec![1], 3, 1));
    assert_eq!((slots.take("a"), slots.take("c"), slots.take("d")), (Some(0), Some(2), None));
    assert!(slots.grow(3));
    assert_eq!(slots.take("d"), Some(3));
    assert_eq!(slots.give_back("a"), Some(0));
    assert_eq!((slots.take("e"), slots.give_back("a")), (Some(0), None));
}

#[test]
fn the_longest_end_fits_into_a_slot() {
    assert!(slot(&exited(&"k".repeat(crate::wire::KEY_BYTES_MAX))).is_some());
    let failed = crate::wire::StartFailed {
        key: "k".repeat(crate::wire::KEY_BYTES_MAX),
        step: crate::wire::Step::Exec,
        errno: 2,
    };
    assert!(slot(&Ended::StartFailed(failed)).is_some());
}

#[test]
fn ends_are_read_back_from_their_file() {
    let state = state();
    let mut file = files::EndsFile::open(state.path()).unwrap();
    file.write(&[exited("a"), exited("b")]).unwrap();
    file.remove("a").unwrap();
    drop(file);
    assert_eq!(load(state.path()).unwrap().ends, [exited("b")]);
    let mut file = files::EndsFile::open(state.path()).unwrap();
    file.write(&[exited("c"), exited("b")]).unwrap();
    assert_eq!(load(state.path()).unwrap().ends, [exited("b"), exited("c")]);
    assert_eq!(std::fs::metadata(paths::ends_path(state.path())).unwrap().len() % (SLOT_BYTES as u64), 0);
}
