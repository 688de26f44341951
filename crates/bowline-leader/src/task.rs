//! The writer's thread: takes leadership, loads, leads, and begins anew after a failure.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bowline_core::answer::{Refusal, RefusalCode};
use bowline_core::id::{CommitNo, Epoch, Generation};
use bowline_store::ReadStore;
use parking_lot::Mutex;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{broadcast, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::clock::{self, Clock};
use crate::command::Command;
use crate::commit::{self, SharedStore, panic_text};
use crate::config::{EVALUATORS, EVENTS_COMMITS_MAX, INBOX_MAX, LeaderConfig, WriterStore};
use crate::evaluate::{self, Evaluator};
use crate::fetch::{self, chain};
use crate::handle::{Leader, LeaderStatus};
use crate::returns::Return;
use crate::stats::{self, Counters};
use crate::take_over::{Backoff, Next, note_rollback, take_over};
use crate::term::{End, Term};
use crate::works::Works;
use crate::writer::{Aides, Lasting, Writer};

/// A leader could not be started.
#[derive(Debug, thiserror::Error)]
#[error("could not start the writer's thread")]
pub struct StartError(#[from] std::io::Error);

/// The leader at work. Dropping it stops the work, without waiting for the end.
#[derive(Debug)]
pub struct LeaderTask {
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl LeaderTask {
    /// Takes nothing more, makes durable what was applied, gives the answers, and stops.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let ended = tokio::task::spawn_blocking(move || thread.join()).await;
            if !matches!(ended, Ok(Ok(()))) {
                tracing::error!("the writer's thread ended by a panic");
            }
        }
    }
}

impl Drop for LeaderTask {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Leader {
    /// Starts to lead, in a thread of its own. The handle says by [`Leader::status`] when it does.
    pub fn start(
        config: LeaderConfig,
        store: Box<dyn WriterStore>,
        reader: Arc<dyn ReadStore>,
    ) -> Result<(Self, LeaderTask), StartError> {
        let (inbox, commands) = mpsc::channel(INBOX_MAX);
        let (status, status_seen) = watch::channel(LeaderStatus::Loading("it has just been started".to_owned()));
        let events = broadcast::Sender::new(EVENTS_COMMITS_MAX);
        let (works, counters) = (Arc::new(Works::new()), Arc::new(Counters::default()));
        let stop = CancellationToken::new();
        let leader = Self {
            inbox,
            status: status_seen,
            events: events.clone(),
            reader: Arc::clone(&reader),
            works: Arc::clone(&works),
            counters: Arc::clone(&counters),
        };
        let lasting = Lasting { config, status, events, works, counters, stop: stop.clone() };
        let runtime = Builder::new_current_thread().enable_time().build()?;
        let office = Office { lasting, store: Arc::new(Mutex::new(store)), reader, commands, runtime };
        let thread = thread::Builder::new().name("bowline-writer".to_owned()).spawn(move || office.run())?;
        Ok((leader, LeaderTask { stop, thread: Some(thread) }))
    }
}

/// Everything that the writer's thread owns between leaderships.
struct Office {
    lasting: Lasting,
    store: SharedStore,
    reader: Arc<dyn ReadStore>,
    commands: mpsc::Receiver<Command>,
    runtime: Runtime,
}

impl Office {
    fn run(mut self) {
        let mut backoff = Backoff::default();
        while !self.lasting.stop.is_cancelled() {
            let began = clock::monotonic();
            // A panic of the engine is a failed leadership, not a dead server.
            let led = catch_unwind(AssertUnwindSafe(|| self.lead()));
            let end = led.unwrap_or_else(|panic| End::Failed(format!("the writer {}", panic_text(panic.as_ref()))));
            match backoff.after(end, began.elapsed()) {
                Next::Stop => break,
                Next::Follow(why) => {
                    tracing::error!(why, "leadership is over: another server leads");
                    self.down(&why, None);
                    break;
                }
                Next::WaitForAccept { store, seen } => {
                    stats::add(&self.lasting.counters.failures, 1);
                    self.note_rollback(seen);
                    self.wait_for_accept(store, seen);
                }
                Next::Again(wait, why) => {
                    stats::add(&self.lasting.counters.failures, 1);
                    tracing::error!(why, again_in_ms = wait.as_millis(), "leadership failed, will load again");
                    self.down(&why, Some(wait));
                }
            }
        }
        self.lasting.status.send_replace(LeaderStatus::Loading("it has stopped".to_owned()));
    }

    /// Refuses everything for so long, or until it is stopped.
    fn down(&mut self, why: &str, length: Option<Duration>) {
        self.lasting.status.send_replace(LeaderStatus::Loading(why.to_owned()));
        let (commands, stop) = (&mut self.commands, &self.lasting.stop);
        self.runtime.block_on(async {
            let refuse = async {
                while let Some(command) = commands.recv().await {
                    command.refuse();
                }
            };
            let wait = async {
                match length {
                    Some(length) => tokio::time::sleep(length).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = refuse => {}
                () = wait => {}
                () = stop.cancelled() => {}
            }
        });
    }

    /// So that another process does not lead either.
    fn note_rollback(&self, seen: (Generation, CommitNo)) {
        if let Err(error) = note_rollback(&mut **self.store.lock(), clock::wall(), seen) {
            tracing::error!(why = chain(&error), "that the store was put back could not be noted in it");
        }
    }

    /// Refuses everything until the earlier state is accepted, or until it is stopped.
    fn wait_for_accept(&mut self, store: (Generation, CommitNo), seen: (Generation, CommitNo)) {
        self.lasting.status.send_replace(LeaderStatus::RolledBack { store, seen });
        let (commands, stop, shared) = (&mut self.commands, &self.lasting.stop, &self.store);
        self.runtime.block_on(async {
            loop {
                let command = tokio::select! {
                    command = commands.recv() => command,
                    () = stop.cancelled() => return,
                };
                match command {
                    None => return,
                    Some(Command::AcceptRollback { reply }) => {
                        let accepted = shared.lock().accept_rollback(None);
                        let is_done = accepted.is_ok();
                        let answer = accepted.map_err(|error| {
                            Refusal::new(RefusalCode::NotLeading, format!("the store failed: {}", chain(&error)))
                        });
                        drop(reply.send(answer));
                        if is_done {
                            return;
                        }
                    }
                    Some(other) => other.refuse(),
                }
            }
        });
    }

    /// One leadership, from the take-over to its end.
    fn lead(&mut self) -> End {
        // Numbers that were given out and never became durable are given out again.
        self.lasting.works.clear();
        let began = clock::monotonic();
        let taken = match take_over(&mut **self.store.lock(), clock::wall(), &self.lasting.config) {
            Ok(taken) => taken,
            Err(end) => return end,
        };
        let epoch = taken.leadership.epoch;
        let clock = Clock::starting_at(taken.leadership.now, began);
        let (lasting, commands, runtime) = (&self.lasting, &mut self.commands, &self.runtime);
        let (store, reader) = (&self.store, &self.reader);
        let (returns, mut returned) = mpsc::unbounded_channel();
        thread::scope(|scope| {
            let started = start_aides(scope, (store, epoch), reader, &returns);
            drop(returns);
            let aides = match started {
                Ok(aides) => aides,
                Err(error) => return End::Failed(format!("starting a thread: {error}")),
            };
            let term = Term::begin(taken, lasting.config.clone(), Arc::clone(&lasting.counters), clock.now());
            tracing::debug!(took_ms = began.elapsed().as_millis(), "everything is loaded");
            let writer = Writer::new(lasting, term, clock, aides);
            lasting.status.send_replace(writer.status());
            runtime.block_on(writer.lead(commands, &mut returned))
        })
    }
}

/// Starts the threads beside the writer. They end when the writer drops its ends of their queues.
fn start_aides<'scope, 'env>(
    scope: &'scope thread::Scope<'scope, 'env>,
    (store, epoch): (&'env SharedStore, Epoch),
    reader: &'env Arc<dyn ReadStore>,
    returns: &mpsc::UnboundedSender<Return>,
) -> std::io::Result<Aides> {
    let named = |name: &str| thread::Builder::new().name(name.to_owned());
    let (committer, mut jobs) = mpsc::unbounded_channel();
    let back = returns.clone();
    named("bowline-commit").spawn_scoped(scope, move || commit::run(store, epoch, &mut jobs, &back))?;
    let (fetcher, mut parked) = mpsc::unbounded_channel();
    let back = returns.clone();
    named("bowline-fetch").spawn_scoped(scope, move || fetch::run(reader, &mut parked, &back))?;
    let (evaluators, due) = mpsc::unbounded_channel();
    let shared = Arc::new((Evaluator::new(Arc::clone(reader)), Mutex::new(due)));
    for _ in 0..EVALUATORS {
        let (shared, back) = (Arc::clone(&shared), returns.clone());
        named("bowline-eval").spawn_scoped(scope, move || evaluate::run(&shared.0, &shared.1, &back))?;
    }
    Ok(Aides { committer, fetcher, evaluators })
}
