//! Names that people give, checked once at the edge.

use std::borrow::Borrow;
use std::fmt;
use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Serialize};

/// Longest name, in bytes.
pub const NAME_BYTES_MAX: usize = 128;

/// A name that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{name}` cannot name a {what}: use 1 to {NAME_BYTES_MAX} letters, digits, `.`, `_`, `-`, `/` or `:`, beginning with a letter or digit"
)]
pub struct BadName {
    name: String,
    what: &'static str,
}

fn check(name: &str, what: &'static str) -> Result<(), BadName> {
    let starts_well = name.chars().next().is_some_and(char::is_alphanumeric);
    let fits = name.len() <= NAME_BYTES_MAX && name.chars().all(|c| c.is_alphanumeric() || "._-/:".contains(c));
    if starts_well && fits { Ok(()) } else { Err(BadName { name: name.chars().take(160).collect(), what }) }
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(Arc<str>);

        impl $type {
            /// Checks and takes a name.
            pub fn new(name: impl AsRef<str>) -> Result<Self, BadName> {
                check(name.as_ref(), $what)?;
                Ok(Self(Arc::from(name.as_ref())))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $type {
            type Error = BadName;

            fn try_from(name: String) -> Result<Self, BadName> {
                Self::new(name)
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0.as_ref().to_owned()
            }
        }

        impl std::str::FromStr for $type {
            type Err = BadName;

            fn from_str(name: &str) -> Result<Self, BadName> {
                Self::new(name)
            }
        }

        impl Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

name!(
    /// A tenant's room.
    Namespace, "namespace"
);
name!(
    /// A worker's durable identity.
    WorkerName, "worker"
);
name!(
    /// A set of identities that are given out by turns: `lab` has `lab-1`, `lab-2`, …
    PoolName, "pool"
);
name!(
    /// A workflow.
    WorkflowName, "workflow"
);
name!(
    /// A step of a workflow.
    StepName, "step"
);
name!(
    /// A capability's key, or an amount's name.
    Key, "capability or amount"
);
name!(
    /// A resource.
    ResourceName, "resource"
);
name!(
    /// What tasks are limited by together: a concurrency key, or the key of a rate.
    LimitKey, "key"
);
name!(
    /// A unit of a resource.
    UnitName, "unit"
);

impl Namespace {
    /// The namespace of those who name none.
    pub fn default_namespace() -> Self {
        Self(Arc::from("default"))
    }
}

impl Default for Namespace {
    fn default() -> Self {
        Self::default_namespace()
    }
}

/// Who caused something: a person, a worker, the server itself. Shown in every history.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Actor(pub Arc<str>);

impl Actor {
    /// Named so.
    pub fn new(name: &str) -> Self {
        Self(Arc::from(name))
    }

    /// The server itself: timers, joins, matching. Said with almost every transition, so it is made once.
    pub fn server() -> Self {
        static SERVER: LazyLock<Actor> = LazyLock::new(|| Actor::new("server"));
        SERVER.clone()
    }
}

impl From<&WorkerName> for Actor {
    fn from(name: &WorkerName) -> Self {
        Self(Arc::clone(&name.0))
    }
}
