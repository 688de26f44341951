//! Why a run has not ended.

use axum::Extension;
use axum::Json;
use axum::extract::{Path, State};
use bowline_api::{PageQuery, Problem, RunExplanation, from_core_time};
use bowline_core::answer::{Answer, RefusalCode};
use bowline_core::id::RunId;
use bowline_core::input::Request;
use bowline_core::row::RunRow;

use crate::api::extract::{Params, run_id};
use crate::api::fault::Fault;
use crate::api::find;
use crate::api::shell::{Shell, unexpected};
use crate::auth::Caller;

/// Why it has not ended: each step that has not, with what its tasks wait for, in sums.
#[utoipa::path(get, path = "/runs/{id}/explain", tag = "runs", params(("id" = String, Path), PageQuery),
    responses((status = 200, body = RunExplanation), (status = "default", body = Problem)))]
pub(super) async fn explain(
    State(shell): State<Shell>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Params(query): Params<PageQuery>,
) -> Result<Json<RunExplanation>, Fault> {
    let namespace = caller.read(query.namespace.as_deref())?;
    let run = run_id(&id)?;
    let request = Request::ExplainRun { namespace: namespace.clone(), run };
    match shell.app.leader.request(caller.actor, request).await {
        Ok(Answer::RunExplained(explained)) => Ok(Json(bowline_api::why::run(&explained))),
        Ok(other) => Err(unexpected("explain the run", &other)),
        // The engine knows those alone that have not ended.
        Err(refusal) if refusal.code == RefusalCode::NotFound => {
            let found = shell.read(move |store| find::run(store, run, Some(&namespace))).await?;
            Ok(Json(ended(run, &found.row, found.nodes.len())))
        }
        Err(refusal) => Err(refusal.into()),
    }
}

fn ended(run: RunId, row: &RunRow, steps: usize) -> RunExplanation {
    RunExplanation {
        run: format!("r{run}"),
        state: row.state.name().to_owned(),
        ended: row.state.is_ended(),
        since: from_core_time(row.started_at),
        reasons: Vec::new(),
        steps: Vec::new(),
        steps_ended: steps as u64,
    }
}
