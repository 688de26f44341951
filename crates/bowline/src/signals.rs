//! Being asked to stop (Ctrl-C, SIGTERM), and to read settings again (SIGHUP).

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
