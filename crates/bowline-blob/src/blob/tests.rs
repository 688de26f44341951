//! Putting, going on after a cut at any place, damage, and what is collected.

use std::collections::HashSet;
use std::convert::Infallible;
use std::fs::File;
use std::time::{Duration, SystemTime};

use super::*;

#[derive(Debug)]
struct Trouble;

impl From<BlobError> for Trouble {
    fn from(error: BlobError) -> Self {
        panic!("{error}");
    }
}

impl From<Infallible> for Trouble {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

fn store() -> (tempfile::TempDir, BlobStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = BlobStore::open(folder.path().join("blobs")).unwrap();
    (folder, store)
}

/// Bytes of which no two mebibytes are alike.
fn long(length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length);
    let mut number = 0u64;
    while bytes.len() < length {
        bytes.extend_from_slice(&number.to_le_bytes());
        number += 1;
    }
    bytes.truncate(length);
    bytes
}

#[test]
fn what_is_put_is_got_and_the_same_bytes_again_change_nothing() {
    let (_folder, store) = store();
    for bytes in [b"".to_vec(), b"census".to_vec(), long(3 << 20), long((2 << 20) + 17)] {
        let digest = store.put(&bytes).unwrap();
        assert_eq!(store.put(&bytes).unwrap(), digest);
        assert_eq!(store.get(digest).unwrap().unwrap(), bytes);
        assert_eq!(store.size(digest).unwrap(), Some(bytes.len() as u64));
        assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        store.delete(digest).unwrap();
        store.delete(digest).unwrap();
        assert!(!store.exists(digest).unwrap() && store.get(digest).unwrap().is_none());
    }
}

#[test]
fn an_upload_that_is_cut_off_anywhere_goes_on_where_it_was() {
    let (folder, mut store) = store();
    let bytes = long((2 << 20) + 99);
    let digest = Digest::of(&bytes);
    for cut in [0, 1, 1000, 1 << 20, (1 << 20) + 1, 2 << 20, bytes.len() - 1] {
        let mut upload = store.upload(digest, bytes.len() as u64).unwrap();
        let from = usize::try_from(upload.offset()).unwrap();
        upload.write(&bytes[from..cut.max(from)]).unwrap();
        assert!(matches!(store.upload(digest, 1), Err(BlobError::Busy(_))));
        drop(upload);
        assert_eq!(store.come(digest).unwrap(), cut as u64);
        drop(store);
        store = BlobStore::open(folder.path().join("blobs")).unwrap();
        assert!(!store.exists(digest).unwrap());
    }
    let mut upload = store.upload(digest, bytes.len() as u64).unwrap();
    assert!(matches!(upload.write(b"more than that"), Err(BlobError::TooMany { .. })));
    upload.write(&bytes[bytes.len() - 1..]).unwrap();
    upload.finish().unwrap();
    assert_eq!(store.get(digest).unwrap().unwrap(), bytes);
    assert_eq!(store.come(digest).unwrap(), 0);
}

#[test]
fn an_upload_in_parts_is_checked_against_what_lies_on_the_disk_where_nobody_saw_it_come() {
    let (folder, store) = store();
    let bytes = long((3 << 20) + 99);
    let (digest, total) = (Digest::of(&bytes), bytes.len() as u64);
    let half = (1 << 20) + 5;
    // What this process took is remembered as it was hashed, and goes on in the next part.
    store.upload(digest, total).unwrap().write(&bytes[..half]).unwrap();
    assert_eq!(store.trees.lock().get(&digest).map(Tree::length), Some(half as u64));
    // A file that is shorter than that is another one: nothing of what is remembered holds.
    fs::write(store.incoming(digest), &bytes[..9]).unwrap();
    store.upload(digest, total).unwrap().write(&bytes[9..half]).unwrap();
    // What another process took is read back, and found out where it is not what it should be.
    drop(store);
    let store = BlobStore::open(folder.path().join("blobs")).unwrap();
    let mut torn = bytes[..half].to_vec();
    torn[7] ^= 1;
    fs::write(store.incoming(digest), &torn).unwrap();
    let mut upload = store.upload(digest, total).unwrap();
    upload.write(&bytes[half..]).unwrap();
    assert!(matches!(upload.finish(), Err(BlobError::Damaged { expected, .. }) if expected == digest));
    assert!(!store.exists(digest).unwrap() && store.come(digest).unwrap() == 0 && store.trees.lock().is_empty());
    // Thrown away, it comes whole.
    for part in bytes.chunks(half) {
        store.upload(digest, total).unwrap().write(part).unwrap();
    }
    store.upload(digest, total).unwrap().finish().unwrap();
    assert_eq!(store.get(digest).unwrap().unwrap(), bytes);
    assert!(store.trees.lock().is_empty());
}

#[test]
fn what_became_of_a_file_under_an_upload_is_noticed() {
    let (_folder, store) = store();
    let bytes = long(2 << 20);
    let (digest, total) = (Digest::of(&bytes), bytes.len() as u64);
    let mut upload = store.upload(digest, total).unwrap();
    upload.write(&bytes).unwrap();
    File::options().write(true).open(store.incoming(digest)).unwrap().set_len(total - 1).unwrap();
    assert!(upload.finish().is_err());
    assert!(!store.exists(digest).unwrap());
}

#[test]
fn sums_as_earlier_versions_made_them_are_made_anew() {
    let (_folder, store) = store();
    let bytes = long((3 << 20) + 1);
    let digest = store.put(&bytes).unwrap();
    let own = fs::read(store.sums(digest)).unwrap();
    let earlier: Vec<u8> = bytes.chunks(1 << 20).flat_map(|piece| *Digest::of(piece).as_bytes()).collect();
    fs::write(store.sums(digest), &earlier).unwrap();
    assert_eq!(store.get(digest).unwrap().unwrap(), bytes);
    assert_eq!(fs::read(store.sums(digest)).unwrap(), own);
    assert!(!store.is_damaged(digest).unwrap());
}

#[test]
fn bytes_with_another_digest_are_refused_and_leave_nothing() {
    let (_folder, store) = store();
    let announced = Digest::of(b"one thing");
    let mut upload = store.upload(announced, 9).unwrap();
    upload.write(b"two thing").unwrap();
    assert!(matches!(upload.finish(), Err(BlobError::Damaged { expected, .. }) if expected == announced));
    assert!(!store.exists(announced).unwrap());
    assert_eq!(store.come(announced).unwrap(), 0);
    let mut upload = store.upload(announced, 9).unwrap();
    upload.write(b"one").unwrap();
    assert!(upload.finish().is_err());
}

#[test]
fn a_flipped_byte_anywhere_is_noticed_and_never_given_out() {
    for size in [10, (2 << 20) + 10] {
        for at in [0, size / 2, size - 1] {
            let (_folder, store) = store();
            let bytes = long(size);
            let digest = store.put(&bytes).unwrap();
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            fs::write(store.path(digest), &flipped).unwrap();
            let reader = store.read(digest).unwrap().unwrap();
            let piece = reader.piece(at as u64);
            assert!(matches!(piece, Err(BlobError::Damaged { expected, .. }) if expected == digest), "{size} {at}");
            // It counts as not there, and is whole again when it comes again.
            assert!(!store.exists(digest).unwrap() && store.is_damaged(digest).unwrap());
            store.put(&bytes).unwrap();
            assert_eq!(store.get(digest).unwrap().unwrap(), bytes);
            assert!(!store.is_damaged(digest).unwrap());
        }
    }
}

#[test]
fn sums_that_are_lost_or_damaged_are_made_again() {
    let (_folder, store) = store();
    let bytes = long(3 << 20);
    let digest = store.put(&bytes).unwrap();
    fs::remove_file(store.sums(digest)).unwrap();
    assert_eq!(store.get(digest).unwrap().unwrap(), bytes);
    let mut sums = fs::read(store.sums(digest)).unwrap();
    sums[40] ^= 1;
    fs::write(store.sums(digest), sums).unwrap();
    assert_eq!(store.get(digest).unwrap().unwrap(), bytes);
    fs::write(store.sums(digest), b"short").unwrap();
    assert_eq!(store.get(digest).unwrap().unwrap(), bytes);
}

#[test]
fn any_range_is_read_from_where_it_begins() {
    let (_folder, store) = store();
    let bytes = long((1 << 20) + 100);
    let reader_digest = store.put(&bytes).unwrap();
    let reader = store.read(reader_digest).unwrap().unwrap();
    assert_eq!(reader.piece(5).unwrap(), bytes[5..1 << 20]);
    assert_eq!(reader.piece((1 << 20) + 7).unwrap(), bytes[(1 << 20) + 7..]);
    assert!(reader.piece(bytes.len() as u64).unwrap().is_empty());
}

#[test]
fn only_what_nobody_names_or_has_touched_lately_is_collected() {
    let (_folder, store) = store();
    let named = store.put(b"named").unwrap();
    let unnamed = store.put(b"unnamed").unwrap();
    let large = store.put(&long(2 << 20)).unwrap();
    let mut half = store.upload(Digest::of(b"half"), 4).unwrap();
    half.write(b"ha").unwrap();
    drop(half);
    let busy = store.upload(Digest::of(b"busy"), 4).unwrap();
    let keeps = |some: &[Digest]| -> Result<HashSet<Digest>, Trouble> {
        Ok(some.iter().copied().filter(|digest| *digest == named).collect())
    };
    let now = fs::metadata(store.path(unnamed)).unwrap().modified().unwrap();
    let hour = Duration::from_hours(1);
    assert_eq!(store.collect((now, hour), keeps).unwrap(), Collected::default());
    let later = now + hour * 2;
    store.touch(large).unwrap();
    let collected = store.collect((later, hour), keeps).unwrap();
    assert_eq!((collected.blobs, collected.uploads), (2, 1));
    assert!(store.exists(named).unwrap() && !store.exists(unnamed).unwrap() && !store.exists(large).unwrap());
    assert!(!store.sums(large).exists());
    assert_eq!(busy.offset(), 0);
    drop(busy);
}

#[test]
fn a_blob_that_is_touched_meanwhile_stays() {
    let (_folder, store) = store();
    let digest = store.put(b"wanted").unwrap();
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_hours(1);
    File::options().write(true).open(store.path(digest)).unwrap().set_modified(long_ago).unwrap();
    assert_eq!(store.touch(digest).unwrap(), Some(6));
    let now = fs::metadata(store.path(digest)).unwrap().modified().unwrap();
    let nobody = |_: &[Digest]| -> Result<HashSet<Digest>, Trouble> { Ok(HashSet::new()) };
    assert_eq!(store.collect((now, Duration::from_secs(1)), nobody).unwrap().blobs, 0);
    assert!(store.exists(digest).unwrap());
}

#[test]
fn no_name_leads_out_of_the_store() {
    for name in ["", "../../etc/passwd", "abc", &"g".repeat(64), &"a".repeat(63), &"a".repeat(65)] {
        assert!(matches!(name.parse::<Digest>(), Err(BlobError::BadDigest(_))), "{name}");
    }
}

#[test]
fn many_small_ones_are_put_at_once() {
    for count in [1, 3, 40] {
        let (folder, store) = store();
        let texts: Vec<Vec<u8>> = (0..count).map(|number| format!("blob {number}").into_bytes()).collect();
        let there = store.put(&texts[0]).unwrap();
        let busy = store.upload(Digest::of(b"busy"), 4).unwrap();
        // Cut off before, and sent anew as a whole.
        let mut half = store.upload(Digest::of(b"half"), 4).unwrap();
        half.write(b"ha").unwrap();
        drop(half);
        let mut blobs: Vec<(Digest, &[u8])> = texts.iter().map(|text| (Digest::of(text), &text[..])).collect();
        let large = long((1 << 20) + 1);
        blobs.extend([(Digest::of(b"half"), &b"half"[..]), (Digest::of(b"half"), b"half")]);
        blobs.extend([
            (Digest::of(b"busy"), &b"busy"[..]),
            (Digest::of(b"one"), b"other"),
            (Digest::of(&large), &large),
        ]);
        let stored: HashSet<Digest> = store.put_many(&blobs).unwrap().into_iter().collect();
        let expected = texts.iter().map(|text| Digest::of(text)).chain([Digest::of(b"half")]);
        assert_eq!(stored, expected.collect());
        assert!(stored.contains(&there));
        drop(busy);
        drop(store);
        let store = BlobStore::open(folder.path().join("blobs")).unwrap();
        for text in &texts {
            assert_eq!(store.get(Digest::of(text)).unwrap().as_ref(), Some(text));
        }
        assert_eq!(store.get(Digest::of(b"half")).unwrap().unwrap(), b"half");
        assert!(!store.exists(Digest::of(b"one")).unwrap() && !store.exists(Digest::of(&large)).unwrap());
        // Nobody holds them any more.
        assert!(store.upload(Digest::of(b"one"), 3).is_ok());
    }
}

#[test]
fn one_that_was_found_damaged_is_whole_again_when_it_comes_with_others() {
    let (_folder, store) = store();
    let digest = store.put(b"sound").unwrap();
    fs::write(store.path(digest), b"s0und").unwrap();
    assert!(store.get(digest).is_err() && store.is_damaged(digest).unwrap());
    assert_eq!(store.put_many(&[(digest, b"sound")]).unwrap(), [digest]);
    assert_eq!(store.get(digest).unwrap().unwrap(), b"sound");
    assert!(!store.is_damaged(digest).unwrap() && !store.damaged(digest).exists());
}
