//! What a worker offers: its identity, capabilities and room, as `worker start` and `up` take them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use bowline_core::name::{Key, WorkerName};
use bowline_core::size::parse_size;
use bowline_core::spec::{LOG_BYTES_MIN, Requirement};
use bowline_core::time::Span;
use bowline_core::worker::{Capabilities, Room};
use bowline_worker::WorkerConfig;

use super::Setting;
use crate::exit::Trouble;

/// What a worker offers.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "The worker")]
pub(crate) struct Offers {
    /// The name under which it acts [default: the host's name]
    #[arg(long, value_name = "NAME")]
    identity: Option<WorkerName>,
    /// What it can do, for tasks that require it; may be repeated
    #[arg(long, value_name = "KEY[=VALUE]")]
    capability: Vec<Requirement>,
    /// Attempts that it runs at a time [default: its processors]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    slots: Option<u32>,
    /// Processors that tasks may take [default: all]
    #[arg(long, value_name = "N")]
    cpus: Option<u64>,
    /// Memory that tasks may take [default: all]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    memory: Option<u64>,
    /// Graphics processors that tasks may take [default: none]
    #[arg(long, value_name = "N")]
    gpus: Option<u64>,
    /// Any other amount that tasks may take; may be repeated
    #[arg(long, value_name = "NAME=N", value_parser = amount)]
    amount: Vec<(Key, u64)>,
    /// Keep so much of each job's log: the first and the last bytes of a longer one; a task may ask for less
    #[arg(long, value_name = "SIZE", value_parser = log_limit, default_value = "64MiB")]
    log_limit: u64,
    /// A folder of secrets, a file for each, that tasks may name with --secret
    #[arg(long, value_name = "DIR")]
    secrets: Option<PathBuf>,
    /// Give up an artifact of which the server has not taken a byte for so long, while it is connected
    #[arg(long, value_name = "DURATION", default_value = "10m")]
    upload_patience: Span,
}

fn log_limit(text: &str) -> Result<u64, String> {
    let limit = parse_size(text).map_err(|error| error.to_string())?;
    if limit < LOG_BYTES_MIN { Err("a log is given at least 4KiB".to_owned()) } else { Ok(limit) }
}

fn amount(text: &str) -> Result<(Key, u64), String> {
    let (name, amount) = text.split_once('=').ok_or("write it as NAME=N")?;
    let name = Key::new(name).map_err(|error| error.to_string())?;
    Ok((name, parse_size(amount).map_err(|error| error.to_string())?))
}

fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

impl Offers {
    /// The name under which it acts: the flag, the setting, the host's name.
    pub(crate) fn identity(&self, on: &Setting) -> anyhow::Result<WorkerName> {
        if let Some(identity) = &self.identity {
            return Ok(identity.clone());
        }
        if let Some(identity) = on.config.parsed("identity")? {
            return Ok(identity);
        }
        WorkerName::new(host()).map_err(|error| {
            Trouble::usage(format!("The host's name cannot name a worker ({error}); give one with --identity.")).into()
        })
    }

    /// What it can do; and its `address`, the host's name where nothing is said: members of a gang find each other by it.
    pub(super) fn capabilities(&self) -> Capabilities {
        let host = || (Key::new("address").expect("this name is in order"), Some(host()));
        let said = self.capability.iter().cloned().map(|capability| (capability.key, capability.value));
        std::iter::once_with(host).chain(said).collect()
    }

    /// What it has room for.
    pub(super) fn room(&self, on: &Setting) -> anyhow::Result<Room> {
        let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let slots = match self.slots {
            Some(slots) => slots,
            None => on.config.parsed("slots")?.unwrap_or_else(|| u32::try_from(processors).unwrap_or(u32::MAX)),
        };
        if slots == 0 {
            return Err(Trouble::usage("A worker needs at least one slot.").into());
        }
        let own = [
            ("cpu", self.cpus.or(Some(processors as u64))),
            ("memory", self.memory.or_else(memory_of_machine)),
            ("gpu", self.gpus),
        ];
        let own = own
            .into_iter()
            .filter_map(|(name, amount)| Some((Key::new(name).expect("these names are in order"), amount?)));
        let amounts: BTreeMap<Key, u64> = own.chain(self.amount.iter().cloned()).collect();
        Ok(Room { slots, amounts })
    }

    /// What it keeps of logs, which secrets it knows, and how long it tries to upload.
    pub(super) fn apply(&self, config: &mut WorkerConfig) -> anyhow::Result<()> {
        config.log_bytes_max = self.log_limit;
        config.upload_patience = self.upload_patience.0;
        config.secrets = self.secrets.as_ref().map(std::path::absolute).transpose()?;
        if let Some(folder) = config.secrets.as_ref().filter(|folder| !folder.is_dir()) {
            return Err(Trouble::usage(format!("--secrets: `{}` is no folder.", folder.display())).into());
        }
        Ok(())
    }

    /// The same, as arguments of `worker start`.
    pub(crate) fn as_arguments(&self, on: &Setting) -> anyhow::Result<Vec<OsString>> {
        let room = self.room(on)?;
        let mut args = vec![format!("--identity={}", self.identity(on)?), format!("--slots={}", room.slots)];
        args.extend(self.capability.iter().map(|capability| format!("--capability={capability}")));
        args.extend(room.amounts.iter().map(|(name, amount)| match name.as_str() {
            "cpu" => format!("--cpus={amount}"),
            "memory" => format!("--memory={amount}"),
            "gpu" => format!("--gpus={amount}"),
            name => format!("--amount={name}={amount}"),
        }));
        args.push(format!("--log-limit={}", self.log_limit));
        args.push(format!("--upload-patience={}", self.upload_patience));
        let mut args: Vec<OsString> = args.into_iter().map(OsString::from).collect();
        if let Some(folder) = &self.secrets {
            args.push("--secrets".into());
            args.push(std::path::absolute(folder)?.into());
        }
        Ok(args)
    }
}

/// The machine's memory, in bytes.
fn memory_of_machine() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}
