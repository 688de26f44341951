//! Workflows, as the runs of them carry them: what was run lately can be listed, and read as it ran.

use std::collections::BTreeMap;

use axum::Extension;
use axum::Json;
use axum::extract::{Path, State};
use bowline_api::{List, PageQuery, Problem, Workflow, from_core_time};
use bowline_core::row::RunRow;
use bowline_store::{ReadStore, RunFilter};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::Params;
use super::fault::Fault;
use super::shell::Shell;
use super::show::run_text;
use crate::auth::Caller;

/// Runs looked through, newest first.
const RUNS_LOOKED_MAX: usize = 10_000;
/// Runs read at a time.
const PAGE: usize = 1_000;

pub(super) fn routes() -> OpenApiRouter<Shell> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(get_one))
}

fn workflow(run: &RunRow) -> Workflow {
    Workflow {
        name: run.workflow.to_string(),
        namespace: run.namespace.to_string(),
        newest_run: run_text(run.id),
        newest_state: run.state.name().to_owned(),
        newest_started_at: from_core_time(run.started_at),
        source: None,
        steps: Vec::new(),
    }
}

/// The workflows of the newest 10,000 runs, by name.
#[utoipa::path(get, path = "/workflows", tag = "runs", params(PageQuery),
    responses((status = 200, body = List<Workflow>), (status = "default", body = Problem)))]
async fn list(
    State(shell): State<Shell>,
    Extension(caller): Extension<Caller>,
    Params(query): Params<PageQuery>,
) -> Result<Json<List<Workflow>>, Fault> {
    let namespace = caller.read_some(query.namespace.as_deref())?;
    let filter = RunFilter { namespace, ..RunFilter::default() };
    let items = shell.read(move |store| newest(store, &filter)).await?;
    Ok(Json(List { items, next_cursor: None }))
}

/// Of each workflow the newest run. Blocks.
fn newest(store: &dyn ReadStore, filter: &RunFilter) -> Result<Vec<Workflow>, Fault> {
    let mut known = BTreeMap::new();
    let mut cursor: Option<String> = None;
    let mut looked = 0;
    loop {
        let page = store.runs(filter, cursor.as_deref(), PAGE)?;
        looked += page.items.len();
        for run in &page.items {
            let key = (run.workflow.to_string(), run.namespace.to_string());
            known.entry(key).or_insert_with(|| workflow(run));
        }
        cursor = page.next;
        if cursor.is_none() || looked >= RUNS_LOOKED_MAX {
            return Ok(known.into_values().collect());
        }
    }
}

/// A workflow, with its text as its newest run keeps it.
#[utoipa::path(get, path = "/workflows/{name}", tag = "runs", params(("name" = String, Path), PageQuery),
    responses((status = 200, body = Workflow), (status = "default", body = Problem)))]
async fn get_one(
    State(shell): State<Shell>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Params(query): Params<PageQuery>,
) -> Result<Json<Workflow>, Fault> {
    let namespace = caller.read_some(query.namespace.as_deref())?;
    let found = shell
        .read(move |store| {
            let filter = RunFilter { namespace, workflow: Some(name.clone()), ..RunFilter::default() };
            let page = store.runs(&filter, None, 1)?;
            let run = page.items.into_iter().next().map(|run| store.run(run.id)).transpose()?.flatten();
            let run = run.ok_or_else(|| {
                let name: String = name.chars().take(128).collect();
                Fault::not_found(format!("No workflow `{name}` was run here. `bowline run FILE` runs one."))
            })?;
            let mut doc = workflow(&run.row);
            doc.source = Some(run.source.to_string());
            doc.steps = run.graph.nodes.iter().map(|node| node.name.to_string()).collect();
            Ok(doc)
        })
        .await?;
    Ok(Json(found))
}
