//! Sends one file's bytes: hashes it, asks the server what it has of it, and sends what it has not, in
//! parts, until all is there or it must be given up.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bowline_core::id::AttemptRef;
use bowline_protocol::call;
use reqwest::{Body, Client, Method, RequestBuilder, Response, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::io::ReaderStream;

use super::together::Bundles;
use super::{File, Look};
use crate::logs::link::Target;
use crate::pool::chain;

/// Bytes of one request: what is on its way when a connection breaks may have to be sent again.
const PART_BYTES: u64 = 8 << 20;
/// Bytes read at a time.
const READ_BYTES: usize = 256 << 10;
/// A request that is not answered for so long is given up, and begun anew.
const REQUEST_WITHIN: Duration = Duration::from_mins(2);
/// A file that changes while it is sent is begun anew so often.
const CHANGES_MAX: u32 = 3;
/// Between two tries, from the first to the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Sends files. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Sender {
    pub(super) client: Client,
    pub(super) session: watch::Receiver<Option<Target>>,
    /// So long without a byte taken, while there is a session, and a file is given up.
    pub(super) patience: Duration,
    pub(super) progress: mpsc::UnboundedSender<(AttemptRef, u64)>,
    /// Whether this server takes small files together.
    pub(super) together: Arc<Bundles>,
}

/// What became of a file.
#[derive(Debug)]
pub(super) enum Sent {
    /// The server has it, as it looked then.
    There { digest: String, look: Look },
    /// It cannot be delivered, and why.
    Not(String),
}

/// What a request came to.
enum Step {
    There,
    /// Go on from this byte.
    From(u64),
    /// The file is not what it was.
    Changed,
    /// It will never be taken.
    Refused(String),
    /// It may be taken later.
    Later(String),
}

/// A file as it was hashed.
struct Hashed {
    digest: String,
    look: Look,
}

impl Sender {
    pub(super) async fn send(mut self, file: &File) -> Sent {
        for _ in 0..CHANGES_MAX {
            let path = file.path.clone();
            let hashed = match tokio::task::spawn_blocking(move || hash(&path)).await {
                Ok(Ok(hashed)) => hashed,
                Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => {
                    return Sent::Not("it was not there any more when it was to be sent".to_owned());
                }
                Ok(Err(error)) => return Sent::Not(format!("reading it failed: {error}")),
                Err(error) => return Sent::Not(format!("hashing it failed: {error}")),
            };
            match self.send_hashed(file, &hashed).await {
                Ok(()) => return Sent::There { digest: hashed.digest, look: hashed.look },
                Err(Some(why)) => return Sent::Not(why),
                Err(None) => {}
            }
        }
        Sent::Not("it kept changing while it was sent".to_owned())
    }

    /// `Err(None)`: the file has changed.
    async fn send_hashed(&mut self, file: &File, hashed: &Hashed) -> Result<(), Option<String>> {
        let (mut pause, mut best, mut begun) = (PAUSE.0, None, Instant::now());
        let mut known: Option<u64> = None;
        loop {
            let (target, waited) = self.target().await;
            if waited {
                (pause, begun, known) = (PAUSE.0, Instant::now(), None);
            }
            let step = match known.take() {
                None => self.ask(&target, hashed).await,
                Some(from) => self.put(&target, file, hashed, from).await,
            };
            match step {
                Step::There => return Ok(()),
                Step::Changed => return Err(None),
                Step::Refused(why) => return Err(Some(why)),
                Step::From(from) => {
                    if best.is_none_or(|best| from > best) {
                        let news = from - best.unwrap_or(0);
                        let _gone = self.progress.send((file.attempt, news));
                        (best, begun, pause) = (Some(from), Instant::now(), PAUSE.0);
                    }
                    known = Some(from);
                }
                Step::Later(why) => {
                    if begun.elapsed() > self.patience {
                        return Err(Some(format!("the server did not take it for {:?}: {why}", self.patience)));
                    }
                    tracing::debug!(attempt = %file.attempt, name = file.name, why, "an upload is tried again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE.1);
                }
            }
        }
    }

    /// Where to send it; and whether that had to be waited for.
    pub(super) async fn target(&mut self) -> (Target, bool) {
        let mut waited = false;
        loop {
            if let Some(target) = self.session.borrow_and_update().clone() {
                return (target, waited);
            }
            waited = true;
            if self.session.changed().await.is_err() {
                // The worker is leaving.
                std::future::pending::<()>().await;
            }
        }
    }

    fn request(&self, target: &Target, method: Method, hashed: &Hashed) -> RequestBuilder {
        self.call(target, method, &format!("blobs/{}", hashed.digest))
    }

    pub(super) fn call(&self, target: &Target, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}/api/v1/{path}", target.server));
        let named = call::http_headers(&target.caller);
        let request = named.into_iter().fold(request, |request, (name, value)| request.header(name, value));
        request.bearer_auth(&target.caller.key).timeout(REQUEST_WITHIN)
    }

    async fn ask(&self, target: &Target, hashed: &Hashed) -> Step {
        match self.request(target, Method::HEAD, hashed).send().await {
            Err(error) => Step::Later(chain(&error.without_url())),
            Ok(response) => match response.status() {
                StatusCode::OK => Step::There,
                StatusCode::NOT_FOUND => Step::From(offset(&response).unwrap_or(0).min(hashed.look.size)),
                status => Step::Later(format!("it answers {status}")),
            },
        }
    }

    async fn put(&self, target: &Target, file: &File, hashed: &Hashed, from: u64) -> Step {
        let length = PART_BYTES.min(hashed.look.size.saturating_sub(from));
        let part = match part(&file.path, (from, length)).await {
            Ok(part) => part,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Step::Changed,
            Err(error) => return Step::Refused(format!("reading it failed: {error}")),
        };
        let request = self.request(target, Method::PUT, hashed);
        let request = request.header("upload-offset", from).header("upload-length", hashed.look.size).body(part);
        match request.send().await {
            Err(error) => Step::Later(chain(&error.without_url())),
            Ok(response) => answered(response).await,
        }
    }
}

async fn answered(response: Response) -> Step {
    let status = response.status();
    match status {
        StatusCode::CREATED => Step::There,
        StatusCode::ACCEPTED => {
            offset(&response).map_or_else(|| Step::Later("it does not say how much".into()), Step::From)
        }
        StatusCode::UNPROCESSABLE_ENTITY => Step::Changed,
        StatusCode::PAYLOAD_TOO_LARGE => Step::Refused(detail(response).await),
        StatusCode::CONFLICT => match offset(&response) {
            Some(come) => Step::From(come),
            None => Step::Later(detail(response).await),
        },
        // What it is about is told by the next question.
        _ => Step::Later(format!("{status}: {}", detail(response).await)),
    }
}

async fn detail(response: Response) -> String {
    let status = response.status();
    let body = response.bytes().await.unwrap_or_default();
    let problem: Option<serde_json::Value> = serde_json::from_slice(&body).ok();
    let detail = problem.and_then(|problem| problem.get("detail")?.as_str().map(str::to_owned));
    detail.unwrap_or_else(|| format!("the server answers {status}"))
}

fn offset(response: &Response) -> Option<u64> {
    response.headers().get("upload-offset")?.to_str().ok()?.parse().ok()
}

/// So many bytes of a file, read as they are taken.
async fn part(path: &Path, (from, length): (u64, u64)) -> io::Result<Body> {
    let mut file = tokio::fs::File::open(path).await?;
    file.seek(io::SeekFrom::Start(from)).await?;
    Ok(Body::wrap_stream(ReaderStream::with_capacity(file.take(length), READ_BYTES)))
}

/// Blocks.
fn hash(path: &Path) -> io::Result<Hashed> {
    let mut file = std::fs::File::open(path)?;
    let look = Look::of(&file.metadata()?);
    let mut hasher = blake3::Hasher::new();
    let copied = io::copy(&mut file, &mut hasher)?;
    // Of one that grows meanwhile, what was hashed is sent.
    let look = Look { size: copied, ..look };
    Ok(Hashed { digest: hasher.finalize().to_hex().to_string(), look })
}
