//! New tasks: one, or many of which all are taken or none.

use axum::Extension;
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use bowline_api::resolve;
use bowline_api::{NewGang, NewTask, Problem, Submit, SubmitQuery, Submitted};
use bowline_core::answer::{Answer, Replayed};
use bowline_core::gang::Terms;
use bowline_core::id::TaskRef;
use bowline_core::input::{DryRun, NewTask as CoreTask, Request, Strict, Submit as CoreSubmit};
use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::api::extract::{Params, Payload, document, idempotency_key};
use crate::api::fault::Fault;
use crate::api::shell::{Shell, unexpected};
use crate::auth::Caller;

/// Bytes of a body that is read where it arrived: that takes some microseconds, and a thread for what blocks is two
/// wake-ups away.
const READ_AT_ONCE_MAX: usize = 8 << 10;

/// Whether a body is one task or many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    One,
    Many,
}

/// Submits a task, or with `{"tasks": […]}` up to 10,000 of them: all are taken or none, in one
/// commit. Under an `Idempotency-Key` it is done once, however often it is sent.
#[utoipa::path(post, path = "/tasks", tag = "tasks", params(SubmitQuery), request_body = NewTask,
    responses((status = 201, body = Submitted), (status = 200, description = "Made earlier under the same key, or a dry run", body = Submitted),
        (status = "default", body = Problem)))]
pub(super) async fn submit(
    State(shell): State<Shell>,
    Extension(caller): Extension<Caller>,
    Params(query): Params<SubmitQuery>,
    headers: HeaderMap,
    Payload(body): Payload,
) -> Result<(StatusCode, Json<Submitted>), Fault> {
    let namespace = caller.submit(query.namespace.as_deref())?;
    let key = idempotency_key(&headers, &body)?;
    let (form, tasks, said, gang) = match body.len() {
        ..=READ_AT_ONCE_MAX => parse(&body)?,
        _ => shell.blocking("read the tasks", move || parse(&body)).await?,
    };
    let dry_run = if query.dry_run == Some(true) { DryRun::Yes } else { DryRun::No };
    let strict = if said.or(query.strict) == Some(true) { Strict::Yes } else { Strict::No };
    let submit = CoreSubmit { namespace, tasks, key, dry_run, strict };
    let request = match gang {
        Some(terms) => Request::SubmitGang(submit, terms),
        None => Request::Submit(submit),
    };
    match shell.ask(caller.actor, request).await? {
        Answer::Submitted { tasks, replayed, warnings } => {
            let ids: Vec<TaskRef> = tasks.into_iter().map(TaskRef::whole).collect();
            let id = ids.first().copied().filter(|_| form == Form::One);
            let made = replayed == Replayed::No && dry_run == DryRun::No;
            let status = if made { StatusCode::CREATED } else { StatusCode::OK };
            Ok((status, Json(Submitted { id, ids, replayed: replayed == Replayed::Yes, warnings })))
        }
        other => Err(unexpected("submit", &other)),
    }
}

/// Whether it is one or many, the tasks, what the document says about `strict`, and whether they are a gang.
type Parsed = (Form, Vec<CoreTask>, Option<bool>, Option<Terms>);

fn parse(body: &Bytes) -> Result<Parsed, Fault> {
    if is_many(body) {
        let submit: Submit = document(body)?;
        let gang = submit.gang.map(NewGang::resolve).transpose().map_err(Fault::mistakes)?;
        return Ok((Form::Many, resolve::many(&submit.tasks)?, submit.strict, gang));
    }
    let task: NewTask = document(body)?;
    Ok((Form::One, vec![resolve::one(&task)?], None, None))
}

/// A document with `tasks` in it is many. One that cannot be read is told about as one task.
fn is_many(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Probe {
        tasks: Option<IgnoredAny>,
    }
    serde_json::from_slice::<Probe>(body).is_ok_and(|probe| probe.tasks.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_and_many_are_told_apart() {
        let parse = |body: &'static str| parse(&Bytes::from_static(body.as_bytes()));
        let (form, tasks, _, _) = parse(r#"{"action":"noop"}"#).unwrap();
        assert_eq!((form, tasks.len()), (Form::One, 1));
        let (form, tasks, strict, _) = parse(r#"{"tasks":[{"action":"noop"}],"strict":true}"#).unwrap();
        assert_eq!((form, tasks.len(), strict), (Form::Many, 1, Some(true)));
        for wrong in ["", "[]", "{}", r#"{"tasks":[]}"#, r#"{"tasks":3}"#, r#"{"tasks":[{}],"x":1}"#] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
