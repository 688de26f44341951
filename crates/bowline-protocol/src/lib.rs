//! What server and worker say to each other, and what each kind of message promises.
//!
//! * [`wire`]: the generated types of `proto/bowline.proto`, with the gRPC client and server.
//! * [`message`]: the same messages as checked Rust values: what the rest of Bowline works with.
//! * [`kinds`]: the one table of all kinds, with class, phases and direction.
//! * [`limits`]: every bound of the protocol, and the keepalive of both ends.
//! * [`bundle`]: small blobs that go together.
//! * [`call`]: the metadata of a call: the worker's name and key, the protocol's version.
//! * [`vitals`]: how a worker is, in numbers: what every heartbeat carries.
//! * [`sample`]: one message of every kind, for tests that must go through all of them.
//!
//! **Invariant:** nothing malformed passes the conversions of [`message`]: each string and list has
//! a bound, and every refusal names the field.

pub mod bundle;
pub mod call;
mod decode;
mod encode;
pub mod kinds;
pub mod limits;
pub mod message;
pub mod sample;
pub mod vitals;

/// The generated types.
pub mod wire {
    #![allow(
        missing_docs,
        unreachable_pub,
        unused_qualifications,
        missing_debug_implementations,
        clippy::all,
        clippy::pedantic,
        clippy::allow_attributes_without_reason,
        reason = "generated from the proto file"
    )]
    tonic::include_proto!("bowline.v1");
}

pub use decode::BadMessage;
pub use kinds::{Class, Direction, Kind, Scope};
pub use message::{
    Acked, Artifact, Delivery, Handover, LogAck, LogKeep, LogSegment, LogStream, LogTime, Sealed, ServerMessage,
    Truncated, UploadProgress, WorkerMessage,
};
pub use vitals::{OutboxVitals, Tally, Vitals};
