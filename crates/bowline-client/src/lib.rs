//! The typed REST client: everything that the API can do, as methods that take and give typed
//! documents.
//!
//! * An answer that is a problem document is [`ClientError::Api`]; a server that cannot be reached
//!   is [`ClientError::Unreachable`], so that callers can tell the two apart.
//! * Submits always carry an idempotency key. So they may be sent again where a connection broke
//!   before the answer came, and are still done once.
//! * Waiting, following a log and reading events go on across a restart of the server.
//!
//! **Invariant:** nothing is sent twice unless sending it twice does it once.

mod error;
mod events;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
mod gang;
mod http;
mod logs;
mod runs;
mod sse;
mod system;
mod tasks;
mod wait;

pub use bowline_api as api;

pub use error::{ApiError, ClientError};
pub use events::{EventItem, EventStream};
pub use http::Client;
pub use logs::{LogPiece, LogRequest, LogStart, LogStream};
pub use system::BackupContents;
pub use tasks::{ByteStream, Write};
