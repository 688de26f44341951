//! The gRPC service itself: checks who calls, and gives each session a task of its own.

use std::sync::Arc;

use bowline_protocol::call::{self, BadCall};
use bowline_protocol::wire::fleet_server::Fleet;
use bowline_protocol::wire::{ServerFrame, WorkerFrame};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status, Streaming};

use super::FRAMES_MAX;
use super::live::Live;
use super::run::Session;
use super::seats::{PROCESS_BYTES_MAX, Seats};
use crate::logs::LogKeeper;
use crate::state::AppState;

/// What all sessions share.
#[derive(Debug)]
pub(crate) struct Sessions {
    pub(crate) state: AppState,
    pub(crate) seats: Seats,
    pub(crate) logs: Arc<LogKeeper>,
    pub(crate) tasks: TaskTracker,
}

/// The gRPC service.
#[derive(Debug, Clone)]
pub(crate) struct Service(pub(crate) Arc<Sessions>);

#[tonic::async_trait]
impl Fleet for Service {
    type SessionStream = ReceiverStream<Result<ServerFrame, Status>>;
    type LiveStream = ReceiverStream<Result<ServerFrame, Status>>;

    async fn session(&self, request: Request<Streaming<WorkerFrame>>) -> Result<Response<Self::SessionStream>, Status> {
        let caller = call::read(request.metadata()).map_err(|error| refused(&error))?;
        let key = self.0.state.keys.check(&caller).await?;
        let (frames, stream) = mpsc::channel(FRAMES_MAX);
        let session = Session { shared: Arc::clone(&self.0), name: caller.worker, pool: caller.pool, key, frames };
        self.0.tasks.spawn(session.run(request.into_inner()));
        let mut response = Response::new(ReceiverStream::new(stream));
        call::put_version(response.metadata_mut());
        Ok(response)
    }

    async fn live(&self, request: Request<Streaming<WorkerFrame>>) -> Result<Response<Self::LiveStream>, Status> {
        let caller = call::read(request.metadata()).map_err(|error| refused(&error))?;
        let key = self.0.state.keys.check(&caller).await?;
        let process = call::process(request.metadata()).map_err(|error| refused(&error))?;
        let seat = Some(process).filter(|process| process.len() <= PROCESS_BYTES_MAX);
        let seat = seat.and_then(|process| self.0.seats.of((&key, process)));
        let (worker, over) = seat.ok_or_else(|| Status::unavailable("this process has no session: open that first"))?;
        let (frames, stream) = mpsc::channel(FRAMES_MAX);
        let live = Live { shared: Arc::clone(&self.0), worker, frames, over };
        self.0.tasks.spawn(live.run(request.into_inner()));
        let mut response = Response::new(ReceiverStream::new(stream));
        call::put_version(response.metadata_mut());
        Ok(response)
    }
}

fn refused(error: &BadCall) -> Status {
    match error {
        BadCall::Missing(_) | BadCall::Name(_) => Status::unauthenticated(error.to_string()),
        BadCall::Version { .. } => Status::failed_precondition(error.to_string()),
    }
}
