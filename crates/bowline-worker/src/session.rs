//! One connection to the server: opens the stream, says Hello, and carries messages both ways. It knows
//! nothing of what they mean, and keeps nothing: a new connection is a new one of these. What leaves when is
//! chosen by its [`lanes`], in the dispatcher.

pub(crate) mod backoff;
pub(crate) mod lanes;

use std::time::Duration;

use bowline_core::message::Hello;
use bowline_protocol::call::{self, Caller};
use bowline_protocol::message::{delivered_frames, worker_frames};
use bowline_protocol::wire::fleet_client::FleetClient;
use bowline_protocol::wire::{ServerFrame, WorkerFrame};
use bowline_protocol::{ServerMessage, WorkerMessage, limits};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;
use tonic::{Code, Request, Status, Streaming};

use crate::dispatcher::{LinkEnd, LinkEvent, LinkNo, Parcel};
use crate::pool::chain;

/// A server that does not take the connection for so long is given up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection that is closed in order gets so long for what is on its way.
const LAST_WORDS_WITHIN: Duration = Duration::from_millis(500);
/// Frames between us and the wire.
const FRAMES_MAX: usize = 4;

/// What is to leave: one frame where it fits. The other end is closed after the last words.
pub(crate) type Parcels = mpsc::UnboundedReceiver<Vec<Parcel>>;

/// Where a connection says what it hears, and that the wire takes one more frame.
#[derive(Debug, Clone)]
pub(crate) struct Says {
    pub(crate) link: LinkNo,
    pub(crate) events: mpsc::Sender<(LinkNo, LinkEvent)>,
    /// Bounded by the parcels: one word for each.
    pub(crate) room: mpsc::UnboundedSender<LinkNo>,
}

/// Where a connection goes, and as whom.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) server: String,
    pub(crate) caller: Caller,
}

/// Checks an address. `None`: it is none.
pub(crate) fn address(server: &str) -> Option<String> {
    let url: http::Uri = server.parse().ok()?;
    let plain = url.scheme_str() == Some("http") && url.host().is_some_and(|host| !host.is_empty());
    plain.then(|| server.trim_end_matches('/').to_owned())
}

/// Carries messages until one side is gone, and says so as its last word.
pub(crate) async fn carry(target: Target, hello: Box<Hello>, outgoing: Parcels, says: Says) {
    let end = match open(&target, hello).await {
        Ok((frames, stream)) => {
            let receiving = receive(stream, &says);
            tokio::pin!(receiving);
            tokio::select! {
                end = send(outgoing, &frames, &says) => {
                    // The server takes what is on its way, then closes its side.
                    drop(frames);
                    tokio::time::timeout(LAST_WORDS_WITHIN, receiving).await.unwrap_or(end)
                }
                end = &mut receiving => end,
            }
        }
        Err(end) => end,
    };
    // A dispatcher that is gone needs no last word.
    let _gone = says.events.send((says.link, LinkEvent::Down(end))).await;
}

async fn open(
    target: &Target,
    hello: Box<Hello>,
) -> Result<(mpsc::Sender<WorkerFrame>, Streaming<ServerFrame>), LinkEnd> {
    let broken = |error: &dyn std::error::Error| LinkEnd::Broken(chain(error));
    let endpoint = Endpoint::from_shared(target.server.clone())
        .map_err(|error| broken(&error))?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(limits::KEEPALIVE_EVERY)
        .keep_alive_timeout(limits::KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true);
    let channel = endpoint.connect().await.map_err(|error| broken(&error))?;
    let mut client = FleetClient::new(channel)
        .max_decoding_message_size(limits::FRAME_BYTES_MAX)
        .max_encoding_message_size(limits::FRAME_BYTES_MAX);
    let (frames, outgoing) = mpsc::channel(FRAMES_MAX);
    for frame in worker_frames([WorkerMessage::Hello(hello)]) {
        frames.send(frame).await.map_err(|error| broken(&error))?;
    }
    let mut request = Request::new(ReceiverStream::new(outgoing));
    call::put(request.metadata_mut(), &target.caller).map_err(|error| broken(&error))?;
    let opened = tokio::time::timeout(limits::WELCOME_TIMEOUT, client.session(request)).await;
    let response = opened
        .map_err(|_| LinkEnd::Broken("the server did not answer in time".to_owned()))?
        .map_err(|status| ended(&status))?;
    call::check_version(response.metadata()).map_err(|error| LinkEnd::Version(error.to_string()))?;
    Ok((frames, response.into_inner()))
}

/// Sends until the dispatcher closes its end and everything has left.
async fn send(mut outgoing: Parcels, frames: &mpsc::Sender<WorkerFrame>, says: &Says) -> LinkEnd {
    let gone = || LinkEnd::Broken("the server closed the session".to_owned());
    loop {
        let Ok(mut room) = frames.reserve().await.map(Some) else { return gone() };
        // A dispatcher that is gone has closed the other end.
        let _gone = says.room.send(says.link);
        let Some(parcels) = outgoing.recv().await else { return LinkEnd::Broken("closed by this worker".to_owned()) };
        for frame in delivered_frames(parcels) {
            match room.take() {
                Some(room) => room.send(frame),
                None if frames.send(frame).await.is_err() => return gone(),
                None => {}
            }
        }
    }
}

async fn receive(mut stream: Streaming<ServerFrame>, says: &Says) -> LinkEnd {
    loop {
        let frame = match stream.message().await {
            Ok(Some(frame)) => frame,
            Ok(None) => return LinkEnd::Broken("the server closed the session".to_owned()),
            Err(status) => return ended(&status),
        };
        let (generation, commit_no) = (frame.generation, frame.commit_no);
        let mut messages = Vec::with_capacity(frame.messages.len());
        for message in frame.messages {
            match ServerMessage::from_wire(message) {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => tracing::debug!("the server sent a kind of message that this version does not know"),
                Err(error) => {
                    return LinkEnd::Broken(format!("the server sent what cannot be used: {}", chain(&error)));
                }
            }
        }
        let what = LinkEvent::Messages { messages, generation, commit_no };
        if says.events.send((says.link, what)).await.is_err() {
            return LinkEnd::Broken("closed by this worker".to_owned());
        }
    }
}

fn ended(status: &Status) -> LinkEnd {
    let why = if status.message().is_empty() { format!("{:?}", status.code()) } else { status.message().to_owned() };
    match status.code() {
        Code::Unauthenticated | Code::PermissionDenied => LinkEnd::UnknownKey(why),
        Code::FailedPrecondition => LinkEnd::Version(why),
        _ => LinkEnd::Broken(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_plain_http_with_a_host() {
        assert_eq!(address("http://127.0.0.1:7420/").as_deref(), Some("http://127.0.0.1:7420"));
        for bad in ["", "127.0.0.1:7420", "https://a", "ftp://a", "http://"] {
            assert_eq!(address(bad), None, "{bad}");
        }
    }
}
