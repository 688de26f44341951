//! What is said to a worker: in order, many messages to a frame.

use bowline_core::id::{AttemptRef, CommitNo, Generation, WorkerId};
use bowline_core::message::{Assign, ToWorker, Verdict};
use bowline_leader::{Assigned, LeaderStatus};
use bowline_protocol::wire::ServerFrame;
use bowline_protocol::{Handover, Kind, ServerMessage};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::Status;

use super::SEND_WAIT_MAX;
use super::seats::Seat;
use super::service::Sessions;

/// Messages taken out of the outbox at a time.
const TAKE_MAX: usize = 1_024;

/// The sender of one session.
pub(super) struct Outgoing<'a> {
    pub(super) shared: &'a Sessions,
    pub(super) worker: WorkerId,
    pub(super) seat: Seat,
    pub(super) frames: &'a mpsc::Sender<Result<ServerFrame, Status>>,
}

/// Whether more may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    More,
    /// The engine has closed the session in order.
    Closed,
}

impl Outgoing<'_> {
    /// Sends until the engine closes the session, or nobody leads any more.
    pub(super) async fn run(
        &self,
        mut outbox: mpsc::Receiver<Option<ToWorker>>,
        mut log_answers: mpsc::Receiver<ServerMessage>,
    ) -> Result<(), Status> {
        let (mut taken, mut messages) = (Vec::with_capacity(TAKE_MAX), Vec::with_capacity(TAKE_MAX));
        loop {
            tokio::select! {
                count = outbox.recv_many(&mut taken, TAKE_MAX) => if count == 0 {
                    return Err(Status::unavailable("the server closed the session: reconnect"));
                },
                Some(answer) = log_answers.recv() => messages.push(answer),
            }
            while messages.len() < TAKE_MAX
                && let Ok(answer) = log_answers.try_recv()
            {
                messages.push(answer);
            }
            let flow = self.complete(&mut taken, &mut messages).await?;
            self.send(&mut messages).await?;
            if flow == Flow::Closed {
                return Ok(());
            }
        }
    }

    /// Adds what assignments need, and counts.
    async fn complete(
        &self,
        taken: &mut Vec<Option<ToWorker>>,
        messages: &mut Vec<ServerMessage>,
    ) -> Result<Flow, Status> {
        let mut flow = Flow::More;
        let mut found = self.assigned(taken).await?.into_iter();
        for message in taken.drain(..) {
            match message {
                None => flow = Flow::Closed,
                Some(ToWorker::Assign(assign)) => {
                    let handover = self.handover(assign, found.next().flatten())?;
                    messages.push(ServerMessage::Assign(Box::new(handover)));
                }
                Some(message) => {
                    // Whoever is turned away takes nobody's seat, and nobody's session.
                    if matches!(message, ToWorker::Welcome { .. }) {
                        self.shared.state.sessions.session_opened(self.worker, self.seat.session);
                        self.shared.seats.take(self.seat.clone(), self.worker);
                    }
                    messages.push(ServerMessage::Engine(message));
                }
            }
        }
        for message in &*messages {
            self.shared.state.sessions.passed(message.kind());
            if let ServerMessage::Engine(ToWorker::Verdict { verdict: Verdict::Superseded | Verdict::Gone, .. }) =
                message
            {
                self.shared.state.sessions.stale(Kind::Verdict);
            }
        }
        Ok(flow)
    }

    /// What goes with each assignment among these, in their order.
    async fn assigned(&self, taken: &[Option<ToWorker>]) -> Result<Vec<Option<Assigned>>, Status> {
        let task = |message: &Option<ToWorker>| match message {
            Some(ToWorker::Assign(assign)) => Some(assign.attempt.task),
            _ => None,
        };
        let tasks: Vec<_> = taken.iter().filter_map(task).collect();
        self.shared.state.leader.assigned(&tasks).await.map_err(|error| {
            let assignments = tasks.len();
            tracing::error!(assignments, error = &error as &dyn std::error::Error, "work of assignments not read");
            Status::unavailable("the server's store cannot be read at the moment")
        })
    }

    /// An assignment without its work would be lost: the session is closed, and the worker comes back.
    fn handover(&self, assign: Assign, found: Option<Assigned>) -> Result<Handover, Status> {
        let attempt = assign.attempt;
        let state = &self.shared.state;
        let Some(found) = found else {
            tracing::error!(%attempt, "an assignment without work");
            return Err(Status::internal(format!("the work of {attempt} is not there")));
        };
        let mut handover = Handover::new(assign, &found.work).map_err(|error| {
            tracing::error!(%attempt, error = &error as &dyn std::error::Error, "work of an assignment not written");
            Status::internal(format!("the work of {attempt} cannot be sent"))
        })?;
        handover.namespace = found.namespace;
        handover.run = found.run;
        handover.step = found.step;
        handover.token = state.secrets.attempt_token(attempt);
        handover.server = self.server_url();
        self.expect_logs_of(attempt);
        Ok(handover)
    }

    fn expect_logs_of(&self, attempt: AttemptRef) {
        self.shared.logs.expect(attempt, self.worker);
    }

    /// Empty where the server listens on every address: the worker knows by which one it came.
    fn server_url(&self) -> String {
        let address = self.shared.state.local_addr;
        if address.ip().is_unspecified() { String::new() } else { format!("http://{address}") }
    }

    async fn send(&self, messages: &mut Vec<ServerMessage>) -> Result<(), Status> {
        for frame in bowline_protocol::message::server_frames(messages.drain(..), self.position()) {
            let sent = timeout(SEND_WAIT_MAX, self.frames.send(Ok(frame))).await;
            let sent = sent.map_err(|_| Status::deadline_exceeded("the worker does not read"))?;
            sent.map_err(|_| Status::cancelled("the connection is gone"))?;
        }
        Ok(())
    }

    fn position(&self) -> (Generation, CommitNo) {
        match &*self.shared.state.leader.status().borrow() {
            LeaderStatus::Leading { generation, commit_no, .. } => (*generation, *commit_no),
            LeaderStatus::Loading(_) | LeaderStatus::RolledBack { .. } => (Generation(0), CommitNo(0)),
        }
    }
}
