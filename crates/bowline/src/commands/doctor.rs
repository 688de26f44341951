//! `bowline doctor`: all settings with where each came from, and a look at this machine.

use std::path::Path;

use bowline_supervisor::Way;
use rustix::fs::statvfs;
use serde::Serialize;

use super::Setting;
use super::server::data_folder;
use crate::config::SETTINGS;
use crate::connect;
use crate::exit::Exit;

/// Less room than this on the data folder's disk is worth a warning, in bytes.
const DISK_FREE_MIN: u64 = 1 << 30;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bowline doctor
  bowline doctor --json
  BOWLINE_SERVER=http://10.0.0.1:7420 bowline doctor

Status 1 where something that is needed is missing.")]
pub(crate) struct Args {}

#[derive(Debug, Serialize)]
struct Report {
    settings: Vec<Shown>,
    files: Vec<String>,
    checks: Vec<Check>,
}

#[derive(Debug, Serialize)]
struct Shown {
    key: &'static str,
    value: Option<String>,
    from: String,
    about: &'static str,
}

#[derive(Debug, Clone, Serialize)]
struct Check {
    what: &'static str,
    how: How,
    finding: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum How {
    Ok,
    Note,
    Missing,
}

impl How {
    fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Missing => "missing",
        }
    }
}

/// Looks.
pub(crate) async fn run(on: &Setting, _: Args) -> anyhow::Result<Exit> {
    let report = Report {
        settings: settings(on),
        files: on.config.files().iter().map(|path| path.display().to_string()).collect(),
        checks: [vec![cgroup()], kill(), vec![service_manager(), data(on), store(on), disk(on), server(on).await]]
            .concat(),
    };
    let exit = if report.checks.iter().any(|check| check.how == How::Missing) { Exit::FAILED } else { Exit::GOOD };
    if on.out.is_json() {
        on.out.document(&report)?;
        return Ok(exit);
    }
    let rows = report.settings.iter().map(|setting| {
        let value = setting.value.clone().unwrap_or_else(|| "-".to_owned());
        vec![setting.key.to_owned(), value, setting.from.clone(), setting.about.to_owned()]
    });
    on.out.table(&["setting", "value", "from", "what for"], rows.collect())?;
    let files = if report.files.is_empty() { "none".to_owned() } else { report.files.join(", ") };
    on.out.line(format!("\nConfiguration files read: {files}\n"))?;
    let rows = report.checks.into_iter();
    let rows = rows.map(|check| vec![check.how.name().to_owned(), check.what.to_owned(), check.finding]).collect();
    on.out.table(&["", "check", "finding"], rows)?;
    Ok(exit)
}

fn settings(on: &Setting) -> Vec<Shown> {
    SETTINGS
        .iter()
        .map(|setting| {
            let value = on.config.get(setting.key);
            Shown {
                key: setting.key,
                value: value.map(|value| value.text.clone()),
                from: value.map_or_else(|| "default".to_owned(), |value| value.origin.to_string()),
                about: setting.about,
            }
        })
        .collect()
}

fn cgroup() -> Check {
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let v2 = own.lines().find_map(|line| line.strip_prefix("0::"));
    let roots = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
    let root = roots.into_iter().find(|root| Path::new(root).join("cgroup.controllers").exists());
    let (how, finding) = match (root, v2) {
        (Some(root), Some(own)) => {
            let controllers = std::fs::read_to_string(Path::new(root).join("cgroup.controllers")).unwrap_or_default();
            let controllers = controllers.trim();
            let has = if controllers.is_empty() { "no controllers" } else { controllers };
            (How::Ok, format!("version 2 at {root} ({has}), this process in {own}"))
        }
        _ => (How::Note, "no cgroup version 2 is mounted".to_owned()),
    };
    Check { what: "cgroup", how, finding }
}

/// Every way to kill a whole job, strongest first, and which of them jobs here get.
fn kill() -> Vec<Check> {
    let offers = bowline_supervisor::offers();
    let used = offers.iter().find(|offer| offer.found.is_ok()).map(|offer| offer.way);
    let check = |offer: bowline_supervisor::Offer| {
        let what = match offer.way {
            Way::Cgroup => "kill by cgroup",
            Way::Namespace => "kill by PID namespace",
            Way::Descent => "kill by group, descent and mark",
        };
        let (how, finding) = match offer.found {
            Ok(found) if used == Some(offer.way) => (How::Ok, format!("used for jobs: {found}")),
            Ok(found) => (How::Ok, format!("in reserve: {found}")),
            Err(why) => (How::Note, format!("not offered here: {why}")),
        };
        Check { what, how, finding }
    };
    offers.into_iter().map(check).collect()
}

fn data(on: &Setting) -> Check {
    let folder = data_folder(on, None);
    let shown = folder.display();
    let (how, finding) = match std::fs::metadata(&folder) {
        Err(_) => (How::Ok, format!("{shown} is not there yet: it is made at the first start")),
        Ok(metadata) if !metadata.is_dir() => (How::Missing, format!("{shown} is no folder")),
        Ok(_) if rustix::fs::access(&folder, rustix::fs::Access::WRITE_OK).is_err() => {
            (How::Missing, format!("{shown} may not be written"))
        }
        Ok(_) => (How::Ok, format!("{shown} is there and may be written")),
    };
    Check { what: "data folder", how, finding }
}

/// Whether a server could start on the data folder.
fn store(on: &Setting) -> Check {
    let folder = data_folder(on, None);
    let file = folder.join("bowline.db");
    let (how, finding) = match (bowline_server::backup::half_restored(&folder), file.exists()) {
        (Err(error), _) => (How::Missing, error.to_string()),
        (Ok(()), false) => (How::Ok, "none yet: it is made at the first start".to_owned()),
        (Ok(()), true) => match bowline_store_sqlite::state_of(&file) {
            Ok((generation, commit)) => (How::Ok, format!("commit {commit} of generation {generation}")),
            Err(error) => (How::Missing, format!("{:#}", anyhow::Error::new(error))),
        },
    };
    Check { what: "store", how, finding }
}

/// Who starts server and worker again should they hang or die.
fn service_manager() -> Check {
    let is_systemd = Path::new("/run/systemd/system").is_dir();
    let folders = ["/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];
    let has = |unit: &str| folders.iter().any(|folder| Path::new(folder).join(unit).exists());
    let units = ["bowline-server.service", "bowline-worker.service"];
    let installed: Vec<&str> = units.into_iter().filter(|unit| has(unit)).collect();
    let (how, finding) = match (is_systemd, installed.as_slice()) {
        (false, _) => (How::Note, "no systemd: nobody starts server and worker again but `bowline up`".to_owned()),
        (true, []) => {
            (How::Note, "systemd; Bowline's units are not installed (they are in packaging/systemd)".to_owned())
        }
        (true, units) => (How::Ok, format!("systemd, with {}", units.join(" and "))),
    };
    Check { what: "services", how, finding }
}

fn disk(on: &Setting) -> Check {
    let folder = data_folder(on, None);
    let place = folder.ancestors().find(|path| path.exists()).filter(|path| !path.as_os_str().is_empty());
    let place = place.unwrap_or(Path::new("."));
    let (how, finding) = match statvfs(place) {
        Err(error) => (How::Note, format!("{} cannot be looked at: {error}", place.display())),
        Ok(disk) => {
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            let how = if free < DISK_FREE_MIN { How::Note } else { How::Ok };
            (how, format!("{} free for the data folder", bowline_core::size::format_size(free)))
        }
    };
    Check { what: "disk", how, finding }
}

async fn server(on: &Setting) -> Check {
    let located = connect::locate(&on.config);
    let token = match &located.token_file {
        Some(path) => format!("token {}", path.display()),
        None => "no token known".to_owned(),
    };
    let asked = match connect::client_of(on, &located) {
        Ok(client) => client.version().await.map_err(anyhow::Error::from),
        Err(error) => Err(error),
    };
    let (how, finding) = match asked {
        Ok(version) => (
            How::Ok,
            format!("{} ({}): version {}, {}; {token}", located.url, located.how, version.version, version.status),
        ),
        Err(error) => (How::Note, format!("{} ({}): {error:#}; {token}", located.url, located.how)),
    };
    Check { what: "server", how, finding }
}
