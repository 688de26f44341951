//! The world of a shape.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bowline_core::input::Request;
use bowline_core::name::{Key, PoolName, WorkerName};
use bowline_leader::LeaderConfig;
use bowline_store::RetentionPolicy;
use bowline_worker::config::LeftBehind;

use super::{Drive, Later, Setup, Staff};
use crate::check::Check;
use crate::client::Client;
use crate::process::{ClusterId, Event, ProcId, Process};
use crate::random::Random;
use crate::server::Server;
use crate::supervisor::SupervisorProcess;
use crate::worker;
use crate::workload::shape::{Shape, What};
use crate::world::{Role, WorkerRole, World};

/// Workers that stand ready to take over an identity from another directory.
const SPARES: usize = 1;
/// When work and faults begin, in microseconds: servers lead and workers are there.
pub(super) const BEGIN_US: u64 = 500_000;

/// Makes the process of a role.
fn start(role: &Role) -> Box<dyn Process> {
    match role {
        Role::Server { cluster, keep } => {
            let retention = RetentionPolicy { ended: *keep, events: *keep, keys: *keep * 4, batch_max: 20 };
            Box::new(Server::new(*cluster, LeaderConfig { retention, ..LeaderConfig::default() }))
        }
        Role::Worker(role) => worker::start(role),
        Role::Supervisor { dir } => Box::new(SupervisorProcess::new(dir.clone())),
        Role::Client { cluster } => Box::new(Client::new(*cluster)),
    }
}

fn left(shape: &Shape) -> LeftBehind {
    match shape.theme.as_ref().map_or(0, |theme| theme.left) {
        0 => LeftBehind::Wait,
        1 => LeftBehind::Release,
        _ => LeftBehind::Fail,
    }
}

fn roles(shape: &Shape, random: &mut Random) -> Vec<WorkerRole> {
    let servers: Vec<ClusterId> = (0..shape.clusters).map(ClusterId).collect();
    let key = |name: &str| Key::new(name).ok();
    let role = |number: u32, of: u32, random: &mut Random| {
        let mut capabilities = BTreeMap::new();
        if random.per_mille(600) {
            capabilities.extend(key("colour").map(|key| (key, Some("red".to_owned()))));
        }
        if random.per_mille(500) {
            capabilities.extend(key("big").map(|key| (key, None)));
        }
        let pooled = of >= shape.workers.saturating_sub(shape.pooled);
        WorkerRole {
            name: WorkerName::new(format!("lab-{of}")).expect("it is a name"),
            pool: pooled.then(|| PoolName::new("pool").expect("it is a name")),
            key: if pooled { [9; 32] } else { [u8::try_from(of).unwrap_or(0) + 1; 32] },
            dir: format!("/w{number}"),
            servers: servers.clone(),
            slots: shape.slots,
            amounts: key("memory").map(|key| (key, 8)).into_iter().collect(),
            capabilities,
            prefetch: Some(shape.prefetch),
            left: left(shape),
            queue_us: shape.theme.as_ref().map_or(0, |theme| theme.queue_us),
            stuck_logs: shape.stuck_logs,
            torn_logs: shape.torn_logs,
        }
    };
    let mut all: Vec<WorkerRole> = (0..shape.workers).map(|number| role(number, number, random)).collect();
    // A spare acts under an identity that there is already.
    all.extend((0..SPARES).map(|spare| role(shape.workers + u32::try_from(spare).unwrap_or(0), 0, random)));
    all
}

impl Drive {
    pub(super) fn build(setup: &Setup) -> Self {
        let shape = Shape::new(setup.seed);
        let random = &mut Random::new(setup.seed, 3);
        let roles = roles(&shape, random);
        let check = Box::new(Check::new(shape.clusters, &roles));
        let mut world = World::new(setup.seed, setup.keep, check, start);
        world.pace = shape.pace.clone();
        let ppm = shape.drift_ppm;
        let drift = |random: &mut Random| random.below(ppm * 2).cast_signed() - ppm.cast_signed();
        let (mut servers, mut clients) = (Vec::new(), Vec::new());
        let keep = Duration::from_secs(shape.keep_s);
        for _ in 0..shape.clusters {
            let cluster = world.add_cluster();
            let own = (0..shape.servers).map(|_| {
                let machine = world.add_machine(drift(random));
                world.add_process(Role::Server { cluster, keep }, machine)
            });
            servers.push(own.collect::<Vec<ProcId>>());
            let machine = world.add_machine(0);
            clients.push((0..3).map(|_| world.add_process(Role::Client { cluster }, machine)).collect());
        }
        let staff = roles.iter().map(|role| {
            let machine = world.add_machine(drift(random));
            let dirs = (0..role.servers.len()).map(|number| role.dir_of(number)).collect();
            let proc = world.add_process(Role::Worker(Box::new(role.clone())), machine);
            Staff { proc, machine, dirs, retired: false, held: None, forgotten: false }
        });
        let staff = staff.collect();
        let happenings = shape.happenings(setup.seed);
        let mut drive = Self {
            setup: setup.clone(),
            shape,
            world,
            servers,
            clients,
            staff,
            happenings,
            later: BTreeMap::new(),
            later_count: 0,
            starting: BTreeSet::new(),
            backups: Vec::new(),
            generations: BTreeMap::new(),
            faults: BTreeMap::new(),
            works: BTreeMap::new(),
            happened: BTreeSet::new(),
            leaderless_since: BTreeMap::new(),
        };
        drive.begin(&roles);
        drive
    }

    fn begin(&mut self, roles: &[WorkerRole]) {
        for (servers, clients) in self.servers.clone().iter().zip(self.clients.clone()) {
            self.world.start(servers[0]);
            for client in &clients {
                self.world.start(*client);
            }
            self.enrol(clients[0], roles);
        }
        let own = self.staff.len() - SPARES;
        for place in 0..self.staff.len() {
            if place < own {
                self.start_in(self.staff[place].proc, 200_000);
            } else {
                // It comes with a second incarnation.
                self.staff[place].retired = true;
            }
        }
        self.later(1_000_000, Later::Look);
        for place in 0..self.happenings.len() {
            let happening = self.happenings[place];
            let chosen = self.setup.only.as_ref().is_none_or(|only| only.contains(&happening.number));
            let allowed = match happening.what {
                What::Fault(fault) => !self.setup.without.contains(&fault),
                What::Work(_) => true,
            };
            if chosen && allowed {
                self.world.after(BEGIN_US + happening.at, place as u64);
            }
        }
    }

    fn enrol(&mut self, client: ProcId, roles: &[WorkerRole]) {
        let (mut pools, mut names) = (BTreeSet::new(), BTreeSet::new());
        for role in roles {
            let request = match &role.pool {
                Some(pool) if pools.insert(pool.clone()) => {
                    Request::EnrolInPool { token: None, pool: pool.clone(), key: role.key }
                }
                None if names.insert(role.name.clone()) => {
                    Request::Enrol { token: None, worker: role.name.clone(), key: role.key }
                }
                Some(_) | None => continue,
            };
            self.world.tell(client, Event::Do(Box::new(request)));
        }
    }
}
