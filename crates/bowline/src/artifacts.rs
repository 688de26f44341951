//! Fetching artifacts into a folder: whole or not at all, checked against their digest, and never
//! outside that folder, whatever they are called.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use anyhow::Context;
use bowline_api::Artifact;
use bowline_client::{Client, ClientError};
use futures::StreamExt as _;

use crate::output::clean;

/// Artifacts that are fetched at a time.
const FETCHES_MAX: usize = 8;

/// What was fetched, and what was not.
#[derive(Debug, Default)]
pub(crate) struct Fetched {
    /// Files that were written.
    pub(crate) files: Vec<PathBuf>,
    /// Of each file that was not: which, and why.
    pub(crate) failed: Vec<String>,
}

/// Fetches the newest of each into a folder, which is made where it is missing. Where several tasks
/// left one of the same name, each goes into a folder named after its task. One that cannot be fetched
/// keeps no other from it; a server that cannot be reached ends it.
pub(crate) async fn fetch<'a>(
    client: &Client,
    folder: &Path,
    artifacts: impl Iterator<Item = &'a Artifact>,
) -> anyhow::Result<Fetched> {
    let mut fetched = Fetched::default();
    let all = places(artifacts).into_iter().map(|(artifact, place)| async move {
        let done = match inside(folder, &place) {
            Ok(path) => fetch_one(client, artifact, &path).await.map(|()| path),
            Err(error) => Err(error),
        };
        (artifact, done)
    });
    let mut all = futures::stream::iter(all).buffered(FETCHES_MAX);
    while let Some((artifact, done)) = all.next().await {
        let told =
            |error| format!("The artifact `{}` of task {} is not fetched: {error:#}", artifact.name, artifact.task);
        match done {
            Ok(path) => fetched.files.push(path),
            Err(error) if is_away(&error) => {
                return Err(error.context(format!(
                    "The artifact `{}` of task {} cannot be fetched.",
                    clean(&artifact.name),
                    artifact.task
                )));
            }
            Err(error) => fetched.failed.push(clean(&told(error))),
        }
    }
    Ok(fetched)
}

/// Whether the server could not be asked: then neither can it be asked for the others.
fn is_away(error: &anyhow::Error) -> bool {
    match error.downcast_ref::<ClientError>() {
        Some(ClientError::Unreachable { .. } | ClientError::NoAnswer { .. }) => true,
        Some(_) | None => false,
    }
}

/// Which of them, and under which name each.
fn places<'a>(artifacts: impl Iterator<Item = &'a Artifact>) -> Vec<(&'a Artifact, String)> {
    let mut newest: BTreeMap<(&str, bowline_core::id::TaskRef), &Artifact> = BTreeMap::new();
    for artifact in artifacts {
        let kept = newest.entry((&artifact.name, artifact.task)).or_insert(artifact);
        if kept.attempt < artifact.attempt {
            *kept = artifact;
        }
    }
    let mut names: BTreeMap<&str, usize> = BTreeMap::new();
    for (name, _) in newest.keys() {
        *names.entry(name).or_default() += 1;
    }
    newest
        .into_values()
        .map(|artifact| {
            let alone = names.get(artifact.name.as_str()) == Some(&1);
            (artifact, if alone { artifact.name.clone() } else { format!("{}/{}", artifact.task, artifact.name) })
        })
        .collect()
}

/// The path below a folder that a name stands for. Refuses whatever would leave it, links on the way
/// included.
fn inside(folder: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let mut path = folder.to_owned();
    anyhow::ensure!(!name.is_empty() && !name.contains('\0'), "its name is no file name");
    for component in Path::new(name).components() {
        let Component::Normal(part) = component else {
            anyhow::bail!("its name leads out of the folder");
        };
        path.push(part);
        let metadata = std::fs::symlink_metadata(&path);
        anyhow::ensure!(
            !metadata.is_ok_and(|metadata| metadata.is_symlink()),
            "`{}` is a symbolic link, and may lead out of the folder",
            path.display()
        );
    }
    Ok(path)
}

async fn fetch_one(client: &Client, artifact: &Artifact, path: &Path) -> anyhow::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).with_context(|| format!("`{}` cannot be made", folder.display()))?;
    // Mode 0666 less the umask, like any file that a program writes for its user.
    let mut file = tempfile::Builder::new()
        .prefix(".bowline-")
        .permissions(std::fs::Permissions::from_mode(0o666))
        .tempfile_in(folder)
        .with_context(|| format!("no file can be written in `{}`", folder.display()))?;
    let mut bytes = client.artifact(artifact.task, &artifact.name, Some(artifact.attempt)).await?;
    let mut digest = blake3::Hasher::new();
    while let Some(piece) = bytes.next().await? {
        digest.update(&piece);
        file.write_all(&piece).with_context(|| format!("`{}` cannot be written", path.display()))?;
    }
    anyhow::ensure!(
        digest.finalize().to_hex().as_str() == artifact.digest,
        "what came is not what was left: its digest differs"
    );
    file.persist(path).with_context(|| format!("`{}` cannot be put in place", path.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use bowline_core::id::{TaskId, TaskRef};

    use super::*;

    fn artifact(task: u64, attempt: u32, name: &str) -> Artifact {
        Artifact {
            task: TaskRef::whole(TaskId(task)),
            attempt,
            name: name.to_owned(),
            digest: String::new(),
            bytes: 0,
            at: jiff::Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn hostile_names_never_leave_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/", folder.path().join("link")).unwrap();
        for bad in ["", "../x", "/etc/passwd", "a/../../x", "..", "link/x", "link", "a\0b"] {
            assert!(inside(folder.path(), bad).is_err(), "{bad:?}");
        }
        for good in ["x", "a/b c", "$(rm -rf ~)", "new\nline", "...", "-rf"] {
            assert!(inside(folder.path(), good).unwrap().starts_with(folder.path()), "{good:?}");
        }
    }

    #[test]
    fn the_newest_of_each_task_is_kept_and_equal_names_are_told_apart() {
        let all = [artifact(1, 1, "a"), artifact(1, 2, "a"), artifact(1, 1, "b"), artifact(2, 1, "b")];
        let found: Vec<(u32, String)> = places(all.iter()).into_iter().map(|(a, place)| (a.attempt, place)).collect();
        assert_eq!(found, [(2, "a".to_owned()), (1, "1/b".to_owned()), (1, "2/b".to_owned())]);
    }
}
