//! Which of several workers a task is given to.

use bowline_core::placement::{Fill, Placement as CorePlacement};
use bowline_core::spec::Requirement;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Which of several workers it is given to. Lists name capabilities of workers, as `key` or `key=value`; `worker=NAME` is one
/// that every worker has.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Placement {
    /// `spread`: the least loaded one. `pack`: the most loaded one that has room.
    #[schema(value_type = String)]
    pub fill: Fill,
    /// Workers with more of these first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub prefer: Vec<Requirement>,
    /// Workers with any of these last.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub avoid: Vec<Requirement>,
    /// Workers with any of these never.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub excludes: Vec<Requirement>,
}

impl Placement {
    /// As the engine knows it.
    pub fn to_core(&self) -> CorePlacement {
        let Self { fill, prefer, avoid, excludes } = self.clone();
        CorePlacement { fill, prefer, avoid, excludes }
    }

    /// To be shown; `None` where nothing is wished for.
    pub fn shown(core: &CorePlacement) -> Option<Self> {
        let CorePlacement { fill, prefer, avoid, excludes } = core.clone();
        (*core != CorePlacement::default()).then_some(Self { fill, prefer, avoid, excludes })
    }
}
