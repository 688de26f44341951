//! A run as the engine sees it: a graph of nodes, edges with conditions, and joins. What a node
//! does is the workflow's; the engine knows only when it is **due** and how it ended.
//!
//! ```text
//! pending ► due ► active ► ended(succeeded | failed | cancelled)
//!    │       └─────────────► ended(succeeded: nothing to do | failed: its expressions)
//!    └─────────────────────► ended(skipped: its join can no longer be met)
//! ```
//!
//! A node becomes `due` in the commit that meets its join; it is evaluated beside the writer, and
//! the answer names the node's version. What is due is due again after a restart. When every node
//! has ended, the run's own result is evaluated in the same way ([`DueKind::Result`]), then the run
//! ends.

use serde::{Deserialize, Serialize};

use crate::id::{NodeIndex, TaskId};
use crate::name::StepName;
use crate::resource::Ask;
use crate::spec::Condition;

/// Most nodes of one run.
pub const NODES_MAX: usize = 1_000;

/// A run's shape. Acyclic; checked by whoever builds it and again at the start of the run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Graph {
    /// The nodes, by [`NodeIndex`].
    pub nodes: Vec<Node>,
    /// What the run asks for as a whole: it holds all of it from before its first step to its end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub asks: Vec<Ask>,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// The step's name; unique within the graph.
    pub name: StepName,
    /// What must have ended before, and how.
    pub needs: Vec<Edge>,
    /// How many of them.
    pub join: Join,
}

/// An edge into a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edge {
    /// Where it comes from.
    pub from: NodeIndex,
    /// How that node must have ended.
    pub on: Condition,
}

/// How many of a node's edges must be met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Join {
    /// All of them. One that can no longer be met skips the node.
    #[default]
    All,
    /// So many; those left are not waited for. The node is skipped when too few are left.
    AtLeast(u32),
}

/// A node's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// Waits for its join.
    Pending,
    /// To be evaluated.
    Due,
    /// Its task is under way.
    Active {
        /// The task: single or array.
        task: TaskId,
    },
    /// Over. `task` is its task, where it had one.
    Ended {
        /// How.
        how: NodeEnd,
        /// The task that it was.
        task: Option<TaskId>,
    },
}

/// How a node ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeEnd {
    /// Well.
    Succeeded,
    /// Badly.
    Failed,
    /// By a cancel.
    Cancelled,
    /// Never begun.
    Skipped,
}

/// A run's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Under way.
    Running,
    /// A cancel is under way: tasks are being stopped.
    Stopping,
    /// All nodes have ended; the result is evaluated.
    Finishing,
    /// Ended well.
    Succeeded,
    /// Ended badly.
    Failed,
    /// Ended by a cancel.
    Cancelled,
}

impl RunState {
    /// As it is written everywhere.
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Finishing => "finishing",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// The state of this name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Running, Self::Stopping, Self::Finishing, Self::Succeeded, Self::Failed, Self::Cancelled]
            .into_iter()
            .find(|state| state.name() == name)
    }

    /// Whether the run is over.
    pub fn is_ended(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

/// What of a run is to be evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DueKind {
    /// A node: which tasks it makes.
    Node(NodeIndex),
    /// The run's result.
    Result,
}
