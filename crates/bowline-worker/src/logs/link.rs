//! The second connection to a server: opened where there is something to be said on it, while the first one
//! has its session. It knows nothing of what it carries.

use std::time::Duration;

use bowline_protocol::call::{self, Caller};
use bowline_protocol::wire::fleet_client::FleetClient;
use bowline_protocol::wire::{ServerFrame, WorkerFrame};
use bowline_protocol::{ServerMessage, limits};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;
use tonic::{Request, Status, Streaming};

use crate::pool::chain;

/// A server that does not take the connection for so long is given up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Frames between us and the wire.
pub(crate) const FRAMES_MAX: usize = 2;

/// Where it goes, and as whom.
#[derive(Debug, Clone)]
pub struct Target {
    /// The server's address.
    pub server: String,
    /// As whom.
    pub caller: Caller,
    /// As Hello named it.
    pub process: String,
}

/// What a connection says to its shipper: which one, counted by it, and what.
#[derive(Debug)]
pub(crate) struct FromLive {
    pub(crate) no: u64,
    pub(crate) what: LiveEvent,
}

/// See [`FromLive`].
#[derive(Debug)]
pub(crate) enum LiveEvent {
    Up,
    Messages(Vec<ServerMessage>),
    Down(String),
}

/// Carries frames until one side is gone, and says so as its last word.
pub(crate) async fn carry(
    no: u64,
    target: Target,
    outgoing: mpsc::Receiver<WorkerFrame>,
    says: mpsc::Sender<FromLive>,
) {
    let why = match open(&target, outgoing).await {
        Ok(stream) => {
            if says.send(FromLive { no, what: LiveEvent::Up }).await.is_err() {
                return;
            }
            receive(no, stream, &says).await
        }
        Err(why) => why,
    };
    // A shipper that is gone needs no last word.
    let _gone = says.send(FromLive { no, what: LiveEvent::Down(why) }).await;
}

async fn open(target: &Target, outgoing: mpsc::Receiver<WorkerFrame>) -> Result<Streaming<ServerFrame>, String> {
    let endpoint = Endpoint::from_shared(target.server.clone())
        .map_err(|error| chain(&error))?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(limits::KEEPALIVE_EVERY)
        .keep_alive_timeout(limits::KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true);
    let channel = endpoint.connect().await.map_err(|error| chain(&error))?;
    let mut client = FleetClient::new(channel)
        .max_decoding_message_size(limits::FRAME_BYTES_MAX)
        .max_encoding_message_size(limits::FRAME_BYTES_MAX);
    let mut request = Request::new(ReceiverStream::new(outgoing));
    call::put(request.metadata_mut(), &target.caller).map_err(|error| chain(&error))?;
    call::put_process(request.metadata_mut(), &target.process).map_err(|error| chain(&error))?;
    let opened = tokio::time::timeout(limits::WELCOME_TIMEOUT, client.live(request)).await;
    let opened = opened.map_err(|_| "the server did not answer in time".to_owned())?;
    Ok(opened.map_err(|status| ended(&status))?.into_inner())
}

async fn receive(no: u64, mut stream: Streaming<ServerFrame>, says: &mpsc::Sender<FromLive>) -> String {
    loop {
        let frame = match stream.message().await {
            Ok(Some(frame)) => frame,
            Ok(None) => return "the server closed it".to_owned(),
            Err(status) => return ended(&status),
        };
        let messages: Result<Vec<_>, _> = frame.messages.into_iter().map(ServerMessage::from_wire).collect();
        let messages = match messages {
            Ok(messages) => messages.into_iter().flatten().collect(),
            Err(error) => return format!("the server sent what cannot be used: {}", chain(&error)),
        };
        if says.send(FromLive { no, what: LiveEvent::Messages(messages) }).await.is_err() {
            return "closed by this worker".to_owned();
        }
    }
}

fn ended(status: &Status) -> String {
    if status.message().is_empty() { format!("{:?}", status.code()) } else { status.message().to_owned() }
}
