//! The client itself, and how a call is made: address, token, errors, and when to send again.

use std::sync::{Arc, Once};
use std::time::Duration;

use bowline_api::Problem;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use reqwest::{Method, Response, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::error::{ApiError, ClientError};

/// How long a connection may take to open.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an ordinary call may take.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_mins(1);
/// Longest name of a user, in bytes.
const USER_BYTES_MAX: usize = 64;
/// How often a connection that says nothing is probed.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// A connection that was idle for so long is not used again: the server closes it after 10 s, and whoever was kept from
/// looking meanwhile would send on what is closed.
const IDLE_MAX: Duration = Duration::from_secs(5);
/// How long a submit is sent again, where its connection broke or the server was busy.
const WRITE_PATIENCE: Duration = Duration::from_secs(10);
/// How long whoever waits or follows bears with a server that is away.
const AWAY_PATIENCE: Duration = Duration::from_mins(5);
/// The first pause before sending again, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// The client. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Clone)]
struct Inner {
    http: reqwest::Client,
    base: Url,
    token: Option<HeaderValue>,
    namespace: String,
    user: Option<HeaderValue>,
    patience: Option<Duration>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("base", &self.inner.base.as_str()).finish_non_exhaustive()
    }
}

impl Client {
    /// A client of the server at this address (`http://127.0.0.1:7420`), with this secret. Nothing
    /// is sent yet.
    pub fn new(base_url: &str, token: Option<&str>) -> Result<Self, ClientError> {
        install_crypto();
        let base = parse_base(base_url)?;
        let token = token.map(bearer).transpose()?;
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_keepalive(KEEPALIVE)
            .pool_idle_timeout(IDLE_MAX);
        if is_loopback(&base) {
            builder = builder.no_proxy();
        }
        let http =
            builder.build().map_err(|error| ClientError::Setup { what: "HTTP client", problem: error.to_string() })?;
        let inner = Inner { http, base, token, namespace: "default".to_owned(), user: None, patience: None };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The same client, speaking of this namespace.
    #[must_use]
    pub fn with_namespace(&self, namespace: &str) -> Self {
        Self { inner: Arc::new(Inner { namespace: namespace.to_owned(), ..(*self.inner).clone() }) }
    }

    /// The same client, saying who types: shown in histories, and what `mine` in a list means. It
    /// opens nothing; the server heeds it from administrators only. A name that cannot stand in a
    /// header, or is longer than 64 bytes, is left out.
    #[must_use]
    pub fn with_user(&self, user: &str) -> Self {
        let fits = (1..=USER_BYTES_MAX).contains(&user.len());
        let user = fits.then(|| HeaderValue::from_bytes(user.as_bytes()).ok()).flatten();
        Self { inner: Arc::new(Inner { user, ..(*self.inner).clone() }) }
    }

    /// The same client, bearing with a server that is away for this long, in every call that may
    /// be repeated. Without this, a call fails at once where nobody answers; waiting and following
    /// bear with 5 min.
    #[must_use]
    pub fn with_patience(&self, patience: Duration) -> Self {
        Self { inner: Arc::new(Inner { patience: Some(patience), ..(*self.inner).clone() }) }
    }

    /// The server's address.
    pub fn base_url(&self) -> &str {
        self.inner.base.as_str().trim_end_matches('/')
    }

    /// The namespace that it speaks of.
    pub fn namespace(&self) -> &str {
        &self.inner.namespace
    }

    /// How long waiting and following bear with a server that is away.
    pub(crate) fn away_patience(&self) -> Duration {
        self.inner.patience.unwrap_or(AWAY_PATIENCE)
    }

    /// A call to a path below `/api/v1`, in this client's namespace.
    pub(crate) fn call(&self, method: Method, segments: &[&str]) -> Call<'_> {
        let mut url = self.address(&["api", "v1"]);
        extend(&mut url, segments);
        url.query_pairs_mut().append_pair("namespace", &self.inner.namespace);
        Call::new(self, method, url)
    }

    /// A call to a path outside it.
    pub(crate) fn call_root(&self, method: Method, segments: &[&str]) -> Call<'_> {
        let url = self.address(segments);
        Call::new(self, method, url)
    }

    fn address(&self, segments: &[&str]) -> Url {
        let mut url = self.inner.base.clone();
        extend(&mut url, segments);
        url
    }
}

/// Every byte is sent that a segment has: left to itself a URL loses ends of lines and tabs.
fn extend(url: &mut Url, segments: &[&str]) {
    let mut path = url.path().trim_end_matches('/').to_owned();
    // One of dots alone would lead elsewhere.
    for segment in segments.iter().filter(|segment| ![".", ".."].contains(*segment)) {
        path.push('/');
        path.extend(percent_encoding::utf8_percent_encode(segment, ENCODED));
    }
    url.set_path(&path);
}

/// All that is not a letter, a digit, or one of `-._~`.
const ENCODED: &percent_encoding::AsciiSet =
    &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Whether a call may be sent again without being done twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Repeat {
    Never,
    /// It only reads.
    Read,
    /// It carries an idempotency key.
    Keyed,
}

/// A call about to be made.
pub(crate) struct Call<'a> {
    client: &'a Client,
    method: Method,
    url: Url,
    body: Option<bytes::Bytes>,
    headers: Vec<(&'static str, String)>,
    timeout: Option<Duration>,
    /// How long the beginning of a stream may take.
    head: Duration,
    repeat: Repeat,
}

impl<'a> Call<'a> {
    fn new(client: &'a Client, method: Method, url: Url) -> Self {
        let repeat = if method == Method::GET { Repeat::Read } else { Repeat::Never };
        Self {
            client,
            method,
            url,
            body: None,
            headers: Vec::new(),
            timeout: Some(CALL_TIMEOUT),
            head: CALL_TIMEOUT,
            repeat,
        }
    }

    /// With these parameters. `namespace`, where given here, takes the place of the client's.
    pub(crate) fn query<T: Serialize>(mut self, query: &T) -> Result<Self, ClientError> {
        let request = self.client.inner.http.get(self.client.inner.base.clone()).query(query).build();
        let built = request.map_err(|error| ClientError::Setup { what: "query", problem: error.to_string() })?;
        let pairs: Vec<(String, String)> = built.url().query_pairs().into_owned().collect();
        let namespace = pairs.iter().any(|(name, _)| name == "namespace");
        if namespace {
            self.url.set_query(None);
        }
        if !pairs.is_empty() {
            self.url.query_pairs_mut().extend_pairs(pairs);
        }
        Ok(self)
    }

    /// With one parameter.
    pub(crate) fn pair(mut self, name: &str, value: &str) -> Self {
        self.url.query_pairs_mut().append_pair(name, value);
        self
    }

    /// With this document as its body.
    pub(crate) fn json<T: Serialize>(mut self, document: &T) -> Result<Self, ClientError> {
        let body = serde_json::to_vec(document)
            .map_err(|error| ClientError::Setup { what: "request", problem: error.to_string() })?;
        self.body = Some(body.into());
        Ok(self)
    }

    /// Done once under this key, however often it is sent.
    pub(crate) fn key(mut self, key: String) -> Self {
        self.headers.push(("idempotency-key", key));
        self.repeat = Repeat::Keyed;
        self
    }

    /// Sending it twice does it once.
    pub(crate) fn repeatable(mut self) -> Self {
        self.repeat = Repeat::Keyed;
        self
    }

    /// With a header.
    pub(crate) fn header(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    /// It may take so much longer than an ordinary call.
    pub(crate) fn waits(mut self, wait: Duration) -> Self {
        self.timeout = Some(CALL_TIMEOUT + wait);
        self
    }

    /// Its answer is a stream without an end of its own.
    pub(crate) fn endless(mut self) -> Self {
        self.timeout = None;
        self.repeat = Repeat::Never;
        self
    }

    /// The stream may begin so late.
    pub(crate) fn begins_within(mut self, head: Duration) -> Self {
        self.head = head;
        self
    }

    /// Makes it and reads the document that comes back.
    pub(crate) async fn read<T: DeserializeOwned>(self) -> Result<T, ClientError> {
        let operation = format!("{} {}", self.method, self.url.path());
        let client = self.client;
        let response = self.send().await?;
        let bytes = response.bytes().await.map_err(|error| unreachable(client, error))?;
        serde_json::from_slice(&bytes).map_err(|error| ClientError::Answer {
            operation,
            url: client.base_url().to_owned(),
            source: error.into(),
        })
    }

    /// Makes it; what comes back matters only by its status.
    pub(crate) async fn done(self) -> Result<(), ClientError> {
        self.send().await.map(drop)
    }

    /// Makes it, again where that is allowed, and gives back an answer that is no problem.
    pub(crate) async fn send(self) -> Result<Response, ClientError> {
        let begun = Instant::now();
        let mut pause = Backoff::new();
        loop {
            let error = match self.send_once().await {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            if !error.is_passing() || begun.elapsed() >= self.patience(&error) {
                return Err(error);
            }
            pause.wait().await;
        }
    }

    /// For how long this error is worth sending the call again.
    fn patience(&self, error: &ClientError) -> Duration {
        let refused = match error {
            ClientError::Unreachable { source, .. } => {
                source.downcast_ref::<reqwest::Error>().is_some_and(reqwest::Error::is_connect)
            }
            _ => false,
        };
        match (self.repeat, self.client.inner.patience) {
            (Repeat::Never, _) | (Repeat::Read, None) => Duration::ZERO,
            (Repeat::Read | Repeat::Keyed, Some(patience)) => patience,
            (Repeat::Keyed, None) if refused => Duration::ZERO,
            (Repeat::Keyed, None) => WRITE_PATIENCE,
        }
    }

    async fn send_once(&self) -> Result<Response, ClientError> {
        let inner = &self.client.inner;
        let mut request = inner.http.request(self.method.clone(), self.url.clone());
        request = request.header(USER_AGENT, concat!("bowline/", env!("CARGO_PKG_VERSION")));
        if let Some(token) = &inner.token {
            request = request.header(AUTHORIZATION, token.clone());
        }
        if let Some(user) = &inner.user {
            request = request.header("bowline-user", user.clone());
        }
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        if let Some(body) = &self.body {
            request = request.header(CONTENT_TYPE, "application/json").body(body.clone());
        }
        if let Some(timeout) = self.timeout {
            request = request.timeout(timeout);
        }
        // A stream may go on for ever, but its beginning may not take so long.
        let head = self.timeout.unwrap_or(self.head);
        let sent = tokio::time::timeout(head, request.send()).await.map_err(|_| no_answer(self.client, head))?;
        let response = sent.map_err(|error| {
            if error.is_timeout() && !error.is_connect() {
                no_answer(self.client, head)
            } else {
                unreachable(self.client, error)
            }
        })?;
        if response.status().is_success() { Ok(response) } else { Err(problem(self.client, response).await) }
    }
}

/// Pauses that grow, with jitter.
pub(crate) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self { next: PAUSES.0 }
    }

    pub(crate) fn reset(&mut self) {
        self.next = PAUSES.0;
    }

    /// Waits half of the pause and a random part of the other half; the next is twice as long.
    pub(crate) async fn wait(&mut self) {
        let random = uuid::Uuid::new_v4().as_bytes()[0];
        let length = self.next / 2 + self.next.mul_f64(f64::from(random) / 512.0);
        self.next = (self.next * 2).min(PAUSES.1);
        tokio::time::sleep(length).await;
    }
}

/// The connection could not be opened, or broke.
pub(crate) fn unreachable(client: &Client, error: reqwest::Error) -> ClientError {
    ClientError::Unreachable { url: client.base_url().to_owned(), source: error.without_url().into() }
}

/// The connection stands, and nothing comes.
pub(crate) fn no_answer(client: &Client, within: Duration) -> ClientError {
    ClientError::NoAnswer { url: client.base_url().to_owned(), seconds: within.as_secs() }
}

/// An answer that is no success, as an error.
async fn problem(client: &Client, response: Response) -> ClientError {
    let status = response.status();
    let bytes = match response.bytes().await {
        Ok(bytes) => bytes,
        Err(error) => return unreachable(client, error),
    };
    match serde_json::from_slice::<Problem>(&bytes) {
        Ok(problem) => ClientError::Api(problem.into()),
        Err(_) => ClientError::Api(ApiError {
            status: status.as_u16(),
            code: "unknown".to_owned(),
            detail: format!(
                "The server at {} answered {status}, and not as a Bowline server does. Check the address.",
                client.base_url()
            ),
            mistakes: Vec::new(),
        }),
    }
}

fn parse_base(text: &str) -> Result<Url, ClientError> {
    let bad = |problem: String| ClientError::Setup { what: "server address", problem };
    let url = Url::parse(text)
        .map_err(|error| bad(format!("`{text}` is no address ({error}); write it as `http://127.0.0.1:7420`")))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(bad(format!("`{text}` is no address; write it as `http://127.0.0.1:7420`")));
    }
    Ok(url)
}

fn bearer(token: &str) -> Result<HeaderValue, ClientError> {
    let mut value = HeaderValue::try_from(format!("Bearer {}", token.trim())).map_err(|_| ClientError::Setup {
        what: "token",
        problem: "it holds characters that no token has; check the token file".to_owned(),
    })?;
    value.set_sensitive(true);
    Ok(value)
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// One crypto provider for the process, unless the program has chosen one.
fn install_crypto() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // An error says that there is one already, which is as good.
        drop(rustls::crypto::ring::default_provider().install_default());
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked_before_anything_is_sent() {
        for bad in ["", "127.0.0.1:7420", "ftp://here", "http://", "unix:/tmp/x"] {
            assert!(Client::new(bad, None).is_err(), "{bad}");
        }
        assert!(Client::new("http://127.0.0.1:7420", Some("bad\ntoken")).is_err());
    }

    #[test]
    fn names_are_escaped_in_paths() {
        let client = Client::new("http://127.0.0.1:7420/prefix/", None).unwrap().with_namespace("a b");
        let call = client.call(Method::GET, &["workers", "lab/3?"]);
        assert_eq!(call.url.as_str(), "http://127.0.0.1:7420/prefix/api/v1/workers/lab%2F3%3F?namespace=a+b");
    }

    #[test]
    fn a_query_may_name_another_namespace() {
        let client = Client::new("http://127.0.0.1:7420", None).unwrap();
        let query = bowline_api::TaskQuery { namespace: Some("*".to_owned()), limit: Some(3), ..Default::default() };
        let call = client.call(Method::GET, &["tasks"]).query(&query).unwrap();
        assert_eq!(call.url.query(), Some("namespace=*&limit=3"));
    }

    #[test]
    fn loopback_is_known_by_its_address() {
        for (url, is) in [
            ("http://127.0.0.1:1", true),
            ("http://[::1]:1", true),
            ("http://localhost", true),
            ("http://10.0.0.1", false),
            ("http://localhost.example.org", false),
        ] {
            assert_eq!(is_loopback(&Url::parse(url).unwrap()), is, "{url}");
        }
    }

    /// Connections are taken, and nothing is ever said.
    #[tokio::test(start_paused = true)]
    async fn a_server_that_stands_still_is_told_from_one_that_is_away() {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let client = Client::new(&format!("http://{}", listener.local_addr().unwrap()), None).unwrap();
        let asked = client.call(Method::POST, &["tasks"]).done().await.unwrap_err();
        assert!(matches!(asked, ClientError::NoAnswer { seconds: 60, .. }), "{asked:?}");
        let mut log = client.log(crate::LogRequest::new("1".parse().unwrap()));
        let asked = log.next().await.unwrap_err();
        assert!(matches!(asked, ClientError::NoAnswer { seconds: 60, .. }), "{asked:?}");
        drop(listener);
        let asked = client.call(Method::POST, &["tasks"]).done().await.unwrap_err();
        assert!(matches!(asked, ClientError::Unreachable { .. }), "{asked:?}");
    }
}
