//! Who may come in, and what he may do there.
//!
//! * Every request: its `Host` must name this server (against DNS rebinding), and its `Origin`,
//!   where it has one, must be this server's own (against foreign web pages).
//! * Every request under `/api/v1`: `Authorization: Bearer TOKEN`. The administrator's token may do
//!   everything; an enrolment token may enrol one worker; an attempt's token may read in its own
//!   namespace and submit there, for as long as the attempt lives; a worker's key, with the header
//!   `Bowline-Worker`, may look for, put and get blobs.
//! * Open without a token: `/`, `/healthz`, `/readyz`, `/openapi.json`, `/docs`; `/metrics` only on a
//!   server that listens on a loopback address alone.
//!
//! Secrets are compared by their BLAKE3 hashes, in constant time.

mod guard;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bowline_core::gang::Member;
use bowline_core::id::AttemptRef;
use bowline_core::input::{Token, TokenRole};
use bowline_core::name::{Actor, Namespace};
use bowline_store::AttemptFilter;

use crate::api::fault::Fault;
use crate::api::shell::Shell;

pub(crate) use guard::{Guard, guard};

/// Longest name in the header `Bowline-User`, in bytes.
const USER_BYTES_MAX: usize = 64;
/// How to come by a token.
const HOW: &str = "Name the file with the token by `--token-file` or `BOWLINE_TOKEN_FILE`; the administrator's is `token` in the server's data folder";

/// The hash under which a secret is kept: of a token, or of a worker's key, as text.
pub(crate) fn secret_hash(secret: &str) -> [u8; 32] {
    *blake3::hash(secret.as_bytes()).as_bytes()
}

/// What a caller may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Role {
    /// Everything.
    Admin,
    /// Enrol one worker, with the token of this hash.
    Enrol([u8; 32]),
    /// Read and submit in this namespace.
    Attempt(Namespace),
    /// Look for, put and get blobs.
    Worker,
}

/// Who asks.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) role: Role,
    /// His name in histories.
    pub(crate) actor: Actor,
    /// Where an attempt asks: which, and its place in its gang.
    pub(crate) attempt: Option<(AttemptRef, Option<Member>)>,
}

impl Caller {
    /// May he read in this namespace?
    pub(crate) fn read(&self, namespace: Option<&str>) -> Result<Namespace, Fault> {
        let namespace = named(namespace)?;
        match &self.role {
            Role::Admin => Ok(namespace),
            Role::Attempt(own) if *own == namespace => Ok(namespace),
            Role::Attempt(own) => {
                Err(Fault::forbidden(format!("This attempt's token opens only its own namespace, `{own}`.")))
            }
            Role::Enrol(_) => Err(only_enrols()),
            Role::Worker => Err(only_blobs()),
        }
    }

    /// May he read here, or with `*` everywhere (`None`)?
    pub(crate) fn read_some(&self, namespace: Option<&str>) -> Result<Option<Namespace>, Fault> {
        if namespace != Some("*") {
            return self.read(namespace).map(Some);
        }
        match &self.role {
            Role::Admin => Ok(None),
            Role::Attempt(own) => {
                Err(Fault::forbidden(format!("This attempt's token opens only its own namespace, `{own}`.")))
            }
            Role::Enrol(_) => Err(only_enrols()),
            Role::Worker => Err(only_blobs()),
        }
    }

    /// May he submit in this namespace?
    pub(crate) fn submit(&self, namespace: Option<&str>) -> Result<Namespace, Fault> {
        self.read(namespace)
    }

    /// May he act on what is in this namespace?
    pub(crate) fn operate(&self, namespace: Option<&str>) -> Result<Namespace, Fault> {
        self.administer()?;
        named(namespace)
    }

    /// May he do everything?
    pub(crate) fn administer(&self) -> Result<(), Fault> {
        match &self.role {
            Role::Admin => Ok(()),
            Role::Attempt(_) => Err(Fault::forbidden("An attempt's token may read and submit, and nothing else.")),
            Role::Enrol(_) => Err(only_enrols()),
            Role::Worker => Err(only_blobs()),
        }
    }

    /// May he put and get blobs by their digest alone?
    pub(crate) fn handle_blobs(&self) -> Result<(), Fault> {
        match &self.role {
            Role::Admin | Role::Worker => Ok(()),
            Role::Attempt(_) => {
                Err(Fault::forbidden("An attempt's token opens artifacts by their task and name, and no blobs."))
            }
            Role::Enrol(_) => Err(only_enrols()),
        }
    }

    /// May he see what belongs to no namespace: workers, counts?
    pub(crate) fn look_around(&self) -> Result<(), Fault> {
        match &self.role {
            Role::Admin | Role::Attempt(_) => Ok(()),
            Role::Enrol(_) => Err(only_enrols()),
            Role::Worker => Err(only_blobs()),
        }
    }
}

impl Caller {
    /// Which attempt asks, and its place in its gang.
    pub(crate) fn member(&self) -> Result<(AttemptRef, Member), Fault> {
        match self.attempt {
            Some((attempt, Some(member))) => Ok((attempt, member)),
            Some((attempt, None)) => Err(Fault::new(
                StatusCode::CONFLICT,
                "conflict",
                format!(
                    "Task {} is no member of a gang; submit it with others by `bowline submit --gang FILE`.",
                    attempt.task
                ),
            )),
            None => Err(Fault::forbidden(
                "What the members of a gang have among themselves opens with the token of one of their attempts alone: \
                 `BOWLINE_TOKEN` in its job.",
            )),
        }
    }
}

fn only_enrols() -> Fault {
    Fault::forbidden("This token enrols one worker, and opens nothing else.")
}

fn only_blobs() -> Fault {
    Fault::forbidden("A worker's key opens its session and blobs, and nothing else here.")
}

fn named(namespace: Option<&str>) -> Result<Namespace, Fault> {
    let Some(name) = namespace else { return Ok(Namespace::default_namespace()) };
    Namespace::new(name).map_err(|error| Fault::field("namespace", format!("{error}.")))
}

/// Lets in who has a good token, and notes who it is.
pub(crate) async fn authenticate(State(shell): State<Shell>, mut request: Request, next: Next) -> Response {
    match caller(&shell, request.headers()).await {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(fault) => fault.into_response(),
    }
}

/// The bearer token of a request.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Who asks, by his token.
pub(crate) async fn caller(shell: &Shell, headers: &HeaderMap) -> Result<Caller, Fault> {
    let Some(token) = bearer(headers) else {
        return Err(Fault::unauthenticated(format!("This server wants a token, and the request has none. {HOW}.")));
    };
    if headers.contains_key(bowline_protocol::call::WORKER) {
        return worker_caller(shell, headers, token).await;
    }
    if shell.app.secrets.is_admin(token) {
        return Ok(Caller {
            role: Role::Admin,
            actor: user(headers)?.unwrap_or_else(|| Actor::new("admin")),
            attempt: None,
        });
    }
    if let Some(attempt) = shell.app.secrets.attempt_of(token) {
        return attempt_caller(shell, attempt).await;
    }
    let tokens = shell.tokens().await?;
    let Some(token) = matching(&tokens, token) else {
        return Err(Fault::unauthenticated(format!(
            "The server does not know this token; it may be another server's, or used up. {HOW}."
        )));
    };
    let own = Actor::new(&token.name);
    match token.role {
        TokenRole::Admin => Ok(Caller { role: Role::Admin, actor: user(headers)?.unwrap_or(own), attempt: None }),
        TokenRole::Enrol => Ok(Caller { role: Role::Enrol(token.hash), actor: own, attempt: None }),
        // A worker's key opens sessions, and nothing here.
        TokenRole::Member => Err(Fault::unauthenticated(format!("This is a worker's key, and no token. {HOW}."))),
    }
}

/// The token of this secret. Every one is compared in constant time.
fn matching<'a>(tokens: &'a [Token], secret: &str) -> Option<&'a Token> {
    let hash = blake3::hash(secret.as_bytes());
    tokens.iter().find(|token| blake3::Hash::from_bytes(token.hash) == hash)
}

/// A worker comes in with the key that it enrolled.
async fn worker_caller(shell: &Shell, headers: &HeaderMap, key: &str) -> Result<Caller, Fault> {
    let caller = bowline_protocol::call::of_http(headers, key)
        .ok_or_else(|| Fault::invalid("`Bowline-Worker` names no worker, or `Bowline-Pool` no pool."))?;
    let actor = Actor::from(&caller.worker);
    shell.app.keys.check(&caller).await.map_err(|status| match status.code() {
        tonic::Code::Unauthenticated => Fault::unauthenticated(status.message()),
        _ => Fault::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", status.message()),
    })?;
    Ok(Caller { role: Role::Worker, actor, attempt: None })
}

/// An attempt may come in as long as it lives.
async fn attempt_caller(shell: &Shell, attempt: AttemptRef) -> Result<Caller, Fault> {
    let found = shell
        .read(move |store| {
            let lives = store.attempts(&AttemptFilter::One(attempt))?.iter().any(|row| row.ended_at.is_none());
            let task = if lives { store.task(attempt.task.task)? } else { None };
            Ok(task.map(|task| (task.row.namespace, task.spec.gang)))
        })
        .await?;
    let (namespace, member) =
        found.ok_or_else(|| Fault::unauthenticated("This token was good for an attempt that is over."))?;
    let actor = Actor::new(&format!("task {}", attempt.task));
    Ok(Caller { role: Role::Attempt(namespace), actor, attempt: Some((attempt, member)) })
}

/// The header `Bowline-User`: how an administrator's commands say who types them. It opens nothing.
fn user(headers: &HeaderMap) -> Result<Option<Actor>, Fault> {
    let Some(value) = headers.get("bowline-user") else { return Ok(None) };
    let name = std::str::from_utf8(value.as_bytes()).unwrap_or_default();
    if name.is_empty() || name.len() > USER_BYTES_MAX || name.chars().any(char::is_control) {
        return Err(Fault::invalid(format!("`Bowline-User` must be a name of 1 to {USER_BYTES_MAX} bytes.")));
    }
    Ok(Some(Actor::new(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(role: Role) -> Caller {
        Caller { role, actor: Actor::new("x"), attempt: None }
    }

    #[test]
    fn an_attempts_token_opens_its_own_namespace_only() {
        let own = Namespace::new("lab").unwrap();
        let attempt = caller(Role::Attempt(own.clone()));
        assert_eq!(attempt.read(Some("lab")).unwrap(), own);
        assert!(attempt.submit(Some("lab")).is_ok());
        assert!(attempt.read(None).is_err());
        assert!(attempt.read_some(Some("*")).is_err());
        assert!(attempt.operate(Some("lab")).is_err());
        assert!(attempt.administer().is_err());
    }

    #[test]
    fn an_enrolment_token_opens_nothing_else() {
        let enrol = caller(Role::Enrol([0; 32]));
        assert!(enrol.read(None).is_err());
        assert!(enrol.read_some(Some("*")).is_err());
        assert!(enrol.look_around().is_err());
        assert!(enrol.administer().is_err());
    }

    #[test]
    fn an_administrator_may_do_everything() {
        let admin = caller(Role::Admin);
        assert_eq!(admin.read_some(Some("*")).unwrap(), None);
        assert_eq!(admin.read(None).unwrap(), Namespace::default_namespace());
        assert!(admin.read(Some("no good")).is_err());
        assert!(admin.administer().is_ok());
    }

    #[test]
    fn tokens_are_known_by_their_hash() {
        let token = Token { hash: secret_hash("s3cret"), name: "n".to_owned(), role: TokenRole::Enrol, pool: None };
        let tokens = [token];
        assert!(matching(&tokens, "s3cret").is_some());
        assert!(matching(&tokens, "S3cret").is_none());
        assert!(matching(&tokens, "").is_none());
    }

    #[test]
    fn only_bearer_tokens_are_read() {
        let headers = |value: &str| HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())]);
        assert_eq!(bearer(&headers("Bearer abc")), Some("abc"));
        assert_eq!(bearer(&headers("bearer  abc ")), Some("abc"));
        assert_eq!(bearer(&headers("Basic abc")), None);
        assert_eq!(bearer(&HeaderMap::new()), None);
    }
}
