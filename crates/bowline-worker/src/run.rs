//! A worker's life: takes its state directory, enrols where it must, and serves each of its servers by a
//! dispatcher of its own until it is told to stop, or has no server left.
//!
//! With one server, whatever ends its dispatcher ends the worker. With several, each goes its own way: one
//! that is fenced off, refuses the worker or cannot be served takes its own jobs with it, and no others. The
//! worker ends with the last of them.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::config::{LOCK_WITHIN, Server, Stop, WorkerConfig, WorkerExit};
use crate::error::{WorkerError, is_for_want_of_room};
use crate::identity::{self, Enrolment};
use crate::journal::Journal;
use crate::pool::{blocking, chain};
use crate::session;
use crate::shares::shares;
use crate::shell::{Seat, Shell};
use crate::state_dir::{Owner, StateDir};

/// Between two looks whether a full disk has room again.
const ROOM_EVERY: Duration = Duration::from_secs(1);

/// Runs a worker until it is told to stop, or must not go on. Everything that it started in this
/// process has ended when this returns; its jobs may run on, as [`crate::OnTerm`] says.
pub async fn run(config: WorkerConfig, stop: impl Into<Stop>) -> Result<WorkerExit, WorkerError> {
    let stop = stop.into();
    let servers = servers(&config)?;
    let (path, owner) = (config.state_dir.clone(), Owner::of(&config.identity, config.pool.as_ref()));
    let urls: Vec<String> = servers.iter().map(|server| server.url.clone()).collect();
    let folder = config.state_dir.clone();
    let opened = when_there_is_room(&folder, &stop, || {
        let (path, urls, owner) = (path.clone(), urls.clone(), owner.clone());
        blocking(move || {
            let state = StateDir::open(&path, LOCK_WITHIN)?;
            let places = state.places(&urls, &owner)?;
            Ok::<_, WorkerError>((state, places))
        })
    });
    // The lock is held until the last server is let go of.
    let Some((state, places)) = opened.await? else { return Ok(WorkerExit::Stopped) };
    if let Some(without) = servers
        .iter()
        .zip(&places)
        .find(|(server, place)| server.enrol_token.is_none() && matches!(place.key(), Ok(None)))
    {
        tracing::error!(server = without.0.url, "no key for this server yet, and no token to enrol with");
        return Err(WorkerError::NoToken);
    }
    let client = crate::http_action::client()?;
    let mut serving = JoinSet::new();
    let count = servers.len();
    for ((server, place), share) in servers.into_iter().zip(places).zip(shares(&config.room, count)) {
        let config = Arc::new(WorkerConfig {
            server: server.url,
            enrol_token: server.enrol_token,
            further: Vec::new(),
            ..config.clone()
        });
        let seat = Seat { config, place, share, client: client.clone() };
        serving.spawn(serve(seat, stop.clone()));
    }
    let ended = last(serving).await;
    drop(state);
    ended
}

/// All servers, checked.
fn servers(config: &WorkerConfig) -> Result<Vec<Server>, WorkerError> {
    let first = Server { url: config.server.clone(), enrol_token: config.enrol_token.clone() };
    let mut seen = BTreeSet::new();
    let checked = |server: &Server| {
        let url = session::address(&server.url).ok_or_else(|| WorkerError::ServerAddress(server.url.clone()))?;
        if !seen.insert(url.clone()) {
            return Err(WorkerError::SameServer(url));
        }
        Ok(Server { url, enrol_token: server.enrol_token.clone() })
    };
    std::iter::once(&first).chain(&config.further).map(checked).collect()
}

/// Serves one server to the end.
async fn serve(seat: Seat, stop: Stop) -> (String, Result<WorkerExit, WorkerError>) {
    let server = seat.config.server.clone();
    (server, try_serve(seat, &stop).await)
}

async fn try_serve(seat: Seat, stop: &Stop) -> Result<WorkerExit, WorkerError> {
    let enrolment = Enrolment {
        client: &seat.client,
        server: &seat.config.server,
        name: &seat.config.identity,
        pool: seat.config.pool.as_ref(),
        token: seat.config.enrol_token.as_deref(),
    };
    let folder = seat.place.folder().to_owned();
    let key = when_there_is_room(&folder, stop, || identity::key(&seat.place, &enrolment, &stop.leave));
    let Some(key) = key.await?.flatten() else {
        return Ok(WorkerExit::Stopped);
    };
    let path = seat.place.journal();
    let journal = when_there_is_room(&folder, stop, || {
        let path = path.clone();
        blocking(move || Journal::open(&path))
    });
    let Some(journal) = journal.await? else { return Ok(WorkerExit::Stopped) };
    let (mut shell, mut inboxes) = Shell::start(seat, key, journal).await?;
    let exit = shell.turn_until_exit(&mut inboxes, stop).await;
    shell.close(inboxes).await;
    Ok(exit)
}

/// Does it again for as long as the disk has no room for it. `None`: told to stop meanwhile.
async fn when_there_is_room<T, F: Future<Output = Result<T, WorkerError>>>(
    folder: &Path,
    stop: &Stop,
    mut attempt: impl FnMut() -> F,
) -> Result<Option<T>, WorkerError> {
    loop {
        match attempt().await {
            Ok(done) => return Ok(Some(done)),
            Err(error) if is_for_want_of_room(&error) => {
                tracing::error!(error = chain(&error), "the disk is full; waiting for room");
            }
            Err(error) => return Err(error),
        }
        crate::reserve::release(folder);
        tokio::select! {
            () = tokio::time::sleep(ROOM_EVERY) => {}
            () = stop.leave.cancelled() => return Ok(None),
            () = stop.release.cancelled() => return Ok(None),
        }
    }
}

/// Waits for the last server. As long as one was left in good order, so is the whole.
async fn last(mut serving: JoinSet<(String, Result<WorkerExit, WorkerError>)>) -> Result<WorkerExit, WorkerError> {
    let mut fenced = None;
    let mut failed = None;
    let mut stopped = None;
    while let Some(ended) = serving.join_next().await {
        let (server, how) = match ended {
            Ok(ended) => ended,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => continue,
            },
        };
        let left = serving.len();
        match how {
            Ok(WorkerExit::Stopped) => {
                if left > 0 {
                    tracing::info!(server, left, "this server is not served any more");
                }
                stopped = Some(WorkerExit::Stopped);
            }
            Ok(exit @ WorkerExit::Fenced { .. }) => {
                if left > 0 {
                    tracing::error!(server, left, "fenced off by this server; the others are served on");
                }
                fenced = fenced.or(Some(exit));
            }
            Err(error) => {
                if left > 0 {
                    tracing::error!(
                        server,
                        left,
                        error = chain(&error),
                        "this server cannot be served; the others are"
                    );
                }
                failed = failed.or(Some(error));
            }
        }
    }
    match (stopped, failed, fenced) {
        (Some(stopped), _, _) => Ok(stopped),
        (None, Some(error), _) => Err(error),
        (None, None, Some(fenced)) => Ok(fenced),
        (None, None, None) => Ok(WorkerExit::Stopped),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use bowline_core::name::WorkerName;

    use super::*;

    #[test]
    fn a_server_is_named_once() {
        let mut config =
            WorkerConfig::new("http://a:1/", WorkerName::new("w").unwrap(), PathBuf::from("/x"), PathBuf::from("/y"));
        config.further.push(Server { url: "http://b:1".to_owned(), enrol_token: None });
        let urls: Vec<_> = servers(&config).unwrap().into_iter().map(|server| server.url).collect();
        assert_eq!(urls, ["http://a:1", "http://b:1"]);
        config.further.push(Server { url: "http://a:1".to_owned(), enrol_token: None });
        assert!(matches!(servers(&config), Err(WorkerError::SameServer(_))));
        config.further[1].url = "a:1".to_owned();
        assert!(matches!(servers(&config), Err(WorkerError::ServerAddress(_))));
    }

    async fn ended(exits: Vec<Result<WorkerExit, WorkerError>>) -> Result<WorkerExit, WorkerError> {
        let mut serving = JoinSet::new();
        for exit in exits {
            serving.spawn(async { ("http://a:1".to_owned(), exit) });
        }
        last(serving).await
    }

    #[tokio::test]
    async fn fenced_counts_only_where_no_server_was_left_in_good_order() {
        let fenced = || Ok(WorkerExit::Fenced { why: "newer".to_owned() });
        assert_eq!(ended(vec![fenced(), Ok(WorkerExit::Stopped)]).await.unwrap(), WorkerExit::Stopped);
        assert!(matches!(ended(vec![fenced(), fenced()]).await.unwrap(), WorkerExit::Fenced { .. }));
        let refused = || Err(WorkerError::EnrolRefused("no".to_owned()));
        assert!(ended(vec![refused(), fenced()]).await.is_err());
        assert_eq!(ended(vec![refused(), Ok(WorkerExit::Stopped)]).await.unwrap(), WorkerExit::Stopped);
    }
}
