//! The ways to hold a job's processes together and to kill them all, strongest first, and which of them
//! this machine offers.

use std::fmt;
use std::io;

use crate::cgroup::{self, Entry, Home};
use crate::clone::{Place, try_once};

/// A way to find and kill all of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// By process group, descent and mark: each job has a keeper, which is the parent of all that the
    /// job's processes leave behind. Works everywhere.
    Descent,
    /// A PID namespace: the kernel kills all of it with its first process. Taken where it can be had
    /// without a user namespace, which would take from jobs what they may do.
    Namespace,
    /// A cgroup (version 2) of the job's own, killed as a whole.
    Cgroup,
}

/// Whether a machine offers a way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The way.
    pub way: Way,
    /// How it works here, or why it does not.
    pub found: Result<String, String>,
}

impl Way {
    /// Strongest first.
    pub const ALL: [Self; 3] = [Self::Cgroup, Self::Namespace, Self::Descent];

    /// As in options.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cgroup => "cgroup",
            Self::Namespace => "namespace",
            Self::Descent => "descent",
        }
    }

    /// The way of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|way| way.name() == name)
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What this machine offers to a process like this one, strongest first. Makes a cgroup and two processes
/// that end at once, and leaves nothing behind. A supervisor uses the first that works, for each job anew.
pub fn offers() -> Vec<Offer> {
    let found = |way| match way {
        Way::Cgroup => Home::make(&format!("look-{}", std::process::id())).map(|home| {
            home.remove();
            describe(&home)
        }),
        Way::Namespace => try_once(Place::Namespace).map(|()| "PID namespaces may be made".to_owned()),
        Way::Descent => try_once(Place::Here)
            .map(|()| "a keeper a job adopts its orphans".to_owned())
            .or_else(|error| Ok(format!("the supervisor itself adopts orphans (no keepers: {error})"))),
    };
    Way::ALL.map(|way| Offer { way, found: found(way).map_err(|error: io::Error| error.to_string()) }).into()
}

fn describe(home: &Home) -> String {
    let place = home.path().parent().unwrap_or(home.path()).display();
    match home.entry() {
        Entry::Born => format!("below {place}; jobs are born in it (clone3)"),
        Entry::Joins => format!("below {place}; jobs join it before they begin"),
    }
}

/// The ways that a supervisor has.
#[derive(Debug)]
pub(crate) struct Ways {
    pub(crate) cgroup: Option<Home>,
    pub(crate) namespace: Namespaces,
}

/// Whether jobs get PID namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Namespaces {
    Yes,
    No,
}

impl Ways {
    /// Finds out what can be had, nothing stronger than `strongest`, and says it.
    pub(crate) fn find(strongest: Way, id: &str, mut say: impl FnMut(String)) -> Self {
        let told = || io::Error::new(io::ErrorKind::Unsupported, "told to use none");
        let home = if strongest >= Way::Cgroup { Home::make(id) } else { Err(told()) };
        let home = match home {
            Ok(home) => {
                say(format!("jobs are killed by cgroup, {}", describe(&home)));
                let swept = cgroup::sweep_homes(&home);
                if swept > 0 {
                    say(format!("removed {swept} empty cgroups of supervisors that are gone"));
                }
                return Self { cgroup: Some(home), namespace: Namespaces::No };
            }
            Err(error) => error,
        };
        say(format!("no cgroups for jobs: {home}"));
        let tried = if strongest >= Way::Namespace { try_once(Place::Namespace) } else { Err(told()) };
        let namespace = match tried {
            Ok(()) => {
                say("jobs are killed by PID namespace".to_owned());
                Namespaces::Yes
            }
            Err(error) => {
                say(format!("no PID namespaces for jobs: {error}; jobs are killed by group, descent and mark"));
                Namespaces::No
            }
        };
        Self { cgroup: None, namespace }
    }

    /// Lets go of what was made for all jobs.
    pub(crate) fn close(&self) {
        if let Some(home) = &self.cgroup {
            home.remove();
        }
    }
}
