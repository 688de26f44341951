//! The REST interface and everything else that is served over HTTP.

use axum::Router;

use crate::state::AppState;

/// All routes of the HTTP side, with their own fallback.
pub fn router(state: AppState) -> Router {
    Router::new().with_state(state)
}
