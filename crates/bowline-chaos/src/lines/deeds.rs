//! What jobs did in fact: their marks are read as they come, and forgotten. The file begins anew when it is long.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::check::marks::{self, Mark};

/// A file of marks that is longer is put aside, read to its end, and removed.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// So many attempts that have begun are remembered.
const BEGUN_MAX: usize = 20_000;

/// What is counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    pub(crate) begun: u64,
    pub(crate) ended: u64,
}

/// The marks, as far as they have been read.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Deeds {
    folder: PathBuf,
    offset: u64,
    /// A line that is not whole yet.
    begun_line: String,
    begun: BTreeSet<(String, u64)>,
    order: std::collections::VecDeque<(String, u64)>,
    /// Newest mark of each worker's attempts, for nothing but to be told in a finding.
    last: BTreeMap<String, String>,
    pub(crate) counts: Counts,
}

impl Deeds {
    pub(crate) fn new(folder: &Path) -> Result<Self> {
        for name in ["locks", "fails", super::grip::FOLDER] {
            std::fs::create_dir_all(folder.join(name)).context("making folders for marks")?;
        }
        File::options().create(true).append(true).open(folder.join("marks")).context("making the file of marks")?;
        Ok(Self { folder: folder.to_owned(), ..Self::default() })
    }

    /// Reads what has come; what must not be.
    pub(crate) fn read(&mut self) -> Result<Vec<String>> {
        let path = self.folder.join("marks");
        let mut found = self.read_from(&path)?;
        if self.offset > FILE_BYTES_MAX {
            let aside = self.folder.join("marks-before");
            std::fs::rename(&path, &aside).context("putting marks aside")?;
            File::create(&path).context("beginning a new file of marks")?;
            // Whoever had it open when it was put aside has written within this.
            crate::clock::pause(std::time::Duration::from_millis(200));
            found.extend(self.read_from(&aside)?);
            std::fs::remove_file(&aside).context("removing marks that were read")?;
            self.offset = 0;
        }
        Ok(found)
    }

    fn read_from(&mut self, path: &Path) -> Result<Vec<String>> {
        let mut file = File::open(path).context("opening the marks")?;
        file.seek(SeekFrom::Start(self.offset)).context("going on in the marks")?;
        let mut text = std::mem::take(&mut self.begun_line);
        self.offset += file.read_to_string(&mut text).context("reading the marks")? as u64;
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        text[whole..].clone_into(&mut self.begun_line);
        let marks = marks::read(&text[..whole]).map_err(anyhow::Error::msg)?;
        Ok(marks.iter().filter_map(|mark| self.take(mark)).collect())
    }

    fn take(&mut self, mark: &Mark) -> Option<String> {
        let Mark { task, attempt, worker, .. } = mark;
        let who = format!("the job of task {task}, attempt {attempt}, on {worker}");
        match mark.what.split_once(':').unwrap_or((&mark.what, "")) {
            ("begin", _) => {
                self.counts.begun += 1;
                self.last.insert(worker.clone(), who.clone());
                let key = (task.clone(), *attempt);
                let is_new = self.begun.insert(key.clone());
                self.order.push_back(key);
                if self.order.len() > BEGUN_MAX
                    && let Some(oldest) = self.order.pop_front()
                {
                    self.begun.remove(&oldest);
                }
                (!is_new).then(|| format!("{who}, began twice"))
            }
            ("end" | "fail", _) => {
                self.counts.ended += 1;
                None
            }
            ("beside", "") => Some(format!("{who}, ran beside another attempt of its task")),
            ("beside", what) => Some(format!(
                "{who}, ran while processes of another one still held `{what}`; the last to begin on each worker: {:?}",
                self.last
            )),
            ("beyond", what) => {
                Some(format!("{who}, ran while so much of `{what}` was in use that it found too little"))
            }
            ("untold", what) => Some(format!("{who}, was not told what it has of `{what}`")),
            _ => None,
        }
    }

    /// Removes what jobs of tasks that have ended left.
    pub(crate) fn sweep(&self, unended: &BTreeSet<String>) {
        for folder in ["locks", "fails"] {
            let entries = std::fs::read_dir(self.folder.join(folder)).into_iter().flatten().flatten();
            for entry in entries {
                let is_old = entry
                    .metadata()
                    .and_then(|data| data.modified())
                    .is_ok_and(|when| when.elapsed().is_ok_and(|age| age > std::time::Duration::from_mins(10)));
                let name = entry.file_name().to_string_lossy().into_owned();
                let task = name.split('.').next().unwrap_or_default();
                if is_old && !unended.contains(task) {
                    // It is tried again at the next sweep.
                    std::fs::remove_file(entry.path()).ok();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn marks_are_read_as_they_come_and_what_must_not_be_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let mut deeds = Deeds::new(folder.path()).unwrap();
        let mut file = File::options().append(true).open(folder.path().join("marks")).unwrap();
        file.write_all(b"5 begin 7 1 w0 99\n6 begin 8 1 w1 98\n7 beside:db 8 1 w").unwrap();
        assert!(deeds.read().unwrap().is_empty());
        file.write_all(b"1 98\n8 end 7 1 w0 99\n9 begin 7 1 w0 97\n9 beyond:lic 7 1 w0 97\n").unwrap();
        let found = deeds.read().unwrap();
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(
            found[0].contains("task 8, attempt 1, on w1, ran while processes of another one still held `db`"),
            "{found:?}"
        );
        assert!(found[1].contains("began twice") && found[2].contains("`lic`"), "{found:?}");
        assert_eq!(deeds.counts, Counts { begun: 3, ended: 1 });
    }

    #[test]
    fn a_long_file_begins_anew_and_nothing_of_it_is_missed() {
        let folder = tempfile::tempdir().unwrap();
        let mut deeds = Deeds::new(folder.path()).unwrap();
        let path = folder.path().join("marks");
        let line = |number: u64| format!("5 begin {number} 1 w0 99\n");
        let many: String = (0..60_000).map(line).collect();
        std::fs::write(&path, &many).unwrap();
        assert!(deeds.read().unwrap().is_empty());
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 0);
        std::fs::write(&path, line(59_999)).unwrap();
        assert_eq!(deeds.read().unwrap().len(), 1);
        assert_eq!(deeds.counts.begun, 60_001);
    }
}
