//! A job's artifacts: everything in its folder `BOWLINE_ARTIFACTS`, and what of its working folder its task
//! names by globs. Links are not followed.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bowline_protocol::limits;
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use crate::prepare::Plan;

/// Most files that are looked at in one folder tree.
const FILES_SEEN_MAX: usize = 100_000;

/// The artifacts, by name; what cannot be one is noted.
pub(super) fn find(plan: &Plan, notes: &mut Vec<String>) -> Vec<(String, PathBuf)> {
    let mut found = BTreeMap::new();
    if let Some(globs) = globs(&plan.work.artifacts, notes) {
        let mut of_work_dir = BTreeMap::new();
        walk(&plan.work_dir(), &mut of_work_dir, notes);
        found.extend(of_work_dir.into_iter().filter(|(name, _)| globs.is_match(name)));
    }
    walk(&plan.artifacts_dir(), &mut found, notes);
    if found.len() > limits::ARTIFACTS_MAX {
        notes.push(format!("of {} artifacts only the first {} are kept", found.len(), limits::ARTIFACTS_MAX));
    }
    found.into_iter().take(limits::ARTIFACTS_MAX).collect()
}

fn globs(patterns: &[String], notes: &mut Vec<String>) -> Option<GlobSet> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let pattern = pattern.strip_prefix("./").unwrap_or(pattern);
        match GlobBuilder::new(pattern).literal_separator(true).build() {
            Ok(glob) => {
                set.add(glob);
            }
            Err(error) => notes.push(format!("`{pattern}` is no pattern for artifacts: {error}")),
        }
    }
    (!patterns.is_empty()).then(|| set.build().ok()).flatten()
}

/// Every plain file below a folder, by its path from there.
fn walk(root: &Path, found: &mut BTreeMap<String, PathBuf>, notes: &mut Vec<String>) {
    let mut folders = vec![root.to_owned()];
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => {
                notes.push(format!("the folder {} could not be searched for artifacts: {error}", folder.display()));
                continue;
            }
        };
        for entry in entries.flatten() {
            seen += 1;
            if seen > FILES_SEEN_MAX {
                notes
                    .push(format!("{} holds more than {FILES_SEEN_MAX} files: not all were looked at", root.display()));
                return;
            }
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(path),
                Ok(kind) if kind.is_file() => {
                    let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
                    if name.len() <= limits::ARTIFACT_NAME_BYTES_MAX {
                        found.insert(name, path);
                    } else {
                        notes.push(format!("an artifact with a name of {} bytes is not kept", name.len()));
                    }
                }
                Ok(_) | Err(_) => {}
            }
        }
    }
}
