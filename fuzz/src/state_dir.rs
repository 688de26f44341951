//! The small files of a worker's state directory and of a server's data folder.

use std::fs;
use std::path::Path;

use bowline_core::name::WorkerName;
use bowline_server::{Secrets, SecretsError};

use crate::scratch;

/// Puts bytes into each of the files in turn, separated by a byte 0xff, and starts on them.
pub fn check(bytes: &[u8]) {
    let folder = scratch::folder();
    let mut parts = bytes.splitn(6, |byte| *byte == 0xff);
    for name in ["id", "server", "key", "key.new"] {
        write(folder.path(), name, parts.next());
    }
    let name = WorkerName::new("fuzz").expect("a name");
    bowline_worker::fuzz::state_dir(folder.path(), &name);
    for name in ["token", "secret"] {
        write(folder.path(), name, parts.next());
    }
    secrets(folder.path());
}

fn write(folder: &Path, name: &str, bytes: Option<&[u8]>) {
    if let Some(bytes) = bytes {
        fs::write(folder.join(name), bytes).expect("a file of a temporary folder");
    }
}

/// A secret that is there is used as it is or named, and never made anew: whoever has it would be locked out.
fn secrets(folder: &Path) {
    let (token, secret) = (folder.join("token"), folder.join("secret"));
    let before = fs::read(&token).ok();
    match Secrets::open(&token, &secret) {
        Ok(secrets) => {
            let text = fs::read_to_string(&token).expect("a token is text");
            assert!(secrets.is_admin(text.trim()), "the token in the file opens the door");
            assert!(before.is_none_or(|before| before == text.as_bytes()), "a token that was there stays");
            assert!(!secrets.is_admin(""), "an empty token opens nothing");
        }
        Err(SecretsError::Damaged { path } | SecretsError::Io { path, .. }) => {
            assert!(path.starts_with(folder), "the damaged file is named");
            assert_eq!(fs::read(&token).ok().filter(|_| before.is_some()), before, "what is damaged is left alone");
        }
    }
}
