//! The socket's address. A Unix socket's path may have 107 bytes only; a state folder's may have
//! many more. So the folder is opened, and the socket reached through `/proc/self/fd`.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

/// Longest path that fits into a socket's address, in bytes.
const ADDRESS_BYTES_MAX: usize = 107;

/// Listens at a path, and takes the place of whatever socket a dead process left there. Only who
/// holds the state folder's lock may call this.
pub(crate) fn bind(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let (address, _folder) = address(path)?;
    UnixListener::bind(address)
}

/// Connects to a path.
pub(crate) fn connect(path: &Path) -> io::Result<UnixStream> {
    let (address, _folder) = address(path)?;
    UnixStream::connect(address)
}

/// A path that fits, and what must stay open while it is used.
fn address(path: &Path) -> io::Result<(PathBuf, Option<OwnedFd>)> {
    if path.as_os_str().len() <= ADDRESS_BYTES_MAX {
        return Ok((path.to_owned(), None));
    }
    let invalid = || io::Error::new(io::ErrorKind::InvalidInput, "a socket's path without a folder or a name");
    let folder = path.parent().ok_or_else(invalid)?;
    let name = path.file_name().ok_or_else(invalid)?;
    let folder = rustix::fs::open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let short = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name);
    Ok((short, Some(folder)))
}

/// Takes the lock of a state folder, which goes with the process. `None`: another process has it.
pub(crate) fn lock(path: &Path) -> io::Result<Option<File>> {
    let file = File::options().create(true).truncate(false).write(true).open(path)?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
