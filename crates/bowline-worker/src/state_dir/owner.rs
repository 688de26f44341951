//! Whose a state directory is: a worker's of its own name, or one of a pool's, which has the name that it was given.

use std::fmt;
use std::fs;
use std::path::Path;

use bowline_core::name::{PoolName, WorkerName};

/// What a pool's directory has behind its pool's name.
const OF_POOL: &str = " pool";
/// The identity that a pool's worker was given last.
const GIVEN: &str = "identity";

/// Whose a directory is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// This worker's.
    Worker(WorkerName),
    /// One of this pool's workers', and the identity that it was given last, where it was.
    Pool(PoolName, Option<WorkerName>),
}

impl Owner {
    /// Of a worker with this name, or of this pool.
    pub(crate) fn of(name: &WorkerName, pool: Option<&PoolName>) -> Self {
        pool.map_or_else(|| Self::Worker(name.clone()), |pool| Self::Pool(pool.clone(), None))
    }

    /// The same, with the identity that the directory's last process was given. It is only shown: where it
    /// cannot be read it is not known.
    #[must_use]
    pub fn last_seen_in(name: &WorkerName, pool: Option<&PoolName>, dir: &Path) -> Self {
        let given = || fs::read_to_string(dir.join(GIVEN)).ok().and_then(|name| WorkerName::new(name.trim()).ok());
        match Self::of(name, pool) {
            Self::Pool(pool, _) => Self::Pool(pool, given()),
            worker @ Self::Worker(_) => worker,
        }
    }

    /// Whether both are the same worker, or of the same pool.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.note() == other.note()
    }

    /// As a directory notes it.
    pub(super) fn note(&self) -> String {
        match self {
            Self::Worker(name) => name.as_str().to_owned(),
            Self::Pool(pool, _) => format!("{pool}{OF_POOL}"),
        }
    }

    /// What a directory has noted.
    pub(super) fn read(note: &str, dir: &Path) -> Option<Self> {
        match note.strip_suffix(OF_POOL) {
            None => Some(Self::Worker(WorkerName::new(note).ok()?)),
            Some(pool) => {
                let pool = PoolName::new(pool).ok()?;
                let name = WorkerName::new(pool.as_str()).ok()?;
                Some(Self::last_seen_in(&name, Some(&pool), dir))
            }
        }
    }

    /// How to start it.
    pub(super) fn flag(&self) -> String {
        match self {
            Self::Worker(name) => format!("--identity {name}"),
            Self::Pool(pool, _) => format!("--pool {pool}"),
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Worker(name) => write!(f, "worker `{name}`"),
            Self::Pool(pool, Some(name)) => write!(f, "worker `{name}` of pool `{pool}`"),
            Self::Pool(pool, None) => write!(f, "worker of pool `{pool}`"),
        }
    }
}

/// Keeps the identity that a pool's worker was given.
pub(super) fn note_given(dir: &Path, name: &WorkerName) -> std::io::Result<()> {
    super::write_private(&dir.join(GIVEN), name.as_str())
}
