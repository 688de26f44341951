//! What can be set about a server: resolved and checked by whoever starts it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use bowline_core::Timing;
use bowline_store::RetentionPolicy;

/// The address at which commands look for a local server.
pub const LISTEN_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7420);

/// What can be set about a server.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Where everything durable lies. Made with mode 0700 where it is not there.
    pub data: PathBuf,
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Who may be let in from outside.
    pub exposure: Exposure,
    /// How long what has ended is kept.
    pub retention: RetentionPolicy,
    /// How patient the server is with its workers.
    pub timing: Timing,
    /// A blob that no artifact names is kept for so long after it was uploaded, asked for by an uploader or
    /// named last. Not less than a second.
    pub blobs_kept: Duration,
    /// Largest blob that is taken, in bytes.
    pub blob_bytes_max: u64,
    /// Most connections at a time; more wait to be accepted.
    pub connections_max: usize,
}

/// Whether a server without TLS may listen where others can hear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Exposure {
    /// Only on a loopback address.
    #[default]
    Loopback,
    /// Anywhere: somebody has said that he knows what he does.
    Insecure,
}

impl ServerConfig {
    /// The defaults, with everything durable in this folder.
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self {
            data: data.into(),
            listen: LISTEN_DEFAULT,
            exposure: Exposure::default(),
            retention: RetentionPolicy::default(),
            timing: Timing::default(),
            blobs_kept: Duration::from_hours(24),
            blob_bytes_max: 64 << 30,
            connections_max: 10_000,
        }
    }
}
