//! Disks of their own, small enough to be filled to the last byte or the last file. They are mounted in a
//! namespace that nobody else sees.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::nest::tool;

/// Most files of a small disk: more than an act of five minutes makes by itself.
const FILES_MAX: u32 = 24_000;

/// A disk.
#[derive(Debug)]
pub(crate) struct Disk {
    path: PathBuf,
}

impl Disk {
    pub(crate) fn mount(path: &Path, mebibytes: u32) -> Result<Self> {
        std::fs::create_dir_all(path).with_context(|| format!("making `{}`", path.display()))?;
        let options = format!("size={mebibytes}m,nr_inodes={FILES_MAX}");
        tool(&["mount", "-t", "tmpfs", "-o", &options, "small", &path.to_string_lossy()])?;
        let disk = Self { path: path.to_owned() };
        // It is there from the start: where no file can be made, bytes can be taken all the same.
        File::create(disk.filler()).context("making the file that will fill the disk")?;
        Ok(disk)
    }

    /// Leaves not one byte free.
    pub(crate) fn fill(&self) -> Result<()> {
        let filler = self.filler();
        let mut file = File::options().append(true).open(&filler).context("opening the file that fills the disk")?;
        for size in [1 << 20, 4_096, 512, 1] {
            let block = vec![b'x'; size];
            while file.write_all(&block).is_ok() {}
        }
        Ok(())
    }

    /// Leaves bytes, and not one file to be made.
    pub(crate) fn fill_files(&self) -> Result<()> {
        let folder = self.path.join("fillers");
        std::fs::create_dir_all(&folder).context("making the folder that takes up files")?;
        for number in 0..FILES_MAX {
            if File::create(folder.join(number.to_string())).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Gives all of it back. What was not taken is not missed.
    pub(crate) fn free(&self) {
        drop(File::create(self.filler()));
        std::fs::remove_dir_all(self.path.join("fillers")).ok();
    }

    fn filler(&self) -> PathBuf {
        self.path.join("filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // It goes with its namespace where this fails.
        tool(&["umount", "-l", &self.path.to_string_lossy()]).ok();
    }
}
