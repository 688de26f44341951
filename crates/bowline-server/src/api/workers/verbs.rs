//! What can be done with workers, one or many: pause and resume, drain and undrain, forget.

use std::time::Duration;

use axum::Extension;
use axum::Json;
use axum::extract::{Path, State};
use bowline_api::{
    DrainRequest, Problem, Worker, WorkerBulk, WorkerBulkAnswer, WorkerBulkItem, WorkerFilter, WorkerVerbName,
    WriteQuery,
};
use bowline_core::answer::{Answer, Refusal};
use bowline_core::input::Request;
use bowline_core::message::{Drain, DrainMode, Exit, Paused};
use bowline_core::name::WorkerName;
use bowline_core::row::WorkerRow;
use bowline_core::spec::{Requirement, SUBMIT_TASKS_MAX};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{no_worker, one, worker_name};
use crate::api::extract::{Doc, MaybeDoc, Params, sentence};
use crate::api::fault::Fault;
use crate::api::shell::{Shell, unexpected};
use crate::auth::Caller;

/// Longest `within` of a drain: a year.
const WITHIN_MAX: Duration = Duration::from_hours(24 * 365);

pub(super) fn routes() -> OpenApiRouter<Shell> {
    OpenApiRouter::new()
        .routes(routes!(pause))
        .routes(routes!(resume))
        .routes(routes!(drain))
        .routes(routes!(undrain))
        .routes(routes!(forget))
        .routes(routes!(bulk))
}

/// A verb with all that goes with it.
#[derive(Debug, Clone, Copy)]
enum Verb {
    Pause(Paused),
    Drain(Drain),
    Undrain,
    Forget,
}

impl Verb {
    fn request(self, worker: WorkerName) -> Request {
        match self {
            Self::Pause(paused) => Request::PauseWorker { worker, paused },
            Self::Drain(drain) => Request::DrainWorker { worker, drain },
            Self::Undrain => Request::UndrainWorker { worker },
            Self::Forget => Request::ForgetWorker { worker },
        }
    }
}

fn how(request: DrainRequest) -> Result<Drain, Fault> {
    let exit = match (request.mode, request.exit) {
        (DrainMode::Handoff, Some(false)) => {
            return Err(Fault::field("exit", "A worker that hands its attempts over always exits. Leave `exit` out."));
        }
        (DrainMode::Handoff, Some(true) | None) | (_, Some(true)) => Exit::Yes,
        (_, Some(false) | None) => Exit::No,
    };
    match (request.mode, request.within) {
        (DrainMode::Finish, Some(within)) if within.0 > WITHIN_MAX => {
            Err(Fault::field("within", "`within` must be at most 365d. Leave it out for no limit."))
        }
        (DrainMode::Release | DrainMode::Handoff, Some(_)) => {
            Err(Fault::field("within", "`within` goes with the mode `finish` only. Leave it out."))
        }
        (mode, within) => Ok(Drain { mode, within: within.map(|span| span.0), exit }),
    }
}

/// One verb on one worker; what comes back is the worker after it.
async fn act(shell: Shell, caller: Caller, name: &str, query: WriteQuery, verb: Verb) -> Result<Json<Worker>, Fault> {
    caller.administer()?;
    let worker = worker_name(name)?;
    let before = one(&shell, &caller, name).await?;
    if query.dry_run == Some(true) {
        return Ok(Json(before));
    }
    done(shell.ask(caller.actor.clone(), verb.request(worker)).await?)?;
    match verb {
        // Nobody is there any more.
        Verb::Forget => Ok(Json(before)),
        Verb::Pause(_) | Verb::Drain(_) | Verb::Undrain => one(&shell, &caller, name).await.map(Json),
    }
}

fn done(answer: Answer) -> Result<(), Fault> {
    match answer {
        Answer::Done => Ok(()),
        other => Err(unexpected("act on the worker", &other)),
    }
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
    act(shell, caller, &name, query, Verb::Pause(Paused::Yes)).await
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
    act(shell, caller, &name, query, Verb::Pause(Paused::No)).await
}

/// Lets it go of everything, in one of three ways, and gives it nothing until it is undrained. What it
/// still holds is in the answer, and in `GET /workers/{name}`; `drain.done` says that it holds nothing.
/// The same again, or another way, takes the place of what was said before.
#[utoipa::path(post, path = "/workers/{name}/drain", tag = "workers", params(("name" = String, Path), WriteQuery),
    request_body = DrainRequest, responses((status = 200, body = Worker), (status = "default", body = Problem)))]
async fn drain(
    State(shell): State<Shell>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Params(query): Params<WriteQuery>,
    MaybeDoc(request): MaybeDoc<DrainRequest>,
) -> Result<Json<Worker>, Fault> {
    act(shell, caller, &name, query, Verb::Drain(how(request)?)).await
}

/// Gives it work again, after a drain or after it was put aside.
#[utoipa::path(post, path = "/workers/{name}/undrain", tag = "workers", params(("name" = String, Path), WriteQuery),
    responses((status = 200, body = Worker), (status = "default", body = Problem)))]
async fn undrain(
    State(shell): State<Shell>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Params(query): Params<WriteQuery>,
) -> Result<Json<Worker>, Fault> {
    act(shell, caller, &name, query, Verb::Undrain).await
}

/// Removes an identity for good. Whoever says so vouches that nothing of it runs any more: its attempts
/// are lost, and their tasks go on as after any loss. The answer is the worker as it was.
#[utoipa::path(post, path = "/workers/{name}/forget", tag = "workers", params(("name" = String, Path), WriteQuery),
    responses((status = 200, body = Worker), (status = "default", body = Problem)))]
async fn forget(
    State(shell): State<Shell>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Params(query): Params<WriteQuery>,
) -> Result<Json<Worker>, Fault> {
    act(shell, caller, &name, query, Verb::Forget).await
}

/// One verb on many workers, named or chosen by a filter. With `dry_run` it says which it would touch,
/// and touches none.
#[utoipa::path(post, path = "/workers/bulk", tag = "workers", params(WriteQuery), request_body = WorkerBulk,
    responses((status = 200, body = WorkerBulkAnswer), (status = "default", body = Problem)))]
async fn bulk(
    State(shell): State<Shell>,
    Extension(caller): Extension<Caller>,
    Params(query): Params<WriteQuery>,
    Doc(bulk): Doc<WorkerBulk>,
) -> Result<Json<WorkerBulkAnswer>, Fault> {
    caller.administer()?;
    let verb = verb_of(&bulk)?;
    let dry_run = bulk.dry_run || query.dry_run == Some(true);
    let rows = shell.read(|store| Ok(store.workers()?)).await?;
    let mut items = Vec::new();
    for chosen in choose(bulk, &rows)? {
        let item = match chosen {
            Ok(worker) if dry_run => Ok(worker),
            Ok(worker) => ask(&shell, &caller, worker, verb).await?,
            Err(name) => Err((name.clone(), "not_found".to_owned(), no_worker(&name).detail().to_owned())),
        };
        items.push(match item {
            Ok(worker) => WorkerBulkItem { name: worker.to_string(), code: None, message: None },
            Err((name, code, message)) => WorkerBulkItem { name, code: Some(code), message: Some(message) },
        });
    }
    let refused = items.iter().filter(|item| item.code.is_some()).count() as u64;
    Ok(Json(WorkerBulkAnswer { touched: items.len() as u64 - refused, refused, dry_run, items }))
}

/// A worker that was refused: its name, the code, and why.
type Refused = (String, String, String);

/// What the leader refuses is told beside the worker; that nobody leads ends the whole.
async fn ask(
    shell: &Shell,
    caller: &Caller,
    worker: WorkerName,
    verb: Verb,
) -> Result<Result<WorkerName, Refused>, Fault> {
    use bowline_core::answer::RefusalCode::{Busy, NotLeading, RolledBack};
    match shell.app.leader.request(caller.actor.clone(), verb.request(worker.clone())).await {
        Ok(answer) => done(answer).map(|()| Ok(worker)),
        Err(refusal) if matches!(refusal.code, Busy | NotLeading | RolledBack) => Err(refusal.into()),
        Err(Refusal { code, message }) => Ok(Err((worker.to_string(), code.name().to_owned(), message))),
    }
}

fn verb_of(bulk: &WorkerBulk) -> Result<Verb, Fault> {
    match (bulk.verb, bulk.drain) {
        (WorkerVerbName::Drain, drain) => Ok(Verb::Drain(how(drain.unwrap_or_default())?)),
        (_, Some(_)) => Err(Fault::field("drain", "`drain` goes with the verb `drain` only. Leave it out.")),
        (WorkerVerbName::Pause, None) => Ok(Verb::Pause(Paused::Yes)),
        (WorkerVerbName::Resume, None) => Ok(Verb::Pause(Paused::No)),
        (WorkerVerbName::Undrain, None) => Ok(Verb::Undrain),
        (WorkerVerbName::Forget, None) => Ok(Verb::Forget),
    }
}

/// Each worker that is meant; a name that nobody has comes back as it is.
fn choose(bulk: WorkerBulk, rows: &[WorkerRow]) -> Result<Vec<Result<WorkerName, String>>, Fault> {
    match (bulk.names.is_empty(), bulk.filter) {
        (false, None) if bulk.names.len() <= SUBMIT_TASKS_MAX => {
            let known = |name: String| match rows.iter().find(|row| row.name.as_str() == name) {
                Some(row) => Ok(row.name.clone()),
                None => Err(name),
            };
            Ok(bulk.names.into_iter().map(known).collect())
        }
        (false, None) => Err(Fault::too_large(format!("`names` may hold at most {SUBMIT_TASKS_MAX} names at a time."))),
        (true, Some(filter)) => matching(&filter, rows),
        (true, None) => Err(Fault::invalid(
            "Nothing says which workers. Give `names`, or `filter`; an empty `filter` means all that there are.",
        )),
        (false, Some(_)) => Err(Fault::field("filter", "Give only one of `names` and `filter`.")),
    }
}

fn matching(filter: &WorkerFilter, rows: &[WorkerRow]) -> Result<Vec<Result<WorkerName, String>>, Fault> {
    let wanted = filter.capabilities.iter().map(|text| {
        text.parse::<Requirement>().map_err(|error| Fault::field("filter.capabilities", sentence(&error.to_string())))
    });
    let wanted: Vec<Requirement> = wanted.collect::<Result<_, _>>()?;
    let has =
        |row: &WorkerRow, requirement: &Requirement| row.offer.as_ref().is_some_and(|offer| offer.has(requirement));
    let fits = |row: &&WorkerRow| {
        let pool = filter.pool.as_ref().is_none_or(|pool| row.pool.as_ref().is_some_and(|own| own.as_str() == pool));
        pool && wanted.iter().all(|requirement| has(row, requirement))
    };
    Ok(rows.iter().filter(fits).map(|row| Ok(row.name.clone())).collect())
}

#[cfg(test)]
mod tests {
    use bowline_core::time::Span;

    use super::*;

    fn request(mode: DrainMode, within: Option<u64>, exit: Option<bool>) -> DrainRequest {
        DrainRequest { mode, within: within.map(|seconds| Span(Duration::from_secs(seconds))), exit }
    }

    #[test]
    fn a_handoff_always_exits_and_only_finish_has_an_end() {
        assert_eq!(how(request(DrainMode::Handoff, None, None)).unwrap().exit, Exit::Yes);
        assert_eq!(how(request(DrainMode::Finish, Some(5), None)).unwrap().exit, Exit::No);
        assert_eq!(how(request(DrainMode::Release, None, Some(true))).unwrap().exit, Exit::Yes);
        assert!(how(request(DrainMode::Handoff, None, Some(false))).is_err());
        assert!(how(request(DrainMode::Handoff, Some(5), None)).is_err());
        assert!(how(request(DrainMode::Release, Some(5), None)).is_err());
        assert!(how(request(DrainMode::Finish, Some(40_000_000), None)).is_err());
    }
}
