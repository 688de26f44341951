//! The network of a run: the server's address, and a worker in a namespace of its own behind a cable that is cut
//! by link or by route. All of it is inside the namespace that this program made for itself.

use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::clock::{Stopwatch, pause};
use crate::nest::{program, tool};
use crate::plan::Cut;

/// Where the fleet's server listens.
pub(crate) const SERVER: &str = "10.77.0.1";
/// This end of the cable.
const NEAR: &str = "10.77.1.1";
/// The worker's end.
const FAR: &str = "10.77.1.2";
/// A namespace is there within this.
const MADE_WITHIN: Duration = Duration::from_secs(10);

/// A namespace behind a cable. It goes with the process that holds it.
#[derive(Debug)]
pub(crate) struct Cable {
    holder: Child,
}

/// Makes this network usable: as it is born, it has not even a loopback.
pub(crate) fn prepare() -> Result<()> {
    tool(&["ip", "link", "set", "lo", "up"])?;
    tool(&["ip", "address", "replace", &format!("{SERVER}/32"), "dev", "lo"])
}

impl Cable {
    pub(crate) fn new() -> Result<Self> {
        let mut command = program("unshare");
        command.args(["--net", "sleep", "infinity"]).stdin(Stdio::null()).stdout(Stdio::null());
        let cable = Self { holder: command.spawn().context("starting `unshare`")? };
        let watch = Stopwatch::start();
        let own = std::fs::read_link("/proc/self/ns/net").context("reading this network's name")?;
        // Not before `unshare` has become `sleep`: until then it may be on its way.
        while std::fs::read_link(format!("/proc/{}/ns/net", cable.pid())).is_ok_and(|other| other == own) {
            ensure!(watch.elapsed() < MADE_WITHIN, "no network namespace within {} s", MADE_WITHIN.as_secs());
            pause(Duration::from_millis(5));
        }
        let peer = cable.pid().to_string();
        tool(&["ip", "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", &peer])?;
        tool(&["ip", "address", "add", &format!("{NEAR}/24"), "dev", "cable"])?;
        tool(&["ip", "link", "set", "cable", "up"])?;
        cable.far(&["link", "set", "lo", "up"])?;
        cable.far(&["address", "add", &format!("{FAR}/24"), "dev", "cable"])?;
        cable.far(&["link", "set", "cable", "up"])?;
        cable.far(&["route", "add", "default", "via", NEAR])?;
        Ok(cable)
    }

    /// The process whose network it is.
    pub(crate) fn pid(&self) -> u32 {
        self.holder.id()
    }

    fn far(&self, args: &[&str]) -> Result<()> {
        let net = format!("--net=/proc/{}/ns/net", self.pid());
        tool(&[&["nsenter", &net, "--", "ip"], args].concat())
    }

    pub(crate) fn cut(&self, cut: Cut) -> Result<()> {
        match cut {
            Cut::Link => self.far(&["link", "set", "cable", "down"]),
            Cut::Route => {
                tool(&["ip", "route", "add", "blackhole", &format!("{FAR}/32")])?;
                self.far(&["route", "add", "blackhole", &format!("{SERVER}/32")])
            }
        }
    }

    pub(crate) fn mend(&self, cut: Cut) -> Result<()> {
        match cut {
            Cut::Link => {
                self.far(&["link", "set", "cable", "up"])?;
                // Its routes went with the link.
                self.far(&["route", "replace", "default", "via", NEAR])
            }
            Cut::Route => {
                tool(&["ip", "route", "delete", "blackhole", &format!("{FAR}/32")])?;
                self.far(&["route", "delete", "blackhole", &format!("{SERVER}/32")])
            }
        }
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        drop(self.holder.kill());
        drop(self.holder.wait());
    }
}
