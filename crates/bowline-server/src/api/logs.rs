//! Logs: raw bytes from an offset, followed as they grow until they are sealed. Nothing is polled:
//! a follower is woken by the log itself, and by the leader's events about its task.

mod reader;
mod tail;

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bowline_api::{LogQuery, Problem};
use bowline_blob::{LogKey, LogState, LogStore, LogStream};
use bowline_core::id::{AttemptRef, TaskRef};
use bowline_core::name::Namespace;
use bowline_core::row::{AttemptRow, Subject};
use bowline_core::spec::Action;
use bowline_core::state::AttemptEnd;
use bowline_store::{AttemptFilter, ReadStore};
use bytes::Bytes;
use tokio::sync::watch;

use super::changes::{Changes, Woken};
use super::extract::{Params, task_id};
use super::fault::Fault;
use super::find;
use super::shell::Shell;
use crate::auth::Caller;
use reader::{Form, Reader, Which};

/// Most lines of a tail.
const TAIL_LINES_MAX: u64 = 100_000;
/// How long a follower waits for the rest of a program's log after its attempt has ended: logs come
/// in their own time.
const LATE: Duration = Duration::from_secs(30);

/// A log and what it is of.
struct Found {
    attempt: AttemptRow,
    /// Whether its action writes a log at all.
    writes: bool,
}

/// What there is of a log.
enum Looked {
    Found(Found),
    /// No attempt has been made.
    NotYet,
    /// None was made, and the task has ended.
    Never,
}

impl Found {
    /// Whether it ended, by the word of its worker, before anything began: then there is no log that could be sealed.
    fn never_began(&self) -> bool {
        let row = &self.attempt;
        match row.end {
            Some(AttemptEnd::Cancelled | AttemptEnd::Released | AttemptEnd::TimedOut) => row.started_at.is_none(),
            // What ran may have a log, and so may what comes back.
            Some(AttemptEnd::Succeeded | AttemptEnd::Failed | AttemptEnd::Lost | AttemptEnd::Superseded) | None => {
                false
            }
        }
    }
}

/// A log's raw bytes from an offset; a line in brackets stands for what is left out of it. The headers `Bowline-Attempt`, `Bowline-Log-Offset`,
/// `Bowline-Log-Length` and `Bowline-Log-Sealed` tell whose they are, where they begin, how many
/// there were at that moment, and whether more can come.
#[utoipa::path(get, path = "/tasks/{id}/logs", tag = "tasks", params(("id" = String, Path), LogQuery),
    responses((status = 200, content_type = "text/plain", body = String), (status = "default", body = Problem)))]
pub(super) async fn logs(
    State(shell): State<Shell>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Params(query): Params<LogQuery>,
) -> Result<Response, Fault> {
    let namespace = caller.read_some(query.namespace.as_deref())?;
    let id = task_id(&id)?;
    let stream = stream(query.stream.as_deref())?;
    let follow = query.follow == Some(true);
    let form = Form::of(query.frames, query.times);
    let found = match find_log(&shell, id, namespace, query.attempt, follow).await? {
        Looked::Found(found) => found,
        Looked::NotYet if shell.app.stopping.is_cancelled() => return Err(Fault::stopping()),
        Looked::NotYet => return Ok(nothing(form, "false")),
        Looked::Never => return Ok(nothing(form, "true")),
    };
    let which = Which { key: key(found.attempt.attempt), stream };
    let logs = Arc::clone(&shell.app.logs);
    let (state, offset) = shell.blocking("read the log", move || begin(&logs, which, &query)).await?;
    let headers = headers(&found, offset, state, form);
    let reader = Reader::new(shell, which, form, offset);
    let body = if follow && !state.is_sealed() { followed(reader, &found).await? } else { reader.until(state.length) };
    Ok((headers, body).into_response())
}

fn stream(text: Option<&str>) -> Result<LogStream, Fault> {
    match text {
        None | Some("out") => Ok(LogStream::Output),
        Some("err") => Ok(LogStream::Error),
        Some(_) => Err(Fault::field("stream", "`stream` must be `out` or `err`.")),
    }
}

fn key(attempt: AttemptRef) -> LogKey {
    LogKey {
        task: attempt.task.task.0,
        index: attempt.task.index,
        generation: attempt.fence.generation.0,
        attempt: attempt.fence.attempt.0,
    }
}

/// The attempt whose log is meant. Where there is none yet a follower waits for one.
async fn find_log(
    shell: &Shell,
    id: TaskRef,
    namespace: Option<Namespace>,
    attempt: Option<u32>,
    follow: bool,
) -> Result<Looked, Fault> {
    let mut changes = Changes::of(shell, Subject::Task(id), None);
    loop {
        let namespace = namespace.clone();
        let look = move |store: &dyn ReadStore| look(store, id, namespace.as_ref(), attempt);
        let (found, ended) = shell.read(look).await?;
        if found.is_some() || ended || !follow || changes.next().await == Woken::Over {
            return match (found, attempt) {
                (None, Some(attempt)) => Err(Fault::not_found(format!(
                    "Task {id} has no attempt {attempt}. `bowline task show {id}` tells how many there are."
                ))),
                (Some(found), _) => Ok(Looked::Found(found)),
                (None, None) if ended => Ok(Looked::Never),
                (None, None) => Ok(Looked::NotYet),
            };
        }
    }
}

/// The attempt, and whether none can come any more. Blocks.
fn look(
    store: &dyn ReadStore,
    id: TaskRef,
    namespace: Option<&Namespace>,
    attempt: Option<u32>,
) -> Result<(Option<Found>, bool), Fault> {
    let task = find::task(store, id, namespace)?;
    if task.row.array.is_some() && id.index.is_none() {
        return Err(Fault::invalid(format!(
            "Task {id} is an array, and each of its elements has a log of its own. Name one, such as `{id}.{}`.",
            task.spec.array.as_ref().map_or(0, |array| array.first)
        )));
    }
    let ended = match id.index {
        None => task.row.unit.state.is_ended(),
        Some(index) => {
            task.row.unit.state.is_ended()
                || find::element(store, id.task, index)?.is_some_and(|element| element.unit.state.is_ended())
        }
    };
    let wanted = |row: &AttemptRow| attempt.is_none_or(|attempt| row.attempt.fence.attempt.0 == attempt);
    let rows = store.attempts(&AttemptFilter::Of(id))?;
    let newest = rows.into_iter().filter(wanted).max_by_key(|row| row.attempt.fence);
    let writes = matches!(task.spec.work.action, Action::Command(_));
    Ok((newest.map(|attempt| Found { attempt, writes }), ended))
}

/// How far the log is, and the byte at which to begin. Blocks.
fn begin(logs: &LogStore, which: Which, query: &LogQuery) -> Result<(LogState, u64), Fault> {
    let failed = |error| Fault::internal("read the log", &error);
    let state = logs.state(which.key, which.stream).map_err(failed)?;
    let offset = match (query.offset, query.tail) {
        (Some(_), Some(_)) => return Err(Fault::field("tail", "Give only one of `offset` and `tail`.")),
        (_, Some(lines)) if lines > TAIL_LINES_MAX => {
            return Err(Fault::field("tail", format!("`tail` must be at most {TAIL_LINES_MAX} lines.")));
        }
        (_, Some(lines)) => {
            let left_out = logs.marks(which.key, which.stream).map_err(failed)?.left_out(state.length);
            let read = |at, length| logs.read(which.key, which.stream, at, length);
            tail::start(state.length, lines, left_out.last().copied(), read).map_err(failed)?
        }
        (offset, None) => offset.unwrap_or(0),
    };
    // Whoever follows may know of bytes that a server lost with its power: they come again.
    if offset > state.length && query.follow != Some(true) {
        return Err(Fault::field(
            "offset",
            format!("`offset` is {offset}, and the log has only {} bytes.", state.length),
        ));
    }
    Ok((state, offset))
}

fn headers(found: &Found, offset: u64, state: LogState, form: Form) -> HeaderMap {
    let mut headers = plain(form);
    headers.insert("bowline-attempt", HeaderValue::from(found.attempt.attempt.fence.attempt.0));
    headers.insert("bowline-log-offset", HeaderValue::from(offset));
    headers.insert("bowline-log-length", HeaderValue::from(state.length));
    let sealed = if state.is_sealed() || (state.length == 0 && found.never_began()) { "true" } else { "false" };
    headers.insert("bowline-log-sealed", HeaderValue::from_static(sealed));
    headers
}

fn plain(form: Form) -> HeaderMap {
    HeaderMap::from_iter([
        (header::CONTENT_TYPE, HeaderValue::from_static(form.content_type())),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ])
}

/// The answer for a task that no attempt was made of, and whether one may still be made.
fn nothing(form: Form, sealed: &'static str) -> Response {
    let mut headers = plain(form);
    headers.insert("bowline-log-offset", HeaderValue::from(0));
    headers.insert("bowline-log-length", HeaderValue::from(0));
    headers.insert("bowline-log-sealed", HeaderValue::from_static(sealed));
    (headers, Body::from(form.end(0))).into_response()
}

/// A reader that goes on as the log grows.
struct Follower {
    reader: Reader,
    log: watch::Receiver<LogState>,
    end: EndWatch,
}

/// Whether the attempt has ended: then the log is complete soon, sealed or not.
struct EndWatch {
    changes: Changes,
    attempt: AttemptRef,
    late: Duration,
    deadline: Option<tokio::time::Instant>,
}

/// What a follower is given next.
enum Next {
    Piece(Bytes),
    /// Nothing more will come.
    End,
    /// The server goes down: the rest is to be asked for again.
    BreakOff,
}

async fn followed(reader: Reader, found: &Found) -> Result<Body, Fault> {
    let attempt = found.attempt.attempt;
    let (logs, which) = (Arc::clone(&reader.shell.app.logs), reader.which());
    let changes = Changes::of(&reader.shell, Subject::Task(attempt.task), None);
    let log = reader.shell.blocking("follow the log", move || {
        logs.follow(which.key, which.stream).map_err(|error| Fault::internal("follow the log", &error))
    });
    let log = log.await?;
    let late = if found.writes { LATE } else { Duration::ZERO };
    let mut end = EndWatch { changes, attempt, late, deadline: None };
    end.look(&reader.shell).await?;
    let follower = Follower { reader, log, end };
    Ok(Body::from_stream(futures::stream::unfold(Some(follower), |follower| async move {
        let mut follower = follower?;
        let piece = match follower.next().await {
            Ok(Next::Piece(piece)) => return Some((Ok(piece), Some(follower))),
            Ok(Next::End) => Ok(follower.reader.end()),
            Ok(Next::BreakOff) => Err(std::io::Error::other("the server is stopping")),
            Err(error) => Err(error),
        };
        Some((piece, None))
    })))
}

impl Follower {
    async fn next(&mut self) -> Result<Next, std::io::Error> {
        loop {
            let state = *self.log.borrow_and_update();
            if let Some(piece) = self.reader.piece(state.length).await? {
                self.end.grew();
                return Ok(Next::Piece(piece));
            }
            if state.is_sealed() {
                return Ok(Next::End);
            }
            tokio::select! {
                // Its other end goes only when the log is deleted.
                changed = self.log.changed() => if changed.is_err() {
                    return Ok(Next::End);
                },
                over = self.end.wait(&self.reader.shell) => if over == Woken::Over {
                    if self.reader.shell.app.stopping.is_cancelled() {
                        return Ok(Next::BreakOff);
                    }
                    if self.log.borrow().length <= self.reader.offset() {
                        return Ok(Next::End);
                    }
                }
            }
        }
    }
}

impl EndWatch {
    /// The log still grows: it gets as much time again.
    fn grew(&mut self) {
        if let Some(deadline) = &mut self.deadline {
            *deadline = tokio::time::Instant::now() + self.late;
        }
    }

    /// Waits until nothing more is to be expected, or something about the task has changed.
    async fn wait(&mut self, shell: &Shell) -> Woken {
        if let Some(deadline) = self.deadline {
            tokio::select! {
                () = shell.app.stopping.cancelled() => {}
                () = tokio::time::sleep_until(deadline) => {}
            }
            return Woken::Over;
        }
        match self.changes.next().await {
            Woken::Over => Woken::Over,
            Woken::Changed if self.look(shell).await.is_err() => Woken::Over,
            Woken::Changed => Woken::Changed,
        }
    }

    /// Looks whether the attempt has ended, and from then on gives the log only so much longer.
    async fn look(&mut self, shell: &Shell) -> Result<(), Fault> {
        let attempt = self.attempt;
        let lives = shell
            .read(move |store| {
                Ok(store.attempts(&AttemptFilter::One(attempt))?.iter().any(|row| row.ended_at.is_none()))
            })
            .await?;
        if !lives && self.deadline.is_none() {
            self.deadline = Some(tokio::time::Instant::now() + self.late);
        }
        Ok(())
    }
}
