//! A log on the server's disk and what lies beside it, cut or altered anywhere.

use std::fs;

use bowline_blob::log::{index, records_for_copy, sealed};
use bowline_blob::{LogKey, LogStore, LogStream};

use crate::scratch;

const KEY: LogKey = LogKey { task: 7, index: None, generation: 0, attempt: 1 };
const BYTES_MAX: usize = 1 << 16;

/// The first byte says how long the log is and whether it is sealed, the rest is the file beside it. Then the log is
/// read, gets more, and is read again.
pub fn check(bytes: &[u8]) {
    let Some((first, records)) = bytes.split_first() else { return };
    let folder = scratch::folder();
    let path = folder.path().join("0").join("7").join("_.0.1.out");
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    let content: Vec<u8> = (0..usize::from(*first & 0x7f) * 7).map(|at| b'a' + (at % 26) as u8).collect();
    let is_sealed = *first & 0x80 != 0;
    fs::write(if is_sealed { sealed(&path) } else { path.clone() }, &content).expect("the log");
    fs::write(index(&path), records).expect("its records");
    drop(records_for_copy(&index(&path), content.len() as u64, content.len() as u64));

    let logs = LogStore::open(folder.path()).expect("a store of logs");
    let state = logs.state(KEY, LogStream::Output).expect("a log that is there");
    assert_eq!((state.length, state.is_sealed()), (content.len() as u64, is_sealed));
    assert_eq!(logs.read(KEY, LogStream::Output, 0, BYTES_MAX).expect("its bytes"), content, "the bytes are whole");
    let marks = logs.marks(KEY, LogStream::Output).expect("what it says of itself");
    let mut end = 0;
    for (from, to) in marks.left_out(state.length) {
        assert!(end <= from && from < to && to <= state.length, "left out is {from}..{to} of {}", state.length);
        end = to;
    }
    let more = logs.append(KEY, LogStream::Output, state.length, b"more");
    assert_eq!(more.is_err(), is_sealed, "a sealed log takes no more, another does");
    drop(logs);

    let again = LogStore::open(folder.path()).expect("a store of logs");
    let length = again.state(KEY, LogStream::Output).expect("the log, again").length;
    assert_eq!(length, state.length + if is_sealed { 0 } else { 4 });
    assert_eq!(again.marks(KEY, LogStream::Output).expect("its marks, again").truncated(), marks.truncated());
}
