//! Files that are said to be backups.

use std::fs;

use bowline_server::backup;

use crate::scratch;

/// A file of these bytes is no backup: refused by its name, without panic, whatever it holds.
pub fn check(bytes: &[u8]) {
    let folder = scratch::folder();
    let file = folder.path().join("some.backup");
    fs::write(&file, bytes).expect("a file of a temporary folder");
    let refused = backup::check(&file).expect_err("no whole backup has so few bytes");
    assert!(refused.to_string().contains("some.backup"), "`{refused}` does not name the file");
}
