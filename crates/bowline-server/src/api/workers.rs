//! Workers: what is stored of them, joined with what the leader knows now; and how one comes in.

use std::collections::HashMap;

use axum::Extension;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use bowline_api::{
    ConnectionState, Enrol, Enrolled, HeldAttempt, List, PageQuery, Problem, Worker, WriteQuery, from_core_time,
};
use bowline_core::answer::{Answer, Connection, WorkerView};
use bowline_core::id::WorkerId;
use bowline_core::input::Request;
use bowline_core::message::Paused;
use bowline_core::name::WorkerName;
use bowline_core::row::WorkerRow;
use bowline_core::worker::{Health, Offer, Room};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{Doc, Params, sentence};
use super::fault::Fault;
use super::shell::{Shell, unexpected};
use super::show;
use crate::auth::{self, Caller, Role, secret_hash};

pub(super) fn routes() -> OpenApiRouter<Shell> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(get_one)).routes(routes!(pause)).routes(routes!(resume))
}

/// The one route that looks at its token itself: a worker that is known already needs none.
pub(super) fn enrol_route() -> OpenApiRouter<Shell> {
    OpenApiRouter::new().routes(routes!(enrol))
}

/// All workers, by name.
#[utoipa::path(get, path = "/workers", tag = "workers", params(PageQuery),
    responses((status = 200, body = List<Worker>), (status = "default", body = Problem)))]
async fn list(
    State(shell): State<Shell>,
    Extension(caller): Extension<Caller>,
    Params(_query): Params<PageQuery>,
) -> Result<Json<List<Worker>>, Fault> {
    caller.look_around()?;
    Ok(Json(List { items: all(&shell, &caller).await?, next_cursor: None }))
}

/// One worker.
#[utoipa::path(get, path = "/workers/{name}", tag = "workers", params(("name" = String, Path), PageQuery),
    responses((status = 200, body = Worker), (status = "default", body = Problem)))]
async fn get_one(
    State(shell): State<Shell>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Params(_query): Params<PageQuery>,
) -> Result<Json<Worker>, Fault> {
    caller.look_around()?;
    one(&shell, &caller, &name).await.map(Json)
}

async fn one(shell: &Shell, caller: &Caller, name: &str) -> Result<Worker, Fault> {
    let rows = shell.read(|store| Ok(store.workers()?)).await?;
    let row = rows.into_iter().find(|row| row.name.as_str() == name).ok_or_else(|| no_worker(name))?;
    let overview = shell.overview(caller.actor.clone()).await?;
    let mut worker = document(&row, overview.workers.iter().find(|view| view.id == row.id));
    worker.vitals = shell.app.sessions.report(row.id).as_ref().map(super::vitals::document);
    Ok(worker)
}

fn no_worker(name: &str) -> Fault {
    let name: String = name.chars().take(128).collect();
    Fault::not_found(format!("There is no worker `{name}`. `bowline worker list` shows those that there are."))
}

async fn all(shell: &Shell, caller: &Caller) -> Result<Vec<Worker>, Fault> {
    let rows = shell.read(|store| Ok(store.workers()?)).await?;
    let overview = shell.overview(caller.actor.clone()).await?;
    let views: HashMap<WorkerId, WorkerView> = overview.workers.into_iter().map(|view| (view.id, view)).collect();
    Ok(rows.iter().map(|row| document(row, views.get(&row.id))).collect())
}

fn document(row: &WorkerRow, view: Option<&WorkerView>) -> Worker {
    let offer = view.and_then(|view| view.offer.clone()).or_else(|| row.offer.clone());
    let offer = offer.unwrap_or_else(|| Offer {
        capabilities: std::collections::BTreeMap::new(),
        actions: Vec::new(),
        room: Room::default(),
    });
    let used = view.map(|view| view.used.clone()).unwrap_or_default();
    let capability = |(key, value): (&bowline_core::name::Key, &Option<String>)| match value {
        None => key.to_string(),
        Some(value) => format!("{key}={value}"),
    };
    let amounts = |room: &Room| room.amounts.iter().map(|(name, amount)| (name.to_string(), *amount)).collect();
    Worker {
        name: row.name.to_string(),
        connection: view.map_or(ConnectionState::Away, |view| connection(view.connection)),
        incarnation: row.incarnation.0,
        version: view.and_then(|view| view.version.clone()),
        capabilities: offer.capabilities.iter().map(capability).collect(),
        actions: offer.actions,
        slots: offer.room.slots,
        slots_used: used.slots,
        amounts: amounts(&offer.room),
        amounts_used: amounts(&used),
        attempts: view.map(|view| view.attempts.iter().map(held).collect()).unwrap_or_default(),
        paused: show::paused(row.paused.as_ref()),
        broken: view.and_then(|view| match &view.health {
            Health::Ok => None,
            Health::Broken(why) => Some(why.clone()),
        }),
        heard_at: view.and_then(|view| show::time(view.heard_at)),
        enrolled_at: from_core_time(row.enrolled_at),
        vitals: None,
    }
}

fn held(attempt: &bowline_core::id::AttemptRef) -> HeldAttempt {
    HeldAttempt { task: attempt.task.to_string(), attempt: attempt.fence.attempt.0 }
}

fn connection(connection: Connection) -> ConnectionState {
    match connection {
        Connection::Connected => ConnectionState::Connected,
        Connection::Suspect => ConnectionState::Suspect,
        Connection::Away => ConnectionState::Away,
    }
}

/// Pauses a worker, or lets it go on.
async fn set_paused(
    shell: Shell,
    caller: Caller,
    name: &str,
    query: WriteQuery,
    paused: Paused,
) -> Result<Json<Worker>, Fault> {
    caller.administer()?;
    let worker = worker_name(name)?;
    if query.dry_run != Some(true) {
        match shell.ask(caller.actor.clone(), Request::PauseWorker { worker, paused }).await? {
            Answer::Done => {}
            other => return Err(unexpected("pause the worker", &other)),
        }
    }
    one(&shell, &caller, name).await.map(Json)
}

fn worker_name(name: &str) -> Result<WorkerName, Fault> {
    WorkerName::new(name).map_err(|error| Fault::field("name", sentence(&error.to_string())))
}

/// Gives it nothing new. What runs, runs on.
#[utoipa::path(post, path = "/workers/{name}/pause", tag = "workers", params(("name" = String, Path), WriteQuery),
    responses((status = 200, body = Worker), (status = "default", body = Problem)))]
async fn pause(
    State(shell): State<Shell>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Params(query): Params<WriteQuery>,
) -> Result<Json<Worker>, Fault> {
    set_paused(shell, caller, &name, query, Paused::Yes).await
}

/// Gives it work again.
#[utoipa::path(post, path = "/workers/{name}/resume", tag = "workers", params(("name" = String, Path), WriteQuery),
    responses((status = 200, body = Worker), (status = "default", body = Problem)))]
async fn resume(
    State(shell): State<Shell>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Params(query): Params<WriteQuery>,
) -> Result<Json<Worker>, Fault> {
    set_paused(shell, caller, &name, query, Paused::No).await
}

/// Makes an identity with a key of its own: with an enrolment token, which is used up by it, or as
/// an administrator. The same name with the same key again is fine without any token, so that an
/// answer that got lost can be asked for again. Another key for a name that is taken is refused,
/// except to an administrator.
#[utoipa::path(post, path = "/workers/enrol", tag = "workers", params(PageQuery), request_body = Enrol,
    responses((status = 200, body = Enrolled), (status = "default", body = Problem)))]
async fn enrol(
    State(shell): State<Shell>,
    Params(_query): Params<PageQuery>,
    headers: HeaderMap,
    Doc(enrol): Doc<Enrol>,
) -> Result<Json<Enrolled>, Fault> {
    let worker = worker_name(&enrol.name)?;
    let key = enrol.key.to_lowercase();
    if key.len() != 64 || !key.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Fault::field("key", "`key` must be 64 hexadecimal digits: 32 random bytes."));
    }
    let key = secret_hash(&enrol.key);
    let name = worker.clone();
    let known = shell.read(move |store| Ok(store.workers()?.into_iter().find(|row| row.name == name))).await?;
    let same = |row: &WorkerRow| blake3::Hash::from_bytes(row.key) == blake3::Hash::from_bytes(key);
    if known.as_ref().is_some_and(same) {
        return Ok(Json(Enrolled { name: worker.to_string() }));
    }
    let caller = auth::caller(&shell, &headers).await?;
    let token = match &caller.role {
        Role::Admin => None,
        Role::Enrol(_) if known.is_some() => {
            return Err(Fault::forbidden(format!(
                "The worker name `{worker}` is taken by another key. Take another name by `--identity`, or enrol with the administrator's token."
            )));
        }
        Role::Enrol(hash) => Some(*hash),
        Role::Attempt(_) => return Err(Fault::forbidden("An attempt's token enrols no worker.")),
    };
    let reply = shell.ask(caller.actor, Request::Enrol { token, worker: worker.clone(), key }).await;
    shell.tokens_changed();
    match reply? {
        Answer::Enrolled(_) => Ok(Json(Enrolled { name: worker.to_string() })),
        other => Err(unexpected("enrol the worker", &other)),
    }
}
