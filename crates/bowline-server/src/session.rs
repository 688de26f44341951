//! Sessions of workers: the gRPC service.

mod counts;

pub use counts::SessionCounts;
