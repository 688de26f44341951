//! Small files go together in one request, without asking first what the server has of them. Whatever is not
//! stored that way goes by itself, as a large one does.

use std::collections::HashSet;
use std::fs;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use bowline_protocol::bundle::{self, Bundle, Load};
use bowline_protocol::limits;
use reqwest::{Method, StatusCode, header};

use super::send::{Sender, Sent};
use super::{File, Look};
use crate::logs::link::Target;
use crate::pool::chain;

/// Whether a server takes bundles: one of an earlier version does not.
#[derive(Debug, Default)]
pub(super) struct Bundles {
    refused: AtomicBool,
}

impl Bundles {
    /// It may be another server, or another version: found out anew.
    pub(super) fn learn(&self) {
        self.refused.store(false, Ordering::Relaxed);
    }
}

/// A file that was read, as it was then.
struct Small {
    file: File,
    digest: String,
    look: Look,
}

impl Sender {
    /// Sends these, small ones together.
    pub(super) async fn send_all(mut self, files: Vec<File>) -> Vec<(File, Sent)> {
        let are_small = files.iter().all(|file| Load::default().with(file.bytes).is_some());
        let (mut sent, mut rest) = (Vec::new(), files);
        if are_small && !self.together.refused.load(Ordering::Relaxed) {
            (sent, rest) = self.send_together(rest).await;
        }
        for file in rest {
            let one = self.clone().send(&file).await;
            sent.push((file, one));
        }
        sent
    }

    /// What was sent, and what is left to be sent by itself.
    async fn send_together(&mut self, files: Vec<File>) -> (Vec<(File, Sent)>, Vec<File>) {
        let again = files.clone();
        let Ok((bundle, small, mut rest)) = tokio::task::spawn_blocking(move || read_all(files)).await else {
            return (Vec::new(), again);
        };
        let (target, _) = self.target().await;
        let stored = if bundle.is_empty() { HashSet::new() } else { self.post(&target, bundle).await };
        let mut sent = Vec::new();
        for Small { file, digest, look } in small {
            if stored.contains(&digest) {
                let _gone = self.progress.send((file.attempt, look.size));
                sent.push((file, Sent::There { digest, look }));
            } else {
                rest.push(file);
            }
        }
        (sent, rest)
    }

    /// The digests that the server has now.
    async fn post(&self, target: &Target, bundle: Bundle) -> HashSet<String> {
        let request = self.call(target, Method::POST, "blobs").header(header::CONTENT_TYPE, bundle::MEDIA_TYPE);
        let response = match request.body(bundle.into_body()).send().await {
            Ok(response) => response,
            Err(error) => {
                let why = chain(&error.without_url());
                tracing::debug!(why, "small files go one by one");
                return HashSet::new();
            }
        };
        let status = response.status();
        if matches!(status, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED) {
            self.together.refused.store(true, Ordering::Relaxed);
        }
        if !status.is_success() {
            tracing::debug!(%status, "small files go one by one");
            return HashSet::new();
        }
        let body = response.bytes().await.unwrap_or_default();
        let answer: Option<serde_json::Value> = serde_json::from_slice(&body).ok();
        let stored = answer.as_ref().and_then(|answer| answer.get("stored")?.as_array());
        stored.into_iter().flatten().filter_map(|digest| digest.as_str().map(str::to_owned)).collect()
    }
}

/// Reads and hashes them. What cannot be read, or has grown, is told when it goes by itself. Blocks.
fn read_all(files: Vec<File>) -> (Bundle, Vec<Small>, Vec<File>) {
    let (mut bundle, mut small, mut rest) = (Bundle::default(), Vec::new(), Vec::new());
    for file in files {
        match read(&file.path) {
            Ok((look, bytes)) if bundle.has_room(look.size) => {
                let digest = blake3::hash(&bytes).to_hex().to_string();
                bundle.push(&digest, &bytes);
                small.push(Small { file, digest, look });
            }
            Ok(_) | Err(_) => rest.push(file),
        }
    }
    (bundle, small, rest)
}

/// A file's bytes, and a little more than a small one may have.
fn read(path: &Path) -> io::Result<(Look, Vec<u8>)> {
    let file = fs::File::open(path)?;
    let look = Look::of(&file.metadata()?);
    let mut bytes = Vec::new();
    file.take(limits::SMALL_BLOB_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok((Look { size: bytes.len() as u64, ..look }, bytes))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use bowline_protocol::call::Caller;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::sync::{mpsc, watch};
    use tokio::task::JoinSet;

    use super::super::Why;
    use super::*;

    /// A server that does not know of bundles: it says so, and has whatever it is asked for by itself. Tells the
    /// first line of each request.
    async fn earlier_server(listener: TcpListener, said: mpsc::UnboundedSender<String>) {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut come = Vec::new();
            while !come.windows(4).any(|four| four == b"\r\n\r\n") {
                let mut piece = [0; 1024];
                let read = stream.read(&mut piece).await.unwrap();
                come.extend_from_slice(&piece[..read]);
            }
            let line = String::from_utf8_lossy(&come).lines().next().unwrap().to_owned();
            let status = if line.starts_with("POST") { "404 Not Found" } else { "200 OK" };
            said.send(line).unwrap();
            let answer =
                format!("HTTP/1.1 {status}\r\nupload-offset: 1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_server_that_does_not_take_them_together_is_asked_once_and_gets_them_one_by_one() {
        let folder = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        let (said, mut requests) = mpsc::unbounded_channel();
        let mut serving = JoinSet::new();
        serving.spawn(earlier_server(listener, said));
        let caller = Caller { worker: "lab".parse().unwrap(), pool: None, key: "key".to_owned() };
        let target = Target { server, caller, process: "p".to_owned() };
        let (_session, session) = watch::channel(Some(target));
        let (progress, _progressed) = mpsc::unbounded_channel();
        let client = crate::http_action::client().unwrap();
        let sender = Sender { client, session, patience: Duration::from_secs(20), progress, together: Arc::default() };
        let attempt = crate::attempt::of_key("t1-g1-a1").unwrap();
        let file = |name: &str| {
            let path = folder.path().join(name);
            fs::write(&path, b"x").unwrap();
            File { attempt, name: name.to_owned(), path, why: Why::Left, bytes: 1 }
        };
        for _ in 0..2 {
            let sent = sender.clone().send_all(vec![file("a"), file("b")]).await;
            assert!(sent.len() == 2 && sent.iter().all(|(_, sent)| matches!(sent, Sent::There { .. })), "{sent:?}");
        }
        serving.shutdown().await;
        let mut methods = Vec::new();
        while let Ok(line) = requests.try_recv() {
            methods.push(line.split(' ').next().unwrap().to_owned());
        }
        assert_eq!(methods, ["POST", "HEAD", "HEAD", "HEAD", "HEAD"]);
    }
}
