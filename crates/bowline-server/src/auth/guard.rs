//! The checks of `Host` and `Origin` that every request passes, gRPC too.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::api::fault::Fault;
use crate::state::AppState;

/// The names under which this server may be called.
#[derive(Debug, Clone)]
pub(crate) struct Guard {
    names: Arc<[String]>,
    reach: Reach,
}

/// From where it can be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// One address, and loopback.
    One(IpAddr),
    /// Every address of this machine: any address is good, names are not.
    Any,
}

impl Guard {
    /// The guard of a server.
    pub(crate) fn new(state: &AppState) -> Self {
        let uname = rustix::system::uname();
        Self::of(state.local_addr, uname.nodename().to_str().unwrap_or_default())
    }

    fn of(listen: SocketAddr, machine: &str) -> Self {
        let reach = if listen.ip().is_unspecified() { Reach::Any } else { Reach::One(listen.ip()) };
        let mut names = vec!["localhost".to_owned()];
        if !listen.ip().is_loopback() && !machine.is_empty() {
            names.push(machine.to_lowercase());
        }
        Self { names: names.into(), reach }
    }

    /// Whether a request may go on.
    fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Fault> {
        let authority = match (headers.get(header::HOST), uri.authority()) {
            (Some(host), _) => host.to_str().unwrap_or_default().to_lowercase(),
            (None, Some(authority)) => authority.as_str().to_lowercase(),
            (None, None) => return Err(wrong_host("")),
        };
        if !self.knows(host_of(&authority)) {
            return Err(wrong_host(&authority));
        }
        match headers.get(header::ORIGIN) {
            None => Ok(()),
            Some(origin) if same_origin(origin.to_str().unwrap_or_default(), &authority) => Ok(()),
            Some(_) => Err(Fault::new(
                StatusCode::FORBIDDEN,
                "foreign_origin",
                "The request comes from another site's page (its Origin is not this server's), and is refused. Use the page that this server shows itself, or a program.",
            )),
        }
    }

    fn knows(&self, host: &str) -> bool {
        match host.trim_matches(['[', ']']).parse::<IpAddr>() {
            Ok(address) => {
                address.is_loopback()
                    || match self.reach {
                        Reach::One(own) => address == own,
                        Reach::Any => true,
                    }
            }
            Err(_) => self.names.iter().any(|name| name == host),
        }
    }
}

fn wrong_host(authority: &str) -> Fault {
    let shown: String = authority.chars().take(64).collect();
    Fault::new(
        StatusCode::MISDIRECTED_REQUEST,
        "wrong_host",
        format!(
            "This server is not called `{shown}`. Use the address that it printed at its start, or `localhost` on the same machine."
        ),
    )
}

/// The name before the port.
fn host_of(authority: &str) -> &str {
    let end = authority.rfind(':').filter(|at| !authority[*at..].contains(']')).unwrap_or(authority.len());
    &authority[..end]
}

fn same_origin(origin: &str, authority: &str) -> bool {
    let origin = origin.to_lowercase();
    let (scheme, rest) = origin.split_once("://").unwrap_or(("", ""));
    matches!(scheme, "http" | "https") && with_port(rest, scheme) == with_port(authority, scheme)
}

fn with_port(authority: &str, scheme: &str) -> String {
    if host_of(authority).len() < authority.len() {
        authority.to_owned()
    } else {
        format!("{authority}:{}", if scheme == "https" { 443 } else { 80 })
    }
}

/// Lets on what is meant for this server and comes from no foreign page.
pub(crate) async fn guard(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    match guard.check(request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(fault) => fault.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(listen: &str, host: &str, origin: Option<&str>) -> Result<(), Fault> {
        let guard = Guard::of(listen.parse().unwrap(), "lab-host");
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        guard.check(&Uri::from_static("/"), &headers)
    }

    #[test]
    fn only_its_own_names_are_answered() {
        for host in ["127.0.0.1:7420", "localhost:7420", "[::1]:7420", "LocalHost", "127.0.0.1"] {
            assert!(check("127.0.0.1:7420", host, None).is_ok(), "{host}");
        }
        for host in ["evil.example:7420", "10.0.0.1:7420", "lab-host:7420", "localhost.evil.example", ""] {
            assert!(check("127.0.0.1:7420", host, None).is_err(), "{host}");
        }
        for host in ["10.0.0.1:7420", "lab-host:7420", "localhost:7420"] {
            assert!(check("10.0.0.1:7420", host, None).is_ok(), "{host}");
            assert!(check("0.0.0.0:7420", host, None).is_ok(), "{host}");
        }
        assert!(check("10.0.0.1:7420", "10.0.0.2:7420", None).is_err());
        assert!(check("0.0.0.0:7420", "evil.example:7420", None).is_err());
    }

    #[test]
    fn foreign_pages_are_refused() {
        assert!(check("127.0.0.1:7420", "localhost:7420", Some("http://localhost:7420")).is_ok());
        assert!(check("127.0.0.1:80", "localhost", Some("http://localhost")).is_ok());
        for origin in [
            "http://evil.example",
            "http://localhost:3000",
            "http://127.0.0.1:7420",
            "null",
            "file://localhost:7420",
            "http://localhost:7420.evil.example",
        ] {
            let fault = check("127.0.0.1:7420", "localhost:7420", Some(origin)).unwrap_err();
            assert_eq!(fault.status(), StatusCode::FORBIDDEN, "{origin}");
        }
    }
}
