//! A supervisor's records: the file of one job, and the file of the ends that were synced, cut or altered anywhere.

use bowline_supervisor::records::{Clean, Entry, SLOT_BYTES, Slots, Tail, parse, slot};

/// Reads bytes as a record, and as a file of ends.
pub fn check(bytes: &[u8]) {
    job(bytes);
    ends(bytes);
}

/// Every entry before the damage is read back, and the damage is told.
fn job(bytes: &[u8]) {
    let Some(loaded) = parse(bytes) else {
        assert!(!matches!(Entry::parse(bytes), Some((Entry::Begun(_), _))), "a record that begins well is lost");
        return;
    };
    let (mut at, mut entries) = (0, 0);
    while let Some((entry, length)) = bytes.get(at..).and_then(Entry::parse) {
        match entry {
            Entry::Begun(begun) if entries == 0 => assert_eq!(begun, loaded.begun),
            Entry::Begun(_) => break,
            Entry::Spawned(_) => assert!(loaded.spawned.is_some(), "what stands before the damage is lost"),
            Entry::Ended(_) => assert!(loaded.ended.is_some(), "what stands before the damage is lost"),
            Entry::Clean => assert_eq!(loaded.is_clean, Clean::Yes, "what stands before the damage is lost"),
        }
        (at, entries) = (at + length, entries + 1);
    }
    assert_eq!(loaded.bytes, at as u64, "the next entry goes right behind the last whole one");
    let is_room = bytes[at..].iter().all(|byte| *byte == 0);
    assert_eq!(loaded.tail == Tail::Room, is_room, "damage is told, and nothing else is");
}

/// Every slot is free, an end, or told as damaged; and an end is written as it was read.
fn ends(bytes: &[u8]) {
    let (slots, ends, damaged) = Slots::read(bytes);
    assert_eq!(slots.count(), bytes.len().div_ceil(SLOT_BYTES));
    assert!(ends.len() + damaged.len() <= slots.count() && slots.used() == ends.len());
    for ended in ends {
        let bytes = slot(&ended).expect("what came out of a slot fits into one");
        assert_eq!(Slots::read(&bytes).1, [ended]);
    }
}
