//! `bowline server check`: looks at a data folder, and changes nothing.

use std::path::{Path, PathBuf};

use super::{STORE_FILE, Setting, data_folder};
use crate::exit::{Exit, Trouble};

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bowline server check
  bowline server check --data /var/lib/bowline --json")]
pub(crate) struct Args {
    /// Where everything durable lies [default: ./.bowline]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// What a look at a data folder finds.
#[derive(Debug, serde::Serialize)]
struct Found {
    data: PathBuf,
    ok: bool,
    findings: Vec<String>,
}

/// Looks.
pub(super) fn run(on: &Setting, args: &Args) -> anyhow::Result<Exit> {
    let data = data_folder(on, args.data.clone());
    if !data.is_dir() {
        return Err(
            Trouble::new(Exit::MISSING, format!("There is no data folder `{}`; see --data.", data.display())).into()
        );
    }
    let findings = findings(&data);
    let found = Found { data, ok: findings.is_empty(), findings };
    if on.out.is_json() {
        on.out.document(&found)?;
    } else if found.ok {
        on.out.line(format!("{}: in order", found.data.display()))?;
    } else {
        for finding in &found.findings {
            on.out.line(finding)?;
        }
    }
    Ok(if found.ok { Exit::GOOD } else { Exit::FAILED })
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
    match bowline_store_sqlite::check(&data.join(STORE_FILE)) {
        Err(error) => findings.push(format!("{:#}", anyhow::Error::new(error))),
        Ok(report) => findings.extend(report.problems),
    }
    findings
}
