//! What the members of a gang have among themselves: locks, barriers, values, and who they are. Each call comes with the
//! token of a member's attempt, and is heard as long as that lives. What waits is woken by what happens to the gang, and
//! ends with its client.

use std::time::Duration;

use axum::Extension;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use bowline_api::{Arrive, GangBarrier, GangLock, GangPeer, GangPeers, GangQuery, GangValue, Problem, SetValue};
use bowline_core::answer::Answer;
use bowline_core::gang::{Ask, Dead, Member, Peer, Told};
use bowline_core::id::{AttemptRef, TaskId};
use bowline_core::input::Request;
use bowline_core::name::Actor;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::changes::{Changes, Woken, wait_length};
use super::extract::{Doc, MaybeDoc, Params};
use super::fault::Fault;
use super::shell::{Shell, unexpected};
use crate::auth::Caller;

pub(super) fn routes() -> OpenApiRouter<Shell> {
    OpenApiRouter::new()
        .routes(routes!(lock, unlock))
        .routes(routes!(barrier))
        .routes(routes!(set, get))
        .routes(routes!(peers))
}

/// Who asks, and where.
struct Asker {
    shell: Shell,
    actor: Actor,
    attempt: AttemptRef,
    member: Member,
}

impl Asker {
    fn new(shell: Shell, caller: &Caller) -> Result<Self, Fault> {
        let (attempt, member) = caller.member()?;
        Ok(Self { shell, actor: caller.actor.clone(), attempt, member })
    }

    async fn ask(&self, ask: Ask) -> Result<Told, Fault> {
        let request = Request::Gang { attempt: self.attempt, ask };
        match self.shell.ask(self.actor.clone(), request).await? {
            Answer::Gang(told) => Ok(told),
            other => Err(unexpected("ask the gang", &other)),
        }
    }

    /// Changes of the gang, from before the first look at it.
    fn changes(&self, wait: Option<Duration>) -> Changes {
        let last = TaskId(self.member.first.0 + u64::from(self.member.size.max(1) - 1));
        Changes::of_tasks(&self.shell, self.member.first..=last, wait.unwrap_or_default())
    }
}

/// Gives a place up where its client goes away before it was answered.
struct Place<'a> {
    asker: &'a Asker,
    leave: Option<Ask>,
}

impl Place<'_> {
    /// The client is answered: the place is its own.
    fn keep(mut self) {
        self.leave = None;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let Some(ask) = self.leave.take() else { return };
        let shell = &self.asker.shell;
        let (leader, actor) = (shell.app.leader.clone(), self.asker.actor.clone());
        let request = Request::Gang { attempt: self.asker.attempt, ask };
        shell.leaving.spawn(async move { drop(leader.request(actor, request).await) });
    }
}

/// Takes a lock among the members, or a place in its line: first come, first served. The lock is the attempt's, and goes
/// to the next in line when it is given up or the attempt is over. Asked again, it is the same place.
#[utoipa::path(post, path = "/gang/locks/{name}", tag = "gang", params(("name" = String, Path), GangQuery),
    responses((status = 200, body = GangLock), (status = 202, description = "In line", body = GangLock),
        (status = "default", body = Problem)))]
async fn lock(
    State(shell): State<Shell>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Params(query): Params<GangQuery>,
) -> Result<(StatusCode, Json<GangLock>), Fault> {
    let (asker, wait) = (Asker::new(shell, &caller)?, wait_length(query.wait)?);
    let mut changes = asker.changes(wait);
    let place = Place { asker: &asker, leave: Some(Ask::Unlock(name.clone())) };
    loop {
        let told = asker.ask(Ask::Lock(name.clone())).await?;
        let (status, answer) = match told {
            Told::Waiting { holder, ahead } => {
                let holder = holder.map(|holder| holder.task);
                (StatusCode::ACCEPTED, GangLock { name: name.clone(), held: false, holder, ahead })
            }
            Told::Done | Told::Value(_) | Told::Peers(_) | Told::Missing(_) => {
                (StatusCode::OK, GangLock { name: name.clone(), held: true, holder: None, ahead: 0 })
            }
        };
        if answer.held || wait.is_none() || changes.next().await == Woken::Over {
            place.keep();
            return Ok((status, Json(answer)));
        }
    }
}

/// Gives a lock up, or the place in its line. It is the same where there is none.
#[utoipa::path(delete, path = "/gang/locks/{name}", tag = "gang", params(("name" = String, Path), GangQuery),
    responses((status = 200, body = GangLock), (status = "default", body = Problem)))]
async fn unlock(
    State(shell): State<Shell>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Params(_query): Params<GangQuery>,
) -> Result<Json<GangLock>, Fault> {
    let asker = Asker::new(shell, &caller)?;
    asker.ask(Ask::Unlock(name.clone())).await?;
    Ok(Json(GangLock { name, held: false, holder: None, ahead: 0 }))
}

/// Waits at a barrier until all members, or as many as are asked for, are there. Where too few are left for that it is
/// told at once, with who is missing; with `live` the living alone are waited for. The same `Idempotency-Key` again is the
/// same arrival: who asks again after the barrier opened is told so.
#[utoipa::path(post, path = "/gang/barriers/{name}", tag = "gang", params(("name" = String, Path), GangQuery),
    request_body = Arrive,
    responses((status = 200, body = GangBarrier), (status = 202, description = "Others are still to come", body = GangBarrier),
        (status = 409, description = "Too few are left", body = Problem), (status = "default", body = Problem)))]
#[expect(clippy::too_many_arguments, reason = "each is a part of the request")]
async fn barrier(
    State(shell): State<Shell>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Params(query): Params<GangQuery>,
    headers: HeaderMap,
    MaybeDoc(arrive): MaybeDoc<Arrive>,
) -> Result<(StatusCode, Json<GangBarrier>), Fault> {
    let (asker, wait) = (Asker::new(shell, &caller)?, wait_length(query.wait)?);
    let key = match headers.get("idempotency-key").and_then(|key| key.to_str().ok()) {
        Some(key) => key.to_owned(),
        None => crate::secrets::random_secret().map_err(|error| Fault::internal("make a key", &error))?,
    };
    let dead = if arrive.live == Some(true) { Dead::Ignored } else { Dead::Missed };
    let mut changes = asker.changes(wait);
    let leave = Ask::Leave { name: name.clone(), key: key.clone() };
    let place = Place { asker: &asker, leave: Some(leave) };
    loop {
        let ask = Ask::Arrive { name: name.clone(), key: key.clone(), count: arrive.count, dead };
        let (status, to_come) = match asker.ask(ask).await? {
            Told::Waiting { ahead, .. } => (StatusCode::ACCEPTED, ahead),
            Told::Missing(peers) => {
                place.keep();
                return Err(missing(&name, &document(&asker, &peers).await?.peers));
            }
            Told::Done | Told::Value(_) | Told::Peers(_) => (StatusCode::OK, 0),
        };
        let is_open = status == StatusCode::OK;
        if is_open || wait.is_none() || changes.next().await == Woken::Over {
            place.keep();
            return Ok((status, Json(GangBarrier { name, open: is_open, to_come })));
        }
    }
}

fn missing(name: &str, peers: &[GangPeer]) -> Fault {
    let who: Vec<String> = peers
        .iter()
        .map(|peer| {
            let state = peer.state.map_or_else(|| "ended".to_owned(), |state| state.to_string());
            let name = peer.name.as_ref().map_or_else(String::new, |name| format!(" `{name}`"));
            format!("task {}{name} ({state})", peer.task)
        })
        .collect();
    let detail = if who.is_empty() {
        format!(
            "The barrier `{name}` waits for more members than its gang has: ask for as many as there are, or for no number."
        )
    } else {
        format!(
            "Too few members are left for the barrier `{name}`; missing: {}. With `live` the living alone are waited for.",
            who.join(", ")
        )
    };
    Fault::new(StatusCode::CONFLICT, "member_missing", detail)
}

/// Sets a value that all members can get.
#[utoipa::path(put, path = "/gang/values/{key}", tag = "gang", params(("key" = String, Path), GangQuery),
    request_body = SetValue, responses((status = 200, body = GangValue), (status = "default", body = Problem)))]
async fn set(
    State(shell): State<Shell>,
    Extension(caller): Extension<Caller>,
    Path(key): Path<String>,
    Params(_query): Params<GangQuery>,
    Doc(set): Doc<SetValue>,
) -> Result<Json<GangValue>, Fault> {
    let asker = Asker::new(shell, &caller)?;
    asker.ask(Ask::Set { key: key.clone(), value: set.value.clone() }).await?;
    Ok(Json(GangValue { key, value: set.value }))
}

/// A value that a member has set; with `wait`, when it is set.
#[utoipa::path(get, path = "/gang/values/{key}", tag = "gang", params(("key" = String, Path), GangQuery),
    responses((status = 200, body = GangValue), (status = "default", body = Problem)))]
async fn get(
    State(shell): State<Shell>,
    Extension(caller): Extension<Caller>,
    Path(key): Path<String>,
    Params(query): Params<GangQuery>,
) -> Result<Json<GangValue>, Fault> {
    let (asker, wait) = (Asker::new(shell, &caller)?, wait_length(query.wait)?);
    let mut changes = asker.changes(wait);
    loop {
        if let Told::Value(Some(value)) = asker.ask(Ask::Get(key.clone())).await? {
            return Ok(Json(GangValue { key, value }));
        }
        if wait.is_none() || changes.next().await == Woken::Over {
            let detail = format!("No member has set `{key}` yet; ask with `wait` to be told when one does.");
            return Err(Fault::not_found(detail));
        }
    }
}

/// The members: each with its state, its worker and where that can be reached; with `since` and `wait`, when anything of
/// them has changed.
#[utoipa::path(get, path = "/gang/peers", tag = "gang", params(GangQuery),
    responses((status = 200, body = GangPeers), (status = "default", body = Problem)))]
async fn peers(
    State(shell): State<Shell>,
    Extension(caller): Extension<Caller>,
    Params(query): Params<GangQuery>,
) -> Result<Json<GangPeers>, Fault> {
    let (asker, wait) = (Asker::new(shell, &caller)?, wait_length(query.wait)?);
    let mut changes = asker.changes(wait);
    loop {
        let Told::Peers(all) = asker.ask(Ask::Peers).await? else {
            return Err(Fault::broken("list the members"));
        };
        let answer = document(&asker, &all).await?;
        let is_news = query.since.as_ref() != Some(&answer.version);
        if is_news || wait.is_none() || changes.next().await == Woken::Over {
            return Ok(Json(answer));
        }
    }
}

/// Who has ended may have left the memory of whoever decides: the store knows.
async fn document(asker: &Asker, all: &[Peer]) -> Result<GangPeers, Fault> {
    let mut peers: Vec<GangPeer> = all.iter().map(GangPeer::from).collect();
    let away: Vec<(usize, TaskId)> = peers
        .iter()
        .enumerate()
        .filter(|(_, peer)| peer.state.is_none())
        .map(|(at, peer)| (at, peer.task.task))
        .collect();
    if !away.is_empty() {
        let found = asker
            .shell
            .read(move |store| {
                let mut found = Vec::with_capacity(away.len());
                for (at, id) in away {
                    found.extend(store.task(id)?.map(|task| (at, task.row)));
                }
                Ok(found)
            })
            .await?;
        for (at, row) in found {
            peers[at].name = row.name;
            peers[at].state = Some(row.unit.state);
            peers[at].attempt = row.unit.attempt.0;
        }
    }
    let text = serde_json::to_vec(&peers).map_err(|error| Fault::internal("list the members", &error))?;
    let version = blake3::hash(&text).to_hex().as_str()[..16].to_owned();
    Ok(GangPeers { version, peers })
}
