//! A file system that answers nothing: a process that looks into it cannot be killed until it is gone.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::{FdFlags, fcntl_setfd};

/// Requests are no longer than this, in bytes.
const REQUEST_BYTES_MAX: usize = 1 << 17;
/// The first thing that a kernel asks.
const INIT: u32 = 26;

/// Mounted while it lives.
#[derive(Debug)]
pub(crate) struct Hung {
    path: PathBuf,
    asked: Arc<AtomicBool>,
}

impl Hung {
    /// Mounts it there. `None`: this user may not.
    pub(crate) fn mount(path: &Path) -> Option<Self> {
        std::fs::create_dir(path).unwrap();
        let device = File::options().read(true).write(true).open("/dev/fuse").ok()?;
        fcntl_setfd(&device, FdFlags::empty()).unwrap();
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd());
        #[expect(clippy::disallowed_methods, reason = "tests start what they need")]
        let mut mount = Command::new("mount");
        mount.args(["-i", "-t", "fuse", "-o", &options, "hung"]).arg(path).stderr(Stdio::null());
        if !mount.status().ok()?.success() {
            return None;
        }
        // Nobody else may hold it: when it is closed, all who hang go on.
        fcntl_setfd(&device, FdFlags::CLOEXEC).unwrap();
        let asked = Arc::new(AtomicBool::new(false));
        let tells = Arc::clone(&asked);
        std::thread::spawn(move || serve(device, &tells));
        Some(Self { path: path.to_owned(), asked })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether somebody has asked something, and waits.
    pub(crate) fn holds_somebody(&self) -> bool {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Drop for Hung {
    fn drop(&mut self) {
        // The kernel hangs up on the server's side, and everybody is told that it is over.
        #[expect(clippy::disallowed_methods, reason = "tests start what they need")]
        let mut umount = Command::new("umount");
        umount.args(["-i", "-f"]).arg(&self.path).stderr(Stdio::null()).status().ok();
        #[expect(clippy::disallowed_methods, reason = "tests start what they need")]
        let mut detach = Command::new("umount");
        detach.args(["-i", "-l"]).arg(&self.path).stderr(Stdio::null()).status().ok();
    }
}

/// Answers the greeting, and nothing else.
fn serve(mut device: File, asked: &AtomicBool) {
    let mut request = vec![0; REQUEST_BYTES_MAX];
    while let Ok(length) = device.read(&mut request) {
        if length < 16 {
            continue;
        }
        let number = |at: usize| u32::from_le_bytes(request[at..at + 4].try_into().unwrap());
        if number(4) == INIT {
            drop(device.write_all(&greeting(&request[8..16])));
        } else {
            asked.store(true, Ordering::SeqCst);
        }
    }
}

/// `fuse_out_header` and `fuse_init_out`, version 7.31, without anything that one may offer.
fn greeting(unique: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend(80_u32.to_le_bytes());
    out.extend(0_i32.to_le_bytes());
    out.extend(unique);
    // Version, read-ahead, flags.
    for number in [7_u32, 31, 0, 0] {
        out.extend(number.to_le_bytes());
    }
    // Background requests, and when they are too many.
    for number in [1_u16, 1] {
        out.extend(number.to_le_bytes());
    }
    // Largest write, time's grain.
    for number in [4096_u32, 1] {
        out.extend(number.to_le_bytes());
    }
    out.resize(80, 0);
    out
}
