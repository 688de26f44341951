//! What a service manager is told: that the process is ready, stops, reads its settings again, and is
//! still turning. systemd's protocol (see `sd_notify(3)`): datagrams of `KEY=VALUE` lines to the socket
//! in `NOTIFY_SOCKET`. Where nobody listens nothing is sent.
//!
//! The watchdog is fed only after a look at the loop that must turn: a process that hangs is started
//! again by its service manager.

use std::convert::Infallible;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use crate::config::Environment;

/// How long one word may take where whoever listens does not read: nobody waits for him longer.
const SEND_WAIT_MAX: Duration = Duration::from_millis(100);

/// Who listens, and how often he wants to hear that the process turns.
#[derive(Debug, Default)]
pub(crate) struct Notify {
    to: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Notify {
    /// As the environment says.
    pub(crate) fn new(environment: &Environment) -> Self {
        let Some(name) = environment.text("NOTIFY_SOCKET") else { return Self::default() };
        let opened = address(&name).and_then(|to| Ok((socket()?, to)));
        match opened {
            Ok(to) => Self { to: Some(to), watchdog: watchdog(environment) },
            Err(error) => {
                tracing::warn!(socket = name, %error, "the service manager cannot be told anything");
                Self::default()
            }
        }
    }

    /// The process does its work now.
    pub(crate) fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={}", one_line(status)));
    }

    /// What it does, for people.
    pub(crate) fn status(&self, status: &str) {
        self.send(&format!("STATUS={}", one_line(status)));
    }

    /// It was told to stop, and does.
    pub(crate) fn stopping(&self, status: &str) {
        self.send(&format!("STOPPING=1\nSTATUS={}", one_line(status)));
    }

    /// It reads its settings again; [`Notify::ready`] says that it has.
    pub(crate) fn reloading(&self) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let micros = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1_000;
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
    }

    /// Feeds the watchdog for as long as `turns` says that the loop turns; it is asked twice in each of
    /// the watchdog's spans, and has half a span to answer. Never ends.
    pub(crate) async fn feed(&self, mut turns: impl AsyncFnMut(Duration) -> bool) -> Infallible {
        let Some(span) = self.watchdog else { return std::future::pending().await };
        let half = span / 2;
        let mut missed = 0_u32;
        let mut due = tokio::time::interval(half);
        due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            due.tick().await;
            if turns(half).await {
                missed = 0;
                self.send("WATCHDOG=1");
            } else {
                missed += 1;
            }
            // Once may be a matter of moments; twice is a whole span.
            if missed == 2 {
                tracing::error!(?span, "the event loop does not turn; the watchdog is not fed");
            }
        }
    }

    fn send(&self, text: &str) {
        let Some((socket, to)) = &self.to else { return };
        if let Err(error) = socket.send_to_addr(text.as_bytes(), to) {
            tracing::warn!(%error, "the service manager could not be told");
        }
    }
}

fn socket() -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(SEND_WAIT_MAX))?;
    Ok(socket)
}

/// A path, or with `@` a name without a file.
fn address(name: &str) -> io::Result<SocketAddr> {
    match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(name),
    }
}

/// How often this very process is to be heard of.
fn watchdog(environment: &Environment) -> Option<Duration> {
    let own = std::process::id().to_string();
    let is_meant = environment.text("WATCHDOG_PID").is_none_or(|pid| pid == own);
    let span = environment.text("WATCHDOG_USEC").filter(|_| is_meant)?.parse().ok()?;
    Some(Duration::from_micros(span)).filter(|span| !span.is_zero())
}

fn one_line(text: &str) -> String {
    text.replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 1024];
        let length = socket.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    #[test]
    fn what_is_said_arrives_at_a_path_and_at_a_name_without_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("bowline-notify-{}", std::process::id());
        let listeners = [
            (path.to_str().unwrap().to_owned(), UnixDatagram::bind(&path).unwrap()),
            (format!("@{name}"), UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap()),
        ];
        for (name, listener) in &listeners {
            let notify = Notify::new(&Environment::of(&[("NOTIFY_SOCKET", name)]));
            notify.ready("serving\nhere");
            assert_eq!(heard(listener), "READY=1\nSTATUS=serving here");
            notify.stopping("told to");
            assert_eq!(heard(listener), "STOPPING=1\nSTATUS=told to");
            notify.reloading();
            assert!(heard(listener).starts_with("RELOADING=1\nMONOTONIC_USEC="));
        }
    }

    #[test]
    fn somebody_who_does_not_read_holds_nobody_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let listener = UnixDatagram::bind(&path).unwrap();
        let notify = Notify::new(&Environment::of(&[("NOTIFY_SOCKET", path.to_str().unwrap())]));
        // Far more than a socket's queue takes, save where a machine was set up otherwise.
        let queue = std::fs::read_to_string("/proc/sys/net/unix/max_dgram_qlen").unwrap();
        let queue: usize = queue.trim().parse().unwrap();
        for number in 0..queue + 5 {
            notify.status(&number.to_string());
        }
        assert_eq!(heard(&listener), "STATUS=0");
    }

    #[test]
    fn nobody_listens() {
        Notify::new(&Environment::of(&[])).ready("to nobody");
        Notify::new(&Environment::of(&[("NOTIFY_SOCKET", "/nowhere/at/all")])).ready("to nobody");
    }

    #[test]
    fn a_watchdog_of_another_process_is_not_ours() {
        let own = std::process::id().to_string();
        let of = |pid: &str| watchdog(&Environment::of(&[("WATCHDOG_USEC", "2000000"), ("WATCHDOG_PID", pid)]));
        assert_eq!(of(&own), Some(Duration::from_secs(2)));
        assert_eq!(of("1"), None);
        assert_eq!(watchdog(&Environment::of(&[("WATCHDOG_USEC", "0")])), None);
    }

    #[tokio::test]
    async fn the_watchdog_is_fed_only_while_the_loop_turns() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let listener = UnixDatagram::bind(&path).unwrap();
        listener.set_nonblocking(true).unwrap();
        let environment = Environment::of(&[("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "10000")]);
        let notify = Notify::new(&environment);
        let asked = std::sync::atomic::AtomicUsize::new(0);
        let turns = async |_| asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < 3;
        let enough = async {
            while asked.load(std::sync::atomic::Ordering::Relaxed) < 5 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            never = notify.feed(turns) => match never {},
            () = enough => {}
        }
        let mut fed = 0;
        let mut bytes = [0; 64];
        while let Ok(length) = listener.recv(&mut bytes) {
            assert_eq!(&bytes[..length], b"WATCHDOG=1");
            fed += 1;
        }
        assert_eq!(fed, 3);
    }
}
