//! Who owns a store file: a lock file beside it, held for as long as the store is open. The
//! operating system lets go of it with the process, however that ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::open::OpenError;

/// The ownership of a store file.
#[derive(Debug)]
pub(crate) struct OwnerLock {
    _file: File,
}

/// Where the lock of a store file lies.
fn lock_path(store: &Path) -> PathBuf {
    let mut name = store.file_name().unwrap_or_default().to_owned();
    name.push(".lock");
    store.with_file_name(name)
}

impl OwnerLock {
    /// Takes the ownership, or says who has it.
    pub(crate) fn take(store: &Path) -> Result<Self, OpenError> {
        let path = lock_path(store);
        let failed = |source| OpenError::Io { operation: "locking", path: path.clone(), source };
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut owner = String::new();
                let pid = file.read_to_string(&mut owner).ok().and_then(|_| owner.trim().parse().ok());
                return Err(OpenError::InUse { path: store.to_owned(), pid });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        file.set_len(0).map_err(failed)?;
        file.seek(SeekFrom::Start(0)).map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(Self { _file: file })
    }
}
