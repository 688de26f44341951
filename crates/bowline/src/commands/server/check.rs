//! `bowline server check`: looks at a data folder or a backup, and changes nothing.

use std::path::{Path, PathBuf};

use bowline_server::backup;

use super::{Setting, data_folder};
use crate::exit::{Exit, Trouble};

/// The store, in the data folder.
const STORE_FILE: &str = "bowline.db";

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bowline server check
  bowline server check --data /var/lib/bowline --json
  bowline server check /backups/monday.tar

A data folder may be looked at while its server goes on: the store and the bytes of every artifact are read,
and each artifact whose bytes are damaged or gone is named. Of a backup every file is read and compared with
its manifest, and the store in it is checked.")]
pub(crate) struct Args {
    /// A backup, or a data folder
    #[arg(value_name = "FILE|DIR", conflicts_with = "data")]
    what: Option<PathBuf>,
    /// Where everything durable lies [default: ./.bowline]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// What a look at it finds.
#[derive(Debug, serde::Serialize)]
struct Found {
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backup: Option<PathBuf>,
    ok: bool,
    findings: Vec<String>,
}

/// Looks.
pub(super) fn run(on: &Setting, args: &Args) -> anyhow::Result<Exit> {
    let path = data_folder(on, args.what.clone().or_else(|| args.data.clone()));
    let found = match std::fs::metadata(&path) {
        Ok(metadata) if metadata.is_dir() => of_folder(path.clone()),
        Ok(_) if args.what.is_some() => of_backup(path.clone()),
        Ok(_) | Err(_) => {
            let what = match args.what {
                Some(_) => format!("There is no data folder and no backup `{}`.", path.display()),
                None => format!("There is no data folder `{}`; see --data.", path.display()),
            };
            return Err(Trouble::new(Exit::MISSING, what).into());
        }
    };
    if on.out.is_json() {
        on.out.document(&found)?;
    } else if found.ok {
        on.out.line(format!("{}: in order", path.display()))?;
    } else {
        for finding in &found.findings {
            on.out.line(finding)?;
        }
    }
    Ok(if found.ok { Exit::GOOD } else { Exit::FAILED })
}

fn of_folder(data: PathBuf) -> Found {
    let findings = findings(&data);
    Found { data: Some(data), backup: None, ok: findings.is_empty(), findings }
}

fn of_backup(file: PathBuf) -> Found {
    let told = |error| format!("{:#}", anyhow::Error::new(error));
    let findings: Vec<String> = backup::check(&file).map_err(told).err().into_iter().collect();
    Found { data: None, backup: Some(file), ok: findings.is_empty(), findings }
}

fn findings(data: &Path) -> Vec<String> {
    use std::os::unix::fs::MetadataExt;
    let mut findings = Vec::new();
    let token = data.join(bowline_server::TOKEN_FILE);
    match std::fs::metadata(&token) {
        Err(error) => findings.push(format!("The token file `{}` cannot be looked at: {error}.", token.display())),
        Ok(metadata) if metadata.mode() & 0o077 != 0 => {
            findings.push(format!("Others may read the token file `{}`; run `chmod 600` on it.", token.display()));
        }
        Ok(_) => {}
    }
    findings.extend(backup::half_restored(data).err().map(|error| format!("{error}.")));
    match bowline_store_sqlite::check(&data.join(STORE_FILE)) {
        Err(error) => findings.push(format!("{:#}", anyhow::Error::new(error))),
        Ok(report) => {
            findings.extend(report.problems);
            let rolled_back = report.leadership.and_then(|leadership| leadership.rolled_back);
            findings.extend(rolled_back.map(|(generation, commit)| {
                format!(
                    "The store was put back to an earlier state: a worker has seen commit {commit} of generation \
                     {generation}. Put the newest copy back, or run `bowline server accept-rollback`."
                )
            }));
            match bowline_server::check::artifacts(data) {
                Ok(lost) => findings.extend(lost),
                Err(error) => findings.push(format!("{:#}", anyhow::Error::new(error))),
            }
        }
    }
    findings
}
