//! The server itself: version, queue, pauses, tokens; and what is open to all: health and readiness.

use axum::Extension;
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{Html, IntoResponse, Response};
use bowline_api::{
    Lane, List, NewToken, PageQuery, PauseRequest, PausedNamespace, Problem, Queue, Token, TokenIssued, Version,
    WriteQuery, from_core_time,
};
use bowline_core::answer::{Answer, Connection, Overview};
use bowline_core::input::{Request, Token as CoreToken, TokenRole};
use bowline_core::message::Paused;
use bowline_core::name::{Namespace, PoolName};
use bowline_core::row::PauseMark;
use bowline_leader::LeaderStatus;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{Doc, MaybeDoc, Params, sentence};
use super::fault::Fault;
use super::shell::{Shell, unexpected};
use super::show;
use crate::auth::{self, Caller, secret_hash};
use crate::clock;
use crate::config::Exposure;
use crate::metrics;

/// Longest name of a token, in bytes.
const TOKEN_NAME_BYTES_MAX: usize = 128;

pub(super) fn routes() -> OpenApiRouter<Shell> {
    OpenApiRouter::new()
        .routes(routes!(queue))
        .routes(routes!(version))
        .routes(routes!(pause))
        .routes(routes!(resume))
        .routes(routes!(create_token, tokens))
}

/// Counts as they are now, by state and by lane: cheap, for autoscalers and for one screen.
#[utoipa::path(get, path = "/queue", tag = "system", params(PageQuery),
    responses((status = 200, body = Queue), (status = "default", body = Problem)))]
async fn queue(
    State(shell): State<Shell>,
    Extension(caller): Extension<Caller>,
    Params(_query): Params<PageQuery>,
) -> Result<Json<Queue>, Fault> {
    caller.look_around()?;
    let overview = shell.overview(caller.actor.clone()).await?;
    Ok(Json(queue_document(&overview)))
}

fn queue_document(overview: &Overview) -> Queue {
    let now = clock::wall();
    let connected = || overview.workers.iter().filter(|worker| worker.connection == Connection::Connected);
    let lane = |lane: &bowline_core::answer::LaneView| Lane {
        name: lane.name.clone(),
        ready: lane.ready,
        oldest_ready_at: lane.oldest_ready_at.map(from_core_time),
        oldest_age_seconds: lane.oldest_ready_at.map(|oldest| now.since(oldest).as_secs_f64()),
    };
    Queue {
        states: overview.states.iter().map(|(state, count)| (state.name().to_owned(), *count)).collect(),
        lanes: overview.lanes.iter().map(lane).collect(),
        runs: overview.runs,
        workers_connected: connected().count() as u64,
        workers: overview.workers.len() as u64,
        slots: connected().filter_map(|worker| worker.offer.as_ref()).map(|offer| u64::from(offer.room.slots)).sum(),
        slots_used: connected().map(|worker| u64::from(worker.used.slots)).sum(),
        paused: overview.paused.iter().map(paused_namespace).collect(),
        all_paused: show::paused(overview.all_paused.as_ref()),
    }
}

fn paused_namespace((namespace, mark): &(Namespace, PauseMark)) -> PausedNamespace {
    PausedNamespace { namespace: namespace.to_string(), by: mark.by.0.to_string(), since: from_core_time(mark.since) }
}

/// What answers, and how its leadership stands.
#[utoipa::path(get, path = "/version", tag = "system", params(PageQuery),
    responses((status = 200, body = Version), (status = "default", body = Problem)))]
async fn version(State(shell): State<Shell>, Params(_query): Params<PageQuery>) -> Json<Version> {
    let status = shell.app.leader.status().borrow().clone();
    let mut version = Version {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        api: "v1".to_owned(),
        status: "leading".to_owned(),
        epoch: None,
        generation: None,
        commit_no: None,
    };
    match status {
        LeaderStatus::Leading { epoch, generation, commit_no } => {
            version.epoch = Some(epoch.0);
            version.generation = Some(generation.0);
            version.commit_no = Some(commit_no.0);
        }
        LeaderStatus::RolledBack { .. } => "rolled_back".clone_into(&mut version.status),
        LeaderStatus::Loading(why) => version.status = format!("loading: {why}"),
    }
    Json(version)
}

async fn set_paused(
    shell: Shell,
    caller: Caller,
    query: WriteQuery,
    what: PauseRequest,
    paused: Paused,
) -> Result<Json<Queue>, Fault> {
    caller.administer()?;
    let namespace = what
        .namespace
        .map(|name| Namespace::new(name).map_err(|error| Fault::field("namespace", sentence(&error.to_string()))))
        .transpose()?;
    if query.dry_run != Some(true) {
        match shell.ask(caller.actor.clone(), Request::Pause { namespace, paused }).await? {
            Answer::Done => {}
            other => return Err(unexpected("pause", &other)),
        }
    }
    let overview = shell.overview(caller.actor).await?;
    Ok(Json(queue_document(&overview)))
}

/// Pauses a namespace, or everything: nothing of it is claimed. What runs, runs on.
#[utoipa::path(post, path = "/pause", tag = "system", params(WriteQuery), request_body = PauseRequest,
    responses((status = 200, body = Queue), (status = "default", body = Problem)))]
async fn pause(
    State(shell): State<Shell>,
    Extension(caller): Extension<Caller>,
    Params(query): Params<WriteQuery>,
    MaybeDoc(what): MaybeDoc<PauseRequest>,
) -> Result<Json<Queue>, Fault> {
    set_paused(shell, caller, query, what, Paused::Yes).await
}

/// Lets a namespace, or everything, go on.
#[utoipa::path(post, path = "/resume", tag = "system", params(WriteQuery), request_body = PauseRequest,
    responses((status = 200, body = Queue), (status = "default", body = Problem)))]
async fn resume(
    State(shell): State<Shell>,
    Extension(caller): Extension<Caller>,
    Params(query): Params<WriteQuery>,
    MaybeDoc(what): MaybeDoc<PauseRequest>,
) -> Result<Json<Queue>, Fault> {
    set_paused(shell, caller, query, what, Paused::No).await
}

/// Makes a token. The secret is in the answer, once; the server keeps only its hash.
#[utoipa::path(post, path = "/tokens", tag = "system", params(WriteQuery), request_body = NewToken,
    responses((status = 201, body = TokenIssued), (status = "default", body = Problem)))]
async fn create_token(
    State(shell): State<Shell>,
    Extension(caller): Extension<Caller>,
    Params(query): Params<WriteQuery>,
    Doc(new): Doc<NewToken>,
) -> Result<(StatusCode, Json<TokenIssued>), Fault> {
    caller.administer()?;
    if new.name.is_empty() || new.name.len() > TOKEN_NAME_BYTES_MAX || new.name.chars().any(char::is_control) {
        return Err(Fault::field(
            "name",
            format!("`name` must have 1 to {TOKEN_NAME_BYTES_MAX} bytes and no control characters."),
        ));
    }
    let pool = new.pool.as_deref().map(PoolName::new).transpose();
    let pool = pool.map_err(|error| Fault::field("pool", format!("{error}.")))?;
    match (new.role, &pool) {
        (TokenRole::Admin, None) | (TokenRole::Enrol, _) => {}
        (TokenRole::Admin, Some(_)) => {
            return Err(Fault::field("pool", "Only an enrolment token can be bound to a pool."));
        }
        (TokenRole::Member, _) => return Err(Fault::field("role", "`role` must be `enrol` or `admin`.")),
    }
    if query.dry_run == Some(true) {
        return Ok((StatusCode::OK, Json(TokenIssued { name: new.name, role: new.role, token: String::new() })));
    }
    let token = shell
        .blocking("make a token", || {
            crate::secrets::random_secret().map_err(|error| Fault::internal("make a token", &error))
        })
        .await?;
    let made = CoreToken { hash: secret_hash(&token), name: new.name.clone(), role: new.role, pool };
    let reply = shell.ask(caller.actor, Request::PutToken(made)).await;
    shell.tokens_changed();
    match reply? {
        Answer::Done => Ok((StatusCode::CREATED, Json(TokenIssued { name: new.name, role: new.role, token }))),
        other => Err(unexpected("make a token", &other)),
    }
}

/// All tokens, without their secrets. The one in the token file is not among them.
#[utoipa::path(get, path = "/tokens", tag = "system", params(PageQuery),
    responses((status = 200, body = List<Token>), (status = "default", body = Problem)))]
async fn tokens(
    State(shell): State<Shell>,
    Extension(caller): Extension<Caller>,
    Params(_query): Params<PageQuery>,
) -> Result<Json<List<Token>>, Fault> {
    caller.administer()?;
    let tokens = shell.tokens().await?;
    // A worker's key is no token, wherever it is kept.
    let issued = tokens.iter().filter(|token| token.role != TokenRole::Member);
    let document = |token: &CoreToken| Token {
        name: token.name.clone(),
        role: token.role,
        pool: token.pool.as_ref().map(ToString::to_string),
    };
    let items = issued.map(document).collect();
    Ok(Json(List { items, next_cursor: None }))
}

/// `/healthz`: the process answers.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// `/readyz`: it leads, and takes requests.
pub(super) async fn readyz(State(shell): State<Shell>) -> Result<&'static str, Fault> {
    match shell.app.leader.status().borrow().clone() {
        LeaderStatus::Leading { .. } => Ok("ready\n"),
        LeaderStatus::RolledBack { store, seen } => Err(Fault::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "rolled_back",
            format!(
                "The store is at commit {} of generation {}, and a worker has seen commit {} of generation {}: the store \
                 was put back to an earlier state. Put the newest copy back, or accept the earlier one by \
                 `bowline server accept-rollback`.",
                store.1, store.0, seen.1, seen.0
            ),
        )),
        LeaderStatus::Loading(why) => Err(Fault::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "not_leading",
            format!("The server is not ready: {why}. Try again in a moment."),
        )),
    }
}

/// `/`: where to go next.
pub(super) async fn root() -> Html<&'static str> {
    Html(
        "<!doctype html><html lang=en><meta charset=utf-8><title>Bowline</title><body><h1>Bowline</h1>\
         <p>This is a Bowline server. The REST interface is described at <a href=/docs/>/docs</a> \
         (<a href=/openapi.json>openapi.json</a>); on a command line, <code>bowline status</code> shows what goes on.</p>",
    )
}

/// `/metrics`: for Prometheus. Open where only this machine can ask; else for administrators.
pub(super) async fn show_metrics(State(shell): State<Shell>, headers: HeaderMap) -> Result<Response, Fault> {
    let open = shell.app.config.exposure == Exposure::Loopback && shell.app.local_addr.ip().is_loopback();
    if !open {
        auth::caller(&shell, &headers).await?.administer()?;
    }
    let text = metrics::scrape(&shell).await?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

/// Every address that nothing is at.
pub(super) async fn nothing_here(uri: Uri) -> Fault {
    let path: String = uri.path().chars().take(200).collect();
    Fault::not_found(format!("There is nothing at `{path}`. /docs shows what there is."))
}

/// An address that does not take this method.
pub(super) async fn wrong_method(method: Method, uri: Uri) -> Fault {
    let path: String = uri.path().chars().take(200).collect();
    Fault::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        format!("`{path}` does not take {method}. /docs shows what it takes."),
    )
}
