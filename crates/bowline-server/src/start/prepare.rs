//! What must be right before a server serves: the address, and the data folder.

use std::fs;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use tokio::net::TcpListener;

use super::{ADDRESS_FILE, ServerError};
use crate::config::{Exposure, ServerConfig};

/// Without TLS only a loopback address is safe.
pub(super) fn check_exposure(config: &ServerConfig) -> Result<(), ServerError> {
    match config.exposure {
        Exposure::Insecure => Ok(()),
        Exposure::Loopback if config.listen.ip().is_loopback() => Ok(()),
        Exposure::Loopback => Err(ServerError::Exposed(config.listen)),
    }
}

/// Makes the data folder where it is not there, for its owner alone.
pub(super) fn data_folder(path: &Path) -> Result<(), ServerError> {
    let failed = |operation| move |source| ServerError::Data { operation, path: path.to_owned(), source };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed("create"))?;
    // A folder that cannot be written is found here and not in the middle of the start.
    let probe = path.join(".probe");
    fs::write(&probe, b"").and_then(|()| fs::remove_file(&probe)).map_err(failed("write to"))
}

pub(super) async fn bind(address: SocketAddr) -> Result<TcpListener, ServerError> {
    TcpListener::bind(address).await.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => ServerError::AddressTaken { address },
        _ => ServerError::Listen { address, source },
    })
}

pub(super) fn local_addr(listener: &TcpListener, address: SocketAddr) -> Result<SocketAddr, ServerError> {
    listener.local_addr().map_err(|source| ServerError::Listen { address, source })
}

/// Says where the server is, for commands of the same user. A server that cannot say so serves all
/// the same.
pub(super) fn write_address(data: &Path, address: SocketAddr) {
    let document = serde_json::json!({
        "address": format!("http://{address}"),
        "pid": std::process::id(),
        "version": env!("CARGO_PKG_VERSION"),
    });
    let (path, temporary) = (data.join(ADDRESS_FILE), data.join("server.json.new"));
    let write = || -> io::Result<()> {
        let mut file = fs::OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&temporary)?;
        writeln!(file, "{document}")?;
        fs::rename(&temporary, &path)
    };
    if let Err(error) = write() {
        tracing::warn!(path = %path.display(), %error, "could not say where the server is");
    }
}

pub(super) fn remove_address(data: &Path) {
    // Where it is left, its process id tells that the server is gone.
    drop(fs::remove_file(data.join(ADDRESS_FILE)));
}
