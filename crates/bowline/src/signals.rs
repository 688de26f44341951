//! Being asked to stop (Ctrl-C, SIGTERM), to read settings again (SIGHUP), and not to die of a limit (SIGXFSZ).

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Listens for both.
#[derive(Debug)]
pub(crate) struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    /// Begins to listen: from here on neither ends the process by itself.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Resolves at the next one.
    pub(crate) async fn asked(&mut self) {
        tokio::select! {
            Some(()) = self.interrupt.recv() => {}
            Some(()) = self.terminate.recv() => {}
            else => std::future::pending().await,
        }
    }
}

/// From here on a write beyond the limit on the size of files fails as one on a full disk does, and does not
/// kill the process. What it starts is not touched: a handler, unlike an ignored signal, is not handed down.
pub(crate) fn outlive_file_limit() {
    let limit = SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw());
    // The handler stays, whoever listens. Without one it is as it was.
    if let Err(error) = signal(limit) {
        tracing::warn!(%error, "a limit on the size of files will end this process");
    }
}

/// Listens for SIGHUP: from here on it does not end the process.
#[derive(Debug)]
pub(crate) struct Reload(Signal);

impl Reload {
    /// Begins to listen.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(signal(SignalKind::hangup())?))
    }

    /// Resolves at the next one.
    pub(crate) async fn asked(&mut self) {
        if self.0.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}
