//! The metadata of a call: who calls, with which key, in which version of the protocol.

use std::fmt;

use bowline_core::name::{BadName, PoolName, WorkerName};
use tonic::metadata::{AsciiMetadataValue, MetadataMap};

/// The worker's key: `Bearer <key>`.
pub const AUTHORIZATION: &str = "authorization";
/// The worker's name.
pub const WORKER: &str = "bowline-worker";
/// The pool's name, where it asks for an identity of one.
pub const POOL: &str = "bowline-pool";
/// The protocol's version, `major.minor`. The server answers with its own under the same name.
pub const PROTOCOL: &str = "bowline-protocol";

/// The process that calls, as Hello named it.
pub const PROCESS: &str = "bowline-process";

/// The protocol's version. One minor version apart works both ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProtocolVersion {
    /// Changes with what older programs cannot understand.
    pub major: u16,
    /// Changes with what older programs may skip.
    pub minor: u16,
}

/// What this program speaks.
pub const OURS: ProtocolVersion = ProtocolVersion { major: 1, minor: 0 };

impl fmt::Display for ProtocolVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl ProtocolVersion {
    /// Reads `1.0`.
    pub fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once('.')?;
        Some(Self { major: major.parse().ok()?, minor: minor.parse().ok()? })
    }

    /// Whether the two can work together: the same major version, at most one minor version apart.
    pub fn works_with(self, other: Self) -> bool {
        self.major == other.major && self.minor.abs_diff(other.minor) <= 1
    }
}

/// Who calls.
#[derive(Clone, PartialEq, Eq)]
pub struct Caller {
    /// The identity.
    pub worker: WorkerName,
    /// The pool of which it wants an identity, whichever is free: the key is then a key of that pool.
    pub pool: Option<PoolName>,
    /// Its key.
    pub key: String,
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller").field("worker", &self.worker).finish_non_exhaustive()
    }
}

/// Metadata that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadCall {
    /// A field is missing, or is not plain text.
    #[error("the call carries no usable `{0}`")]
    Missing(&'static str),
    /// The name is none.
    #[error("the call names no worker")]
    Name(#[source] BadName),
    /// Too far apart.
    #[error(
        "this end speaks version {ours} of the protocol and the other one {theirs}: install versions of Bowline that are at most one minor version apart"
    )]
    Version {
        /// This end's.
        ours: ProtocolVersion,
        /// The other end's.
        theirs: ProtocolVersion,
    },
}

/// Writes name, key and version into a call's metadata.
pub fn put(metadata: &mut MetadataMap, caller: &Caller) -> Result<(), BadCall> {
    metadata.insert(AUTHORIZATION, value(&format!("Bearer {}", caller.key), AUTHORIZATION)?);
    metadata.insert(WORKER, value(&escaped(&caller.worker), WORKER)?);
    if let Some(pool) = &caller.pool {
        let pool: String = pool.as_str().escape_default().collect();
        metadata.insert(POOL, value(&pool, POOL)?);
    }
    put_version(metadata);
    Ok(())
}

/// Writes the id of the process that calls.
pub fn put_process(metadata: &mut MetadataMap, process: &str) -> Result<(), BadCall> {
    metadata.insert(PROCESS, value(process, PROCESS)?);
    Ok(())
}

/// The id of the process that calls.
pub fn process(metadata: &MetadataMap) -> Result<&str, BadCall> {
    text(metadata, PROCESS)
}

/// Writes this end's version.
pub fn put_version(metadata: &mut MetadataMap) {
    if let Ok(version) = value(&OURS.to_string(), PROTOCOL) {
        metadata.insert(PROTOCOL, version);
    }
}

/// Checks the version and reads name and key. The key is still to be checked against what is stored.
pub fn read(metadata: &MetadataMap) -> Result<Caller, BadCall> {
    check_version(metadata)?;
    let key = text(metadata, AUTHORIZATION)?.strip_prefix("Bearer ").ok_or(BadCall::Missing(AUTHORIZATION))?;
    let name = unescape(text(metadata, WORKER)?).ok_or(BadCall::Missing(WORKER))?;
    let pool = metadata.contains_key(POOL).then(|| unescape(text(metadata, POOL)?).ok_or(BadCall::Missing(POOL)));
    let pool = pool.transpose()?.map(|pool| PoolName::new(pool).map_err(BadCall::Name)).transpose()?;
    Ok(Caller { worker: WorkerName::new(name).map_err(BadCall::Name)?, pool, key: key.to_owned() })
}

/// Checks that the other end's version goes with ours.
pub fn check_version(metadata: &MetadataMap) -> Result<(), BadCall> {
    let theirs = ProtocolVersion::parse(text(metadata, PROTOCOL)?).ok_or(BadCall::Missing(PROTOCOL))?;
    if OURS.works_with(theirs) { Ok(()) } else { Err(BadCall::Version { ours: OURS, theirs }) }
}

fn value(text: &str, field: &'static str) -> Result<AsciiMetadataValue, BadCall> {
    text.parse().map_err(|_| BadCall::Missing(field))
}

fn text<'a>(metadata: &'a MetadataMap, field: &'static str) -> Result<&'a str, BadCall> {
    metadata.get(field).and_then(|value| value.to_str().ok()).ok_or(BadCall::Missing(field))
}

/// A worker's name as it is written into metadata: it may hold letters that a header may not.
fn escaped(worker: &WorkerName) -> String {
    worker.as_str().escape_default().collect()
}

/// What a worker puts on its calls over HTTP beside its key.
pub fn http_headers(caller: &Caller) -> Vec<(&'static str, String)> {
    let pool = caller.pool.as_ref().map(|pool| (POOL, pool.as_str().escape_default().collect()));
    [(WORKER, escaped(&caller.worker))].into_iter().chain(pool).collect()
}

/// Who calls over HTTP, with this key. `None`: the headers name nobody.
pub fn of_http(headers: &http::HeaderMap, key: &str) -> Option<Caller> {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().ok().and_then(unescape));
    let worker = WorkerName::new(text(WORKER)??).ok()?;
    let pool = match text(POOL) {
        Some(pool) => Some(PoolName::new(pool?).ok()?),
        None => None,
    };
    Some(Caller { worker, pool, key: key.to_owned() })
}

/// Undoes `char::escape_default` for names: they hold neither backslash nor quote of their own.
fn unescape(text: &str) -> Option<String> {
    let mut parts = text.split("\\u{");
    let mut name = parts.next()?.to_owned();
    for part in parts {
        let (code, rest) = part.split_once('}')?;
        name.push(char::from_u32(u32::from_str_radix(code, 16).ok()?)?);
        name.push_str(rest);
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(name: &str) -> Caller {
        Caller { worker: WorkerName::new(name).unwrap(), pool: None, key: "ab".repeat(32) }
    }

    #[test]
    fn a_call_may_name_a_pool() {
        let caller = Caller { pool: Some(PoolName::new("büro").unwrap()), ..caller("lab") };
        let mut metadata = MetadataMap::new();
        put(&mut metadata, &caller).unwrap();
        assert_eq!(read(&metadata).unwrap(), caller);
    }

    #[test]
    fn a_call_names_its_worker_whatever_its_letters() {
        for name in ["lab-3", "büro/1", "研究所"] {
            let mut metadata = MetadataMap::new();
            put(&mut metadata, &caller(name)).unwrap();
            assert_eq!(read(&metadata).unwrap(), caller(name));
        }
    }

    #[test]
    fn one_minor_version_apart_works_both_ways_and_no_more() {
        let v = |major, minor| ProtocolVersion { major, minor };
        assert!(v(1, 4).works_with(v(1, 5)) && v(1, 5).works_with(v(1, 4)));
        assert!(!v(1, 4).works_with(v(1, 6)) && !v(2, 0).works_with(v(1, 0)));
        let mut metadata = MetadataMap::new();
        put(&mut metadata, &caller("a")).unwrap();
        metadata.insert(PROTOCOL, "7.0".parse().unwrap());
        let told = read(&metadata).unwrap_err().to_string();
        assert!(told.contains("7.0") && told.contains("at most one minor version apart"), "{told}");
    }

    #[test]
    fn a_call_without_a_key_is_refused_by_name() {
        let mut metadata = MetadataMap::new();
        put(&mut metadata, &caller("a")).unwrap();
        metadata.remove(AUTHORIZATION);
        assert!(matches!(read(&metadata), Err(BadCall::Missing(AUTHORIZATION))));
    }
}
