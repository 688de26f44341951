//! Gangs: how one is submitted, and what its members have among themselves.

use bowline_core::gang::{Form, OnLost, Peer, Terms};
use bowline_core::id::TaskRef;
use bowline_core::state::StateKind;
use bowline_core::time::Span;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::problem::Mistake;

/// The tasks of a submit are a gang: claimed together or not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NewGang {
    /// Each member on a worker of its own. Wherever there is room for all at once, where not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distinct: Option<bool>,
    /// What it means to the others when a member is lost after all have started: `rerun_all`, `stop_all` or `continue`.
    /// `rerun_all` where not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub on_lost: Option<OnLost>,
    /// One after the other on one worker, without a gap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chain: Option<bool>,
}

impl NewGang {
    /// As the engine takes it.
    pub fn resolve(self) -> Result<Terms, Vec<Mistake>> {
        let form = match (self.chain == Some(true), self.distinct == Some(true)) {
            (true, true) => {
                let message =
                    "A chain stays on one worker, so its members cannot be on distinct ones. Leave one of the two out.";
                return Err(vec![Mistake::field("gang.distinct", message)]);
            }
            (true, false) => Form::Chain,
            (false, true) => Form::Distinct,
            (false, false) => Form::Together,
        };
        Ok(Terms { form, on_lost: self.on_lost.unwrap_or_default() })
    }
}

/// How long to wait for what the members have among themselves.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct GangQuery {
    /// Of no use here: the token says whose gang it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Answer when it is so far, or after this long: `30s`, at most `5m`. At once where not said.
    #[param(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait: Option<Span>,
    /// Of peers: answer when they are not as they were under this `version`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
}

/// A lock among the members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GangLock {
    /// Its name.
    pub name: String,
    /// Whether who asks has it.
    pub held: bool,
    /// Who has it, where somebody else does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub holder: Option<TaskRef>,
    /// How many are before who asks, the holder not counted.
    pub ahead: u32,
}

/// How to come to a barrier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Arrive {
    /// How many must come. All members where not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// Wait for the living alone; else whoever waits is told who is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub live: Option<bool>,
}

/// A barrier among the members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GangBarrier {
    /// Its name.
    pub name: String,
    /// Whether who asks may go through.
    pub open: bool,
    /// How many are still to come.
    pub to_come: u32,
}

/// A value to set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetValue {
    /// At most 64 KiB; all values of a gang together have at most 256 KiB.
    pub value: String,
}

/// A value among the members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GangValue {
    /// Its key.
    pub key: String,
    /// The value.
    pub value: String,
}

/// The members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GangPeers {
    /// Another one where anything of them changed.
    pub version: String,
    /// In the order of the submit.
    pub peers: Vec<GangPeer>,
}

/// A member, as the others see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GangPeer {
    /// Its task.
    #[schema(value_type = String)]
    pub task: TaskRef,
    /// Its place, from 0.
    pub index: u32,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its state.
    #[schema(value_type = Option<String>)]
    pub state: Option<StateKind>,
    /// Its worker, while it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// Where that can be reached: its capability `address`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Its newest attempt; 0 for none yet.
    pub attempt: u32,
}

impl From<&Peer> for GangPeer {
    fn from(peer: &Peer) -> Self {
        Self {
            task: peer.task,
            index: peer.index,
            name: peer.name.clone(),
            state: peer.state,
            worker: peer.worker.as_ref().map(ToString::to_string),
            address: peer.address.clone(),
            attempt: peer.attempt,
        }
    }
}
