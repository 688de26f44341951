//! The writer: the thread that drives one leadership. It reads the clock and the inbox, carries out what the
//! leadership asks for, and hands back what became of it. It decides nothing: see [`crate::term`].

use std::sync::Arc;

use bowline_core::id::TaskId;
use bowline_core::time::Timestamp;
use tokio::sync::{broadcast, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::command::{Command, not_rolled_back};
use crate::commit::{Durable, Job};
use crate::config::{DRAIN_MAX, LeaderConfig};
use crate::desk::Desk;
use crate::fetch::Parked;
use crate::handle::{Committed, LeaderStatus};
use crate::returns::Return;
use crate::stats::Counters;
use crate::term::{Due, End, Output, Posted, Term};
use crate::works::Works;

/// What outlives every leadership.
#[derive(Debug)]
pub(crate) struct Lasting {
    pub(crate) config: LeaderConfig,
    pub(crate) status: watch::Sender<LeaderStatus>,
    pub(crate) events: broadcast::Sender<Committed>,
    pub(crate) works: Arc<Works>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) stop: CancellationToken,
}

/// The threads beside the writer, as it reaches them. Their queues hold at most what the engine
/// has parked, has due, and one job of the committer.
#[derive(Debug)]
pub(crate) struct Aides {
    pub(crate) committer: mpsc::UnboundedSender<Job>,
    pub(crate) fetcher: mpsc::UnboundedSender<Parked>,
    pub(crate) evaluators: mpsc::UnboundedSender<Due>,
}

/// Whether a session was closed because a message did not fit: the leadership has something to do at once.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lost {
    No,
    Yes,
}

/// One leadership at work.
pub(crate) struct Writer<'a> {
    lasting: &'a Lasting,
    term: Term,
    clock: Clock,
    desk: Desk,
    aides: Aides,
    /// Used again and again.
    outputs: Vec<Output>,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(lasting: &'a Lasting, term: Term, clock: Clock, aides: Aides) -> Self {
        Self { lasting, term, clock, desk: Desk::default(), aides, outputs: Vec::new() }
    }

    /// The status of this leadership.
    pub(crate) fn status(&self) -> LeaderStatus {
        self.term.status()
    }

    /// Leads until that ends. Whoever waits is told by the end of his channel, and not before the
    /// status says the same.
    pub(crate) async fn lead(
        mut self,
        inbox: &mut mpsc::Receiver<Command>,
        returns: &mut mpsc::UnboundedReceiver<Return>,
    ) -> End {
        let end = match self.work(inbox, returns).await {
            Ok(()) => End::Stopped,
            Err(end) => end,
        };
        let status = match &end {
            End::Stopped => LeaderStatus::Loading("it is stopping".to_owned()),
            End::Deposed(why) | End::Failed(why) => LeaderStatus::Loading(why.clone()),
            End::RolledBack { store, seen } => LeaderStatus::RolledBack { store: *store, seen: *seen },
        };
        self.lasting.status.send_replace(status);
        end
    }

    async fn work(
        &mut self,
        inbox: &mut mpsc::Receiver<Command>,
        returns: &mut mpsc::UnboundedReceiver<Return>,
    ) -> Result<(), End> {
        let mut commands = Vec::with_capacity(DRAIN_MAX);
        loop {
            self.turn()?;
            let stop = &self.lasting.stop;
            if stop.is_cancelled() {
                return self.finish(inbox, returns).await;
            }
            let has_room = self.term.has_room();
            let wake = tokio::time::Instant::from_std(self.clock.instant_of(self.term.wake_at(self.clock.now())));
            tokio::select! {
                biased;
                Some(back) = returns.recv() => self.take_back(back),
                () = stop.cancelled() => {}
                taken = inbox.recv_many(&mut commands, DRAIN_MAX), if has_room => {
                    if taken == 0 {
                        // No handle is left.
                        return self.finish(inbox, returns).await;
                    }
                    let now = self.clock.now();
                    for command in commands.drain(..) {
                        self.take_command(now, command);
                    }
                    // An inbox that is never empty must not keep time from passing.
                    if self.term.is_due(self.clock.now()) {
                        self.tick(inbox);
                    }
                }
                () = tokio::time::sleep_until(wake) => self.tick(inbox),
            }
        }
    }

    /// Time has passed. The inbox is read before timers fire: who has spoken in time is heard.
    fn tick(&mut self, inbox: &mut mpsc::Receiver<Command>) {
        // Before anything of the inbox: a gap is one, however long reading it takes.
        let now = self.clock.now();
        self.term.look(now);
        while self.term.has_room() {
            let Ok(command) = inbox.try_recv() else { break };
            self.take_command(now, command);
        }
        self.term.tick(self.clock.now());
    }

    /// Does what can be done without waiting for anything.
    fn turn(&mut self) -> Result<(), End> {
        loop {
            self.term.turn(self.clock.now());
            if self.carry_out()? == Lost::No {
                return Ok(());
            }
        }
    }

    fn take_command(&mut self, now: Timestamp, command: Command) {
        match command {
            Command::Request { actor, request, reply } => match self.term.request(now, actor, request) {
                Ok(to) => self.desk.wait(to, reply),
                Err(busy) => drop(reply.send(Err(busy))),
            },
            Command::Connect { hello, key, outbox, opened } => {
                let at = self.term.connect(now, hello, key);
                self.desk.open(at.session, outbox);
                if opened.send(at).is_err() {
                    self.desk.forget(at.session);
                    self.term.lose_session(at.session);
                }
            }
            Command::FromWorker { session, message } => self.term.from_worker(now, session, message),
            Command::Disconnect { session } => {
                self.desk.forget(session);
                self.term.disconnect(now, session);
            }
            Command::AcceptRollback { reply } => drop(reply.send(Err(not_rolled_back()))),
        }
    }

    fn take_back(&mut self, back: Return) {
        let now = self.clock.now();
        match back {
            Return::Committed { durable, took } => {
                self.lasting.counters.commit_took(took);
                let Durable { commit_no, events, gone } = durable;
                self.term.committed(commit_no, events, gone);
                let leading = self.term.status();
                self.lasting.status.send_if_modified(|status| {
                    // Who watches is woken by the leadership's beginning and end alone.
                    *status = leading;
                    false
                });
            }
            Return::Swept(swept) => self.term.swept(now, swept),
            Return::CommitFailed(error) => self.term.failed(&error),
            Return::Broken(why) => self.term.broken(why),
            Return::Facts { park, facts } => self.term.facts(now, park, facts),
            Return::Evaluated { due, outcome } => self.term.evaluated(now, due, outcome),
        }
    }

    /// Carries out what the leadership asks for, in its order.
    fn carry_out(&mut self) -> Result<Lost, End> {
        let mut outputs = std::mem::take(&mut self.outputs);
        self.term.drain_outputs(&mut outputs);
        let mut lost = Lost::No;
        for output in outputs.drain(..) {
            match output {
                Output::Send { session, message } => {
                    let posted = self.desk.post(session, message);
                    if posted != Posted::Done {
                        self.term.unposted(session, posted);
                        lost = Lost::Yes;
                    }
                }
                other => self.carry_out_one(other)?,
            }
        }
        self.outputs = outputs;
        Ok(lost)
    }

    fn carry_out_one(&mut self, output: Output) -> Result<(), End> {
        match output {
            Output::Commit { now, batch } => {
                self.lasting.works.note(&batch.rows);
                self.aides.committer.send(Job::Commit { now, batch }).map_err(|_| gone("the committer"))
            }
            Output::Sweep { now, policy } => {
                self.aides.committer.send(Job::Sweep { now, policy }).map_err(|_| gone("the committer"))
            }
            Output::Fetch { park, needs } => self.aides.fetcher.send((park, needs)).map_err(|_| gone("the fetcher")),
            Output::Evaluate(due) => self.aides.evaluators.send(due).map_err(|_| gone("the evaluators")),
            Output::Reply { to, reply } => {
                self.desk.answer(to, reply);
                Ok(())
            }
            Output::Send { session, message } => {
                self.desk.post(session, message);
                Ok(())
            }
            Output::Close { session } => {
                self.desk.close(session);
                Ok(())
            }
            Output::Durable { commit_no, events, gone } => {
                if self.lasting.events.receiver_count() > 0 && !events.is_empty() {
                    // The last subscriber may have left just now.
                    drop(self.lasting.events.send(Committed { commit_no, events: Arc::new(events) }));
                }
                self.tell_gone(&gone);
                Ok(())
            }
            Output::Swept(tasks) => {
                self.tell_gone(&tasks);
                Ok(())
            }
            Output::End(end) => Err(end),
        }
    }

    fn tell_gone(&self, tasks: &[TaskId]) {
        if let (Some(sink), false) = (&self.lasting.config.swept, tasks.is_empty()) {
            sink(tasks);
        }
    }

    /// What was applied is made durable and released, then the leadership ends in order.
    async fn finish(
        &mut self,
        inbox: &mut mpsc::Receiver<Command>,
        returns: &mut mpsc::UnboundedReceiver<Return>,
    ) -> Result<(), End> {
        inbox.close();
        let now = self.clock.now();
        while let Ok(command) = inbox.try_recv() {
            self.take_command(now, command);
        }
        loop {
            self.turn()?;
            if !self.term.is_unsettled() {
                return Ok(());
            }
            let wake = tokio::time::Instant::from_std(self.clock.instant_of(self.term.wake_at(self.clock.now())));
            tokio::select! {
                biased;
                Some(back) = returns.recv() => self.take_back(back),
                () = tokio::time::sleep_until(wake) => {}
            }
        }
    }
}

fn gone(who: &str) -> End {
    End::Failed(format!("{who} has stopped"))
}
