//! Everything under test: a fleet (a server and three workers, one of them behind a cable and one behind a relay),
//! and a house (`bowline up`). Their disks are small and their own; leases are short.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rustix::process::Pid;

use crate::disk::Disk;
use crate::net::{Cable, SERVER};
use crate::parts::{Keeper, Part, Spec, processes};
use crate::plan::{CUT_OFF, WORKERS};
use crate::relay::Relay;
use crate::site::{Site, reach};

/// Ports of this network, which nobody else uses.
const FLEET_PORT: u16 = 7420;
const WORKER_RELAY_PORT: u16 = 7421;
const CLIENT_RELAY_PORT: u16 = 7422;
const HOUSE: &str = "127.0.0.1:7430";
/// Slots of each worker.
const SLOTS: u64 = 3;
/// What a worker does when it is asked to end, as in an upgrade.
const ON_TERM: [&str; WORKERS] = ["release", "handoff", "handoff"];
const HOUSE_SLOTS: u64 = 2;
/// How many licences each worker has.
pub(crate) const LICENCES: u64 = 2;
const SERVER_DISK_MIB: u32 = 192;
const WORKER_DISK_MIB: u32 = 96;
/// Short leases: silence of three seconds is a loss.
pub(crate) const LEASES: [&str; 10] = [
    "--heartbeat",
    "250ms",
    "--suspect-after",
    "1s",
    "--lost-after",
    "3s",
    "--take-over-grace",
    "2s",
    "--aside-for",
    "3s",
];

/// The one behind the relay.
const RELAYED: usize = 1;

/// Which program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    New,
    Old,
}

/// The programs under test.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    pub(crate) new: PathBuf,
    pub(crate) old: PathBuf,
}

impl Programs {
    pub(crate) fn of(&self, version: Version) -> &Path {
        match version {
            Version::New => &self.new,
            Version::Old => &self.old,
        }
    }
}

/// Everything under test.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) room: PathBuf,
    pub(crate) programs: Programs,
    pub(crate) cable: Cable,
    pub(crate) worker_relay: Relay,
    pub(crate) client_relay: Relay,
    pub(crate) server: Part,
    pub(crate) workers: Vec<Part>,
    pub(crate) up: Part,
    pub(crate) server_disk: Disk,
    pub(crate) worker_disks: Vec<Disk>,
    pub(crate) keeper: Keeper,
}

/// The name of a worker of the fleet.
pub(crate) fn worker_name(number: usize) -> String {
    format!("w{number}")
}

impl World {
    /// Starts everything, in a folder of its own.
    pub(crate) async fn start(room: PathBuf, programs: Programs) -> Result<(Self, Site, Site)> {
        for folder in ["said", "home", "run", "tmp"] {
            std::fs::create_dir_all(room.join(folder)).context("making folders")?;
        }
        let server_disk = Disk::mount(&room.join("server-disk"), SERVER_DISK_MIB)?;
        let names = (0..WORKERS).map(worker_name);
        let worker_disks = names.map(|name| Disk::mount(&room.join(format!("{name}-disk")), WORKER_DISK_MIB));
        let worker_disks = worker_disks.collect::<Result<Vec<_>>>()?;
        let (cable, keeper) = (Cable::new()?, Keeper::new());
        let at = |port| format!("{SERVER}:{port}").parse::<SocketAddr>().context("reading an address");
        let worker_relay = Relay::new(at(WORKER_RELAY_PORT)?, at(FLEET_PORT)?).await?;
        let client_relay = Relay::new(at(CLIENT_RELAY_PORT)?, at(FLEET_PORT)?).await?;
        let server = keeper.keep(server_spec(&room, &programs.new))?;
        let up = keeper.keep(up_spec(&room, &programs.new))?;
        let token = room.join("server-disk/data/token");
        let rest = reach(&format!("{SERVER}:{FLEET_PORT}"), &token).await?;
        let workers = (0..WORKERS).map(|number| {
            let spec = worker_spec(&room, &programs.new, number);
            keeper.keep(Spec { network_of: (number == CUT_OFF).then(|| cable.pid()), ..spec })
        });
        let workers = workers.collect::<Result<Vec<_>>>()?;
        let fleet = (0..WORKERS).map(|number| (worker_name(number), SLOTS)).collect();
        let fleet = Site::new("fleet", rest, fleet, room.join("fleet-marks"))?;
        let rest = reach(HOUSE, &room.join("house/token")).await?;
        let house = Site::new("house", rest, vec![("home".to_owned(), HOUSE_SLOTS)], room.join("house-marks"))?;
        let world = Self {
            room,
            programs,
            cable,
            worker_relay,
            client_relay,
            server,
            workers,
            up,
            server_disk,
            worker_disks,
            keeper,
        };
        Ok((world, fleet, house))
    }

    /// The fleet's server itself.
    pub(crate) fn server_address() -> String {
        format!("{SERVER}:{FLEET_PORT}")
    }

    /// Where work for the fleet is submitted: by way of the relay.
    pub(crate) fn client_address() -> String {
        format!("{SERVER}:{CLIENT_RELAY_PORT}")
    }

    /// The supervisors of a worker of the fleet.
    pub(crate) fn supervisors(&self, number: usize) -> Vec<Pid> {
        let words = format!(" supervisor --state {}/supervisor", self.state(number).display());
        processes(&self.room).into_iter().filter(|seen| seen.line.contains(&words)).map(|seen| seen.pid).collect()
    }

    /// All supervisors, those of the house too.
    pub(crate) fn all_supervisors(&self) -> Vec<Pid> {
        let all = processes(&self.room).into_iter();
        all.filter(|seen| seen.line.contains(" supervisor --state ")).map(|seen| seen.pid).collect()
    }

    /// A process of the house, by the words of its command.
    pub(crate) fn of_house(&self, words: &str) -> Option<Pid> {
        let house = self.room.join("house").to_string_lossy().into_owned();
        let seen = processes(&self.room).into_iter();
        seen.filter(|seen| !seen.is_job && seen.line.contains(words) && seen.line.contains(&house))
            .map(|seen| seen.pid)
            .next()
    }

    fn state(&self, number: usize) -> PathBuf {
        self.room.join(format!("{}-disk/state", worker_name(number)))
    }
}

/// A process as it is started.
pub(crate) fn spec(room: &Path, name: &str, program: &Path, args: Vec<String>) -> Spec {
    Spec {
        name: name.to_owned(),
        program: program.to_owned(),
        args,
        env: Vec::new(),
        network_of: None,
        room: room.to_owned(),
    }
}

/// Words of a command.
pub(crate) fn words(all: &[&str]) -> Vec<String> {
    all.iter().map(|word| (*word).to_owned()).collect()
}

fn server_spec(room: &Path, program: &Path) -> Spec {
    let (data, listen) = (room.join("server-disk/data"), format!("{SERVER}:{FLEET_PORT}"));
    let mut args = words(&["server", "start", "--insecure", "--data", &data.to_string_lossy(), "--listen", &listen]);
    args.extend(words(&LEASES));
    spec(room, "server", program, args)
}

fn worker_spec(room: &Path, program: &Path, number: usize) -> Spec {
    let name = worker_name(number);
    let port = if number == RELAYED { WORKER_RELAY_PORT } else { FLEET_PORT };
    let (token, state) = (room.join("server-disk/data/token"), room.join(format!("{name}-disk/state")));
    let mut args = words(&["worker", "start", "--identity", &name, "--server", &format!("http://{SERVER}:{port}")]);
    args.extend(words(&["--token-file", &token.to_string_lossy(), "--state", &state.to_string_lossy()]));
    args.extend(words(&["--slots", &SLOTS.to_string(), "--on-term", ON_TERM[number], "--check-every", "500ms"]));
    args.extend(words(&["--capability", &format!("box={name}"), "--amount", &format!("licence={LICENCES}")]));
    spec(room, &name, program, args)
}

fn up_spec(room: &Path, program: &Path) -> Spec {
    let data = room.join("house");
    let mut args = words(&["up", "--data", &data.to_string_lossy(), "--listen", HOUSE, "--identity", "home"]);
    args.extend(words(&["--slots", &HOUSE_SLOTS.to_string(), "--capability", "box=home"]));
    args.extend(words(&["--amount", &format!("licence={LICENCES}")]));
    spec(room, "up", program, args)
}
