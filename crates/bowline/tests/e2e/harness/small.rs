//! A disk of a few MiB, to be filled to its last byte.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A `tmpfs`, mounted while it lives.
#[derive(Debug)]
pub(crate) struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// Mounts one of so many MiB there. `None`: this user may not.
    pub(crate) fn mount(path: &Path, mebibytes: u32) -> Option<Self> {
        std::fs::create_dir(path).unwrap();
        #[expect(clippy::disallowed_methods, reason = "tests start what they need")]
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={mebibytes}m"), "small"]).arg(path).stderr(Stdio::null());
        mount.status().ok()?.success().then(|| Self { path: path.to_owned() })
    }

    /// Leaves not one byte free.
    pub(crate) fn fill(&self) {
        let mut file = File::options().create(true).append(true).open(self.filler()).unwrap();
        for size in [1 << 20, 4096, 512, 1] {
            let block = vec![b'x'; size];
            while file.write_all(&block).is_ok() {}
        }
    }

    /// Gives it all back.
    pub(crate) fn free(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.path.join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        #[expect(clippy::disallowed_methods, reason = "tests start what they need")]
        let mut umount = Command::new("umount");
        umount.arg("-l").arg(&self.path).stderr(Stdio::null()).status().ok();
    }
}
