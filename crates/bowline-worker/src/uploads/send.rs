//! Sends one file's bytes: hashes it, asks the server what it has of it, and sends what it has not, in
//! parts, until all is there or it must be given up.

use std::fs;
use std::io::{self, Read as _, Seek as _};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bowline_core::id::AttemptRef;
use bowline_protocol::call;
use bytes::Bytes;
use reqwest::{Body, Client, Method, RequestBuilder, Response, StatusCode};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;

use super::hash::{Hashed, hash};
use super::together::Bundles;
use super::{File, Look};
use crate::logs::link::Target;
use crate::pool::chain;

/// Bytes of one request, from the first to the largest: what is on its way when a connection breaks may have to be sent
/// again, and a request must come to its end in time.
const PART_BYTES: (u64, u64) = (8 << 20, 64 << 20);
/// A part that takes no longer is followed by one of twice its length.
const PART_IS_QUICK: Duration = Duration::from_secs(1);
/// Bytes read at a time, few enough to be memory that is used again, and how often ahead of what is sent.
const READ_BYTES: u64 = 64 << 10;
const READS_AHEAD: usize = 16;
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
        let (mut known, mut length): (Option<u64>, u64) = (None, PART_BYTES.0);
        loop {
            let (target, waited) = self.target().await;
            if waited {
                (pause, begun, known) = (PAUSE.0, Instant::now(), None);
            }
            let asked = Instant::now();
            let step = match known.take() {
                None => self.ask(&target, hashed).await,
                Some(from) => {
                    let step = self.put(&target, file, hashed, (from, length)).await;
                    length =
                        if asked.elapsed() < PART_IS_QUICK { (length * 2).min(PART_BYTES.1) } else { PART_BYTES.0 };
                    step
                }
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

    async fn put(&self, target: &Target, file: &File, hashed: &Hashed, (from, most): (u64, u64)) -> Step {
        let length = most.min(hashed.look.size.saturating_sub(from));
        let (pieces, body) = mpsc::channel(READS_AHEAD);
        let unread = Arc::new(OnceLock::new());
        let (path, why) = (file.path.clone(), Arc::clone(&unread));
        // It ends with the body that it feeds, which need not be before the answer.
        let _reading = tokio::task::spawn_blocking(move || feed(&path, (from, length), &pieces, &why));
        let request = self.request(target, Method::PUT, hashed);
        let request = request.header("upload-offset", from).header("upload-length", hashed.look.size);
        let answer = request.body(Body::wrap_stream(ReceiverStream::new(body))).send().await;
        match unread.get() {
            Some(error) if is_shorter(error) => return Step::Changed,
            Some(error) => return Step::Refused(format!("reading it failed: {error}")),
            None => {}
        }
        match answer {
            Err(error) => Step::Later(chain(&error.without_url())),
            Ok(response) => answered(response).await,
        }
    }
}

/// It is not what it was when it was hashed.
fn is_shorter(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof)
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

/// So many bytes of a file, read as they are taken, until nobody takes them any more. What keeps them from being read is
/// noted before they break off. Blocks.
fn feed(path: &Path, range: (u64, u64), pieces: &mpsc::Sender<io::Result<Bytes>>, why: &OnceLock<io::Error>) {
    if let Err(error) = read(path, range, pieces) {
        let kind = error.kind();
        let _first = why.set(error);
        let _gone = pieces.blocking_send(Err(kind.into()));
    }
}

/// Blocks.
fn read(path: &Path, (from, mut left): (u64, u64), pieces: &mpsc::Sender<io::Result<Bytes>>) -> io::Result<()> {
    let mut file = fs::File::open(path)?;
    file.seek(io::SeekFrom::Start(from))?;
    while left > 0 {
        let now = left.min(READ_BYTES);
        let mut piece = Vec::with_capacity(usize::try_from(now).unwrap_or_default());
        if ((&mut file).take(now).read_to_end(&mut piece)? as u64) < now {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        left -= now;
        if pieces.blocking_send(Ok(piece.into())).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bowline_core::id::{AttemptNo, Fence, Generation, TaskId, TaskRef};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::super::Why;
    use super::*;

    #[test]
    fn a_part_is_read_as_it_is_and_a_file_that_became_shorter_has_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let bytes: Vec<u8> = (0..600_000_u32).flat_map(u32::to_le_bytes).collect();
        fs::write(&path, &bytes).unwrap();
        let all = |range| {
            let ((pieces, mut taken), why) = (mpsc::channel(100), OnceLock::new());
            feed(&path, range, &pieces, &why);
            drop(pieces);
            let mut come = Vec::new();
            while let Some(piece) = taken.blocking_recv() {
                match piece {
                    Ok(piece) => come.extend_from_slice(&piece),
                    Err(_) => return Err(why.into_inner().unwrap()),
                }
            }
            assert!(why.get().is_none());
            Ok(come)
        };
        let length = bytes.len() as u64;
        assert_eq!(all((0, length)).unwrap(), bytes);
        assert_eq!(all((5, 300_000)).unwrap(), bytes[5..300_005]);
        assert!(is_shorter(&all((5, length)).unwrap_err()));
        fs::remove_file(&path).unwrap();
        assert!(is_shorter(&all((0, 1)).unwrap_err()));
    }

    /// Takes each request whole, says that so many bytes of the blob have come, and closes the connection.
    async fn says_always(come: u64, listener: TcpListener) {
        while let Ok((mut connection, _)) = listener.accept().await {
            let (mut asked, mut piece) = (Vec::new(), [0; 4096]);
            let is_whole = |asked: &[u8]| {
                let end: &[u8] = if asked.starts_with(b"HEAD") { b"\r\n\r\n" } else { b"\r\n0\r\n\r\n" };
                asked.ends_with(end)
            };
            while !is_whole(&asked) {
                match connection.read(&mut piece).await {
                    Ok(0) | Err(_) => break,
                    Ok(read) => asked.extend_from_slice(&piece[..read]),
                }
            }
            let status = if asked.starts_with(b"HEAD") { "404 Not Found" } else { "202 Accepted" };
            let answer =
                format!("HTTP/1.1 {status}\r\nupload-offset: {come}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            let _gone = connection.write_all(answer.as_bytes()).await;
        }
    }

    #[tokio::test]
    async fn a_file_that_becomes_shorter_while_it_is_sent_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, [1; 500]).unwrap();
        let mut hashed = hash(&path).unwrap();
        hashed.look.size = 1_000;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        let mut serving = tokio::task::JoinSet::new();
        serving.spawn(says_always(500, listener));
        let caller = call::Caller { worker: "w".parse().unwrap(), pool: None, key: "k".into() };
        let (_session, session) = watch::channel(Some(Target { server, caller, process: "p".into() }));
        let (progress, _progressed) = mpsc::unbounded_channel();
        let (client, patience) = (crate::http_action::client().unwrap(), Duration::from_mins(1));
        let mut sender = Sender { client, session, patience, progress, together: Arc::default() };
        let fence = Fence { generation: Generation(1), attempt: AttemptNo(1) };
        let attempt = AttemptRef { task: TaskRef { task: TaskId(1), index: None }, fence };
        let file = File { attempt, name: "file".into(), path, why: Why::Left, bytes: 1_000 };
        let sent = tokio::time::timeout(Duration::from_secs(20), sender.send_hashed(&file, &hashed)).await;
        assert_eq!(sent.unwrap(), Err(None));
    }
}
