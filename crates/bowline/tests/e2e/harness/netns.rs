//! Network namespaces of a test's own, with a cable between them that is cut by link or by route.
//!
//! They need root, as in CI. A test that needs them fails elsewhere, and says why.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::os::fd::AsFd;
use std::process::{Child, Stdio};

use rustix::thread::LinkNameSpaceType;

use super::{Room, finish, until};

/// Two network namespaces with a cable between them, one for servers and one for workers. They go with
/// the processes that hold them.
#[derive(Debug)]
pub(crate) struct Networks {
    server: Child,
    worker: Child,
}

impl Networks {
    /// Where a server listens in its namespace.
    pub(crate) const SERVER: &'static str = "10.77.0.1";
    /// Where a worker comes from.
    const WORKER: &'static str = "10.77.0.2";

    /// Makes them.
    pub(crate) fn new(room: &Room) -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "network namespaces need root: run this test as root, as CI does"
        );
        let hold = || {
            let mut command = room.command_of("unshare".into(), &["--net", "sleep", "600"]);
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
        };
        let networks = Self { server: hold(), worker: hold() };
        let own = std::fs::read_link("/proc/self/ns/net").unwrap();
        until("both namespaces are there", || {
            let of = |child: &Child| std::fs::read_link(format!("/proc/{}/ns/net", child.id())).unwrap_or_default();
            let is_sleep = |child: &Child| {
                std::fs::read_to_string(format!("/proc/{}/comm", child.id())).unwrap_or_default().trim() == "sleep"
            };
            of(&networks.server) != own
                && of(&networks.worker) != own
                && is_sleep(&networks.server)
                && is_sleep(&networks.worker)
        });
        let peer = networks.worker.id().to_string();
        Self::ip(
            room,
            &networks.server,
            &["link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", &peer],
        );
        for (child, address) in [(&networks.server, Self::SERVER), (&networks.worker, Self::WORKER)] {
            Self::ip(room, child, &["link", "set", "lo", "up"]);
            Self::ip(room, child, &["address", "add", &format!("{address}/24"), "dev", "cable"]);
            Self::ip(room, child, &["link", "set", "cable", "up"]);
        }
        networks
    }

    fn ip(room: &Room, within: &Child, args: &[&str]) {
        let mut words = enter(within);
        words.push("ip".to_owned());
        words.extend(args.iter().map(|word| (*word).to_owned()));
        let mut command = room.command_of(words[0].clone().into(), &words[1..]);
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let ran = finish(child, &format!("ip {args:?}"));
        assert_eq!(ran.status, Some(0), "ip {args:?}: {}", ran.stderr);
    }

    /// The words that stand before a command to run it where the server is.
    pub(crate) fn at_server(&self) -> Vec<String> {
        enter(&self.server)
    }

    /// The words that stand before a command to run it where the worker is.
    pub(crate) fn at_worker(&self) -> Vec<String> {
        enter(&self.worker)
    }

    /// Asks something on a thread that is in the server's network.
    pub(crate) fn ask<T: Send>(&self, question: impl FnOnce(&tokio::runtime::Runtime) -> T + Send) -> T {
        let network = std::fs::File::open(format!("/proc/{}/ns/net", self.server.id())).unwrap();
        std::thread::scope(|scope| {
            let asking = scope.spawn(|| {
                rustix::thread::move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                question(&super::parts::runtime())
            });
            asking.join().unwrap()
        })
    }

    /// Pulls the cable, or puts it back.
    pub(crate) fn link(&self, room: &Room, is_up: bool) {
        Self::ip(room, &self.worker, &["link", "set", "cable", if is_up { "up" } else { "down" }]);
    }

    /// Takes away the way between them, both ways, while the cable stays; or puts it back.
    pub(crate) fn route(&self, room: &Room, is_there: bool) {
        let verb = if is_there { "delete" } else { "add" };
        Self::ip(room, &self.server, &["route", verb, "blackhole", &format!("{}/32", Self::WORKER)]);
        Self::ip(room, &self.worker, &["route", verb, "blackhole", &format!("{}/32", Self::SERVER)]);
    }
}

impl Drop for Networks {
    fn drop(&mut self) {
        for child in [&mut self.server, &mut self.worker] {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// Into the network of a process, and nothing else of it.
fn enter(child: &Child) -> Vec<String> {
    let net = format!("--net=/proc/{}/ns/net", child.id());
    ["nsenter", &net, "--"].map(str::to_owned).into()
}
