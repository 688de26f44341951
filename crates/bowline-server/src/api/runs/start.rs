//! New runs.

use std::sync::Arc;

use axum::Extension;
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use bowline_api::{Mistake, NewRun, Problem, RunStarted, WriteQuery};
use bowline_core::answer::{Answer, Replayed};
use bowline_core::input::{Request, StartRun, Strict};
use bowline_core::name::Namespace;
use bowline_workflow::{Diagnostic, Style, WORKFLOW_BYTES_MAX, check};

use crate::api::extract::{Params, Payload, document, idempotency_key, sentence};
use crate::api::fault::Fault;
use crate::api::shell::{Shell, unexpected};
use crate::api::show::run_text;
use crate::auth::Caller;

/// Largest inputs of a run, as JSON, in bytes. 1 MiB.
const INPUTS_BYTES_MAX: usize = 1 << 20;

/// Starts a run of a workflow. All mistakes of the file come back at once, each with its place.
#[utoipa::path(post, path = "/runs", tag = "runs", params(WriteQuery), request_body = NewRun,
    responses((status = 201, body = RunStarted), (status = 200, description = "Started earlier under the same key, or a dry run", body = RunStarted),
        (status = "default", body = Problem)))]
pub(super) async fn start(
    State(shell): State<Shell>,
    Extension(caller): Extension<Caller>,
    Params(query): Params<WriteQuery>,
    headers: HeaderMap,
    Payload(body): Payload,
) -> Result<(StatusCode, Json<RunStarted>), Fault> {
    let namespace = caller.submit(query.namespace.as_deref())?;
    let key = idempotency_key(&headers, &body)?;
    let mut new = shell.blocking("check the workflow", move || prepare(document(&body)?, namespace)).await?;
    if query.dry_run == Some(true) {
        return Ok((StatusCode::OK, Json(RunStarted { id: None, replayed: false, warnings: Vec::new() })));
    }
    new.key = key;
    match shell.ask(caller.actor, Request::StartRun(new)).await? {
        Answer::RunStarted { run, replayed, warnings } => {
            let replayed = replayed == Replayed::Yes;
            let status = if replayed { StatusCode::OK } else { StatusCode::CREATED };
            Ok((status, Json(RunStarted { id: Some(run_text(run)), replayed, warnings })))
        }
        other => Err(unexpected("start the run", &other)),
    }
}

/// Checks the file and its inputs.
fn prepare(run: NewRun, namespace: Namespace) -> Result<StartRun, Fault> {
    if run.workflow.len() > WORKFLOW_BYTES_MAX {
        return Err(Fault::too_large(format!(
            "The workflow file has {} bytes, and at most {WORKFLOW_BYTES_MAX} (1 MiB) are taken.",
            run.workflow.len()
        )));
    }
    let file = run.file.as_deref().unwrap_or("workflow.yaml");
    let workflow = check(file, &run.workflow)
        .map_err(|found| Fault::mistakes(found.iter().map(|one| mistake(one, file, &run.workflow)).collect()))?;
    let given = run.inputs.into_iter().collect();
    let inputs = workflow.inputs(&given).map_err(|errors| {
        let mistake = |error: bowline_workflow::InputError| {
            Mistake::field(format!("inputs.{}", error.name), sentence(&error.message))
        };
        Fault::mistakes(errors.into_iter().map(mistake).collect())
    })?;
    let inputs = inputs.to_string();
    if inputs.len() > INPUTS_BYTES_MAX {
        return Err(Fault::too_large(format!(
            "The inputs have {} bytes, and at most {INPUTS_BYTES_MAX} (1 MiB) are taken. Keep large data in files, and name them.",
            inputs.len()
        )));
    }
    let mut graph = workflow.graph();
    let asks = run.resources.iter().enumerate().map(|(at, ask)| ask.resolve(&format!("resources[{at}]")));
    graph.asks.extend(asks.collect::<Result<Vec<_>, _>>().map_err(|mistake| Fault::mistakes(vec![*mistake]))?);
    Ok(StartRun {
        namespace,
        workflow: workflow.name().clone(),
        source: run.workflow.into(),
        inputs: inputs.into(),
        graph: Arc::new(graph),
        key: None,
        strict: if run.strict == Some(true) { Strict::Yes } else { Strict::No },
    })
}

fn mistake(found: &Diagnostic, file: &str, text: &str) -> Mistake {
    Mistake {
        message: sentence(&found.message),
        path: None,
        file: Some(file.to_owned()),
        line: u32::try_from(found.line).ok(),
        column: u32::try_from(found.column).ok(),
        suggestion: found.help.clone(),
        rendered: Some(found.render(file, text, Style::Plain)),
    }
}
