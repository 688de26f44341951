//! The REST interface and everything else that is served over HTTP: routes, their order of checks,
//! and the description of it all at `/openapi.json` and `/docs`.
//!
//! Every request passes, from the outside in: the count for metrics, a catch for panics, the check
//! of `Host` and `Origin`; and below `/api/v1` the check of its token ([`crate::auth`]).

mod artifacts;
mod backups;
mod blobs;
mod changes;
mod describe;
mod events;
mod extract;
pub(crate) mod fault;
mod find;
mod gang;
mod logs;
mod namespaces;
mod resources;
mod runs;
pub(crate) mod shell;
mod show;
mod system;
mod tasks;
mod vitals;
mod workers;
mod workflows;

use std::sync::LazyLock;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use serde_json::Value;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_swagger_ui::SwaggerUi;

use crate::auth::{Guard, authenticate, guard};
use crate::metrics;
use crate::state::AppState;
use describe::described;
use fault::Fault;
use shell::Shell;

#[derive(OpenApi)]
#[openapi(info(
    title = "Bowline",
    description = "Tasks, runs and workers of a Bowline server. Errors are `application/problem+json` with a stable `code`; writes take `Idempotency-Key` where they make something, and `?dry_run=true`."
))]
struct Base;

/// All routes of the HTTP side, with their own fallback.
pub fn router(state: AppState) -> Router {
    router_with(state, Router::new())
}

/// The same with further routes, which pass the same checks of `Host` and `Origin` and bring their
/// own of who may come in.
pub(crate) fn router_with(state: AppState, more: Router) -> Router {
    let guarded = Guard::new(&state);
    let shell = Shell::new(state);
    let docs = SwaggerUi::new("/docs").external_url_unchecked("/openapi.json", DESCRIPTION.clone());
    let http = std::sync::Arc::clone(&shell.http);
    let checked = closed().route_layer(from_fn_with_state(shell.clone(), authenticate));
    Router::from(nested(checked))
        .route("/", get(system::root))
        .route("/healthz", get(system::healthz))
        .route("/readyz", get(system::readyz))
        .route("/metrics", get(system::show_metrics))
        .method_not_allowed_fallback(system::wrong_method)
        .with_state(shell)
        .merge(docs)
        .merge(more)
        .fallback(system::nothing_here)
        .layer(from_fn_with_state(guarded, guard))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(http, metrics::count))
}

/// The description of the REST interface, as `/openapi.json` shows it.
pub fn description() -> Value {
    described(nested(closed()).into_openapi())
}

/// The same for every server of a process, which makes it once.
static DESCRIPTION: LazyLock<Value> = LazyLock::new(description);

/// What wants a token.
fn closed() -> OpenApiRouter<Shell> {
    tasks::routes()
        .merge(runs::routes())
        .merge(workflows::routes())
        .merge(workers::routes())
        .merge(resources::routes())
        .merge(namespaces::routes())
        .merge(gang::routes())
        .merge(system::routes())
        .merge(backups::routes())
        .merge(events::routes())
        .merge(blobs::routes())
}

fn nested(closed: OpenApiRouter<Shell>) -> OpenApiRouter<Shell> {
    OpenApiRouter::with_openapi(Base::openapi()).nest("/api/v1", closed.merge(workers::enrol_route()))
}

/// A handler panicked: a mistake of ours, which costs this one request.
#[expect(clippy::needless_pass_by_value, reason = "the layer's signature")]
fn panicked(cause: Box<dyn std::any::Any + Send + 'static>) -> axum::response::Response {
    let text = cause.downcast_ref::<String>().map(String::as_str).or_else(|| cause.downcast_ref::<&str>().copied());
    tracing::error!(cause = text.unwrap_or("unknown"), "a request panicked");
    axum::response::IntoResponse::into_response(Fault::broken("answer the request"))
}
