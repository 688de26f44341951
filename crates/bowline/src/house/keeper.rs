//! Keeps one child alive until told otherwise.

use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::Signal;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::exit::{Exit, Trouble};
use crate::process::{Launch, Running};

/// The first pause before a child is started again.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
/// The longest one.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// A child that lived so long begins anew with the first pause.
const STEADY: Duration = Duration::from_secs(30);
/// A child that lived so long, or said that it is ready, was well once.
const SETTLED: Duration = Duration::from_secs(5);
/// A child that was told to hurry is killed after so long: longer than a worker takes to leave.
const HURRY_MAX: Duration = Duration::from_secs(45);
/// Fruitless starts in a row, after which it is given up.
const FRUITLESS_MAX: u32 = 10;

/// A disk with less room than this is full, in bytes: nobody can start on it.
const ROOM_BYTES_MIN: u64 = 1 << 20;

/// What is wanted of a child. Later ones are more urgent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Order {
    /// Stay alive.
    Keep,
    /// End in good order.
    Drain,
    /// End soon.
    Hurry,
    /// End now, whatever is lost.
    Kill,
}

/// What is worth telling.
#[derive(Debug)]
pub(crate) enum Incident {
    /// A child died and is started again after a pause.
    Restart {
        /// Which.
        name: &'static str,
        /// How it died.
        how: String,
        /// Started again after.
        pause: Duration,
    },
    /// A child has ended for good.
    Over(Ended),
}

/// How a child ended for good.
#[derive(Debug)]
pub(crate) struct Ended {
    name: &'static str,
    /// The status to end with.
    pub(crate) exit: Exit,
    how: String,
}

impl Ended {
    /// It could not even be kept.
    pub(crate) fn broken(name: &'static str, why: &str) -> Self {
        Self { name, exit: Exit::FAILED, how: why.to_owned() }
    }

    /// As an error of the whole.
    pub(crate) fn into_error(self) -> anyhow::Error {
        anyhow::Error::new(Trouble::new(self.exit, self.how))
            .context(Trouble::new(self.exit, format!("The {} did not stay up.", self.name)))
    }
}

/// Keeps one child.
#[derive(Debug)]
pub(crate) struct Keeper {
    launch: Launch,
    /// Turns the first announcement into the launch of later starts, where they must differ.
    again: fn(Launch, &str) -> Launch,
    orders: watch::Receiver<Order>,
    ready: mpsc::Sender<String>,
    incidents: mpsc::Sender<Incident>,
}

/// How one life of a child ended.
enum Life {
    /// By itself.
    Died { status: ExitStatus, words: Option<String>, was_ready: bool, length: Duration },
    /// As ordered.
    Stopped(ExitStatus),
}

impl Keeper {
    /// For this child. What it announces comes through the receiver.
    pub(crate) fn new(
        (launch, again): (Launch, fn(Launch, &str) -> Launch),
        orders: watch::Receiver<Order>,
        incidents: mpsc::Sender<Incident>,
    ) -> (Self, mpsc::Receiver<String>) {
        let (ready, lines) = mpsc::channel(1);
        (Self { launch, again, orders, ready, incidents }, lines)
    }

    /// Keeps it until it is ordered to end, or ends for good.
    pub(crate) async fn run(mut self) -> Ended {
        let mut pause = PAUSE_FIRST;
        let mut fruitless = 0;
        let mut ever_ready = false;
        loop {
            let (mut child, lines) = match self.launch.start() {
                Ok(started) => started,
                Err(error) => return Ended::broken(self.launch.name, &format!("it cannot be started: {error}")),
            };
            let life = match self.live(&mut child, lines).await {
                Ok(life) => life,
                Err(error) => return Ended::broken(self.launch.name, &format!("it cannot be watched: {error}")),
            };
            let (status, words, was_ready, length) = match life {
                Life::Stopped(status) => return self.over(status, None),
                Life::Died { status, words, was_ready, length } => (status, words, was_ready, length),
            };
            // Whoever was killed from outside has done nothing wrong.
            let fruitful = was_ready || length >= SETTLED || status.code().is_none();
            ever_ready |= fruitful;
            fruitless = if fruitful { 0 } else { fruitless + 1 };
            // What failed at the very first start, or is a refusal, would only fail again.
            // A full disk may have room again at any time.
            let waits_for_room = is_full(&self.launch.log);
            let hopeless = !ever_ready || is_final(status) || fruitless >= FRUITLESS_MAX && !waits_for_room;
            if hopeless {
                return self.over(status, words);
            }
            pause = if length >= STEADY { PAUSE_FIRST } else { pause };
            let incident = Incident::Restart { name: self.launch.name, how: describe(status), pause };
            // Whoever owns the house may be busy stopping it: then nobody needs to hear.
            drop(self.incidents.try_send(incident));
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = raised(&mut self.orders, Order::Keep) => return self.over(status, None),
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn live(&mut self, child: &mut Running, mut lines: mpsc::Receiver<String>) -> std::io::Result<Life> {
        let began = now();
        let mut was_ready = false;
        let mut told = Order::Keep;
        let mut patience = None;
        let mut listening = true;
        loop {
            let late = async {
                match patience {
                    Some(until) => tokio::time::sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                line = lines.recv(), if listening => match line {
                    Some(line) => {
                        if !was_ready {
                            self.launch = (self.again)(self.launch.clone(), &line);
                        }
                        was_ready = true;
                        // Only the first life's announcement is waited for.
                        drop(self.ready.try_send(line));
                    }
                    None => listening = false,
                },
                status = child.ended() => {
                    let status = status?;
                    let died = || Life::Died { status, words: child.last_words(), was_ready, length: now() - began };
                    return Ok(if told == Order::Keep { died() } else { Life::Stopped(status) });
                }
                order = raised(&mut self.orders, told) => {
                    told = order;
                    child.signal(if told == Order::Kill { Signal::KILL } else { Signal::TERM });
                    if told >= Order::Hurry && patience.is_none() {
                        patience = Some(now() + HURRY_MAX);
                    }
                }
                () = late => {
                    child.signal(Signal::KILL);
                    patience = None;
                }
            }
        }
    }

    fn over(&self, status: ExitStatus, words: Option<String>) -> Ended {
        let code = status.code().and_then(|code| u8::try_from(code).ok()).filter(|code| *code != 0);
        Ended {
            name: self.launch.name,
            exit: code.map_or(Exit::FAILED, Exit),
            how: words.unwrap_or_else(|| format!("{}; its log is `{}`", describe(status), self.launch.log.display())),
        }
    }
}

/// Resolves when more is wanted than so far. An owner that is gone wants nothing to be left.
async fn raised(orders: &mut watch::Receiver<Order>, so_far: Order) -> Order {
    let raised = orders.wait_for(|order| *order > so_far).await.map(|order| *order);
    match raised {
        Ok(order) => order,
        Err(_) if so_far < Order::Hurry => Order::Hurry,
        Err(_) => std::future::pending().await,
    }
}

/// Whether the disk on which a child's log lies, and its data folder with it, has no room left.
fn is_full(log: &Path) -> bool {
    let folder = log.parent().unwrap_or(log);
    rustix::fs::statvfs(folder).is_ok_and(|disk| disk.f_bavail.saturating_mul(disk.f_frsize) < ROOM_BYTES_MIN)
}

fn now() -> Instant {
    Instant::now()
}

/// Statuses after which another start would end alike.
fn is_final(status: ExitStatus) -> bool {
    let of = |exit: Exit| status.code() == Some(i32::from(exit.0));
    of(Exit::USAGE) || of(Exit::REFUSED) || of(Exit::FENCED)
}

fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("it ended with status {code}"),
        (None, Some(signal)) => format!("it was ended by signal {signal}"),
        (None, None) => "it ended".to_owned(),
    }
}
