//! `/events`: every change as server-sent events, resumable by the last one's id, without gap or
//! repeat.

mod feed;

use std::convert::Infallible;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use bowline_api::{EventId, EventQuery, Problem};
use bowline_core::id::{RunId, TaskRef};
use bowline_core::name::Namespace;
use bowline_core::row::{HistoryRow, Subject};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{Params, run_id, sentence, task_id};
use super::fault::Fault;
use super::shell::Shell;
use super::show;
use crate::auth::Caller;
use feed::{Feed, Item};

/// How often a stream without events says that it is there.
const KEEPALIVE: Duration = Duration::from_secs(15);

pub(super) fn routes() -> OpenApiRouter<Shell> {
    OpenApiRouter::new().routes(routes!(events))
}

/// Which events.
struct Filter {
    namespace: Option<Namespace>,
    task: Option<TaskRef>,
    run: Option<RunId>,
}

impl Filter {
    /// Whether an event is asked for.
    async fn wants(&self, shell: &Shell, event: &HistoryRow) -> Result<bool, Fault> {
        if self.namespace.is_some() && self.namespace != event.namespace {
            return Ok(false);
        }
        if let Some(wanted) = self.task {
            let same = |task: &TaskRef| *task == wanted || (wanted.index.is_none() && task.task == wanted.task);
            return Ok(matches!(&event.subject, Subject::Task(task) if same(task)));
        }
        let Some(wanted) = self.run else { return Ok(true) };
        match &event.subject {
            Subject::Run(run) => Ok(*run == wanted),
            Subject::Task(task) => Ok(shell.run_of(task.task).await? == Some(wanted)),
            Subject::Worker(_) | Subject::Namespace(_) | Subject::Resource(_) => Ok(false),
        }
    }
}

/// Every change, as server-sent events. Each has an `id`; `Last-Event-ID` (or `after`) goes on after
/// it, and is answered with 410 where what was missed is no longer kept. The first message carries
/// only the place from which on all is told.
#[utoipa::path(get, path = "/events", tag = "events",
    params(EventQuery, ("last-event-id" = Option<String>, Header, description = "Go on after this event")),
    responses((status = 200, content_type = "text/event-stream", body = bowline_api::Event),
        (status = 410, description = "What was missed is no longer kept", body = Problem), (status = "default", body = Problem)))]
async fn events(
    State(shell): State<Shell>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    Params(query): Params<EventQuery>,
) -> Result<Response, Fault> {
    let filter = Filter {
        namespace: caller.read_some(query.namespace.as_deref())?,
        task: query.task.as_deref().map(task_id).transpose()?,
        run: query.run.as_deref().map(run_id).transpose()?,
    };
    let after = headers.get("last-event-id").map(|id| id.to_str().unwrap_or_default().to_owned()).or(query.after);
    let after: Option<EventId> = after
        .map(|id| {
            id.parse().map_err(|error: bowline_api::event::BadEventId| Fault::invalid(sentence(&error.to_string())))
        })
        .transpose()?;
    let feed = Feed::open(shell.clone(), after).await?;
    let start = SseEvent::default().id(feed.last().to_string());
    let stream = futures::stream::unfold(Some((Some(start), feed, filter)), |state| async move {
        let (start, mut feed, filter) = state?;
        if let Some(start) = start {
            return Some((Ok::<_, Infallible>(start), Some((None, feed, filter))));
        }
        let event = next(&mut feed, &filter).await?;
        Some((Ok(event), Some((None, feed, filter))))
    });
    let keepalive = KeepAlive::new().interval(KEEPALIVE).text("here");
    let mut response = Sse::new(stream).keep_alive(keepalive).into_response();
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// The next event that is asked for. The stream ends where it cannot go on: its reader comes again
/// with the last id, and is told then what is the matter.
async fn next(feed: &mut Feed, filter: &Filter) -> Option<SseEvent> {
    loop {
        let Item { id, row } = feed.next().await.ok().flatten()?;
        if filter.wants(feed.shell(), &row).await.ok()? {
            let event = show::event(id, &row);
            return SseEvent::default().id(event.id.clone()).event(event.kind.name()).json_data(&event).ok();
        }
    }
}

/// What was missed is no longer kept.
fn gone() -> Fault {
    Fault::new(
        StatusCode::GONE,
        "events_gone",
        "The events after that place are no longer kept, or never were in this store. Read the current state, and listen anew without `Last-Event-ID`.",
    )
}
