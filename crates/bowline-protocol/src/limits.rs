//! Every bound of the protocol, and the keepalive of both ends. Bytes where nothing else is said.

use std::time::Duration;

/// Largest gRPC message that either end sends or takes: 16 MiB.
pub const FRAME_BYTES_MAX: usize = 16 << 20;
/// A sender closes a frame when it has reached this size: 1 MiB. A single message may be larger.
pub const FRAME_BYTES_TARGET: usize = 1 << 20;
/// Most messages in one frame that a sender makes. A receiver takes any number that fits.
pub const FRAME_MESSAGES_MAX: usize = 4_096;
/// Most artifacts of one attempt.
pub const ARTIFACTS_MAX: usize = 1_000;
/// Larger blobs do not go together with others: 64 KiB.
pub const SMALL_BLOB_BYTES_MAX: usize = 64 << 10;
/// Most blobs that go together.
pub const SMALL_BLOBS_MAX: usize = 512;
/// Most bytes of blobs that go together, without their heads: 4 MiB.
pub const SMALL_BLOBS_BYTES_MAX: usize = 4 << 20;
/// Longest artifact name: a path of `/`-joined parts.
pub const ARTIFACT_NAME_BYTES_MAX: usize = 1_024;
/// Largest log segment: 64 KiB.
pub const LOG_SEGMENT_BYTES_MAX: usize = 64 << 10;
/// Most times that one log segment carries.
pub const LOG_TIMES_MAX: usize = 1_024;
/// Most unacknowledged log bytes of one attempt: 16 MiB. They wait in the job's own file, not in memory; what a
/// server has not taken yet is held back by the connection.
pub const LOG_WINDOW_BYTES_MAX: usize = 16 << 20;
/// Longest sentence for people.
pub const TEXT_BYTES_MAX: usize = 4 << 10;
/// Longest id of a state directory, a boot or a process, and longest version.
pub const SHORT_TEXT_BYTES_MAX: usize = 128;
/// Longest value of a capability.
pub const CAPABILITY_VALUE_BYTES_MAX: usize = 1_024;
/// Most capabilities, actions and amounts of a worker, each.
pub const OFFER_ITEMS_MAX: usize = 1_024;
/// Most attempts that one Hello names, and that one Welcome answers.
pub const HELLO_ATTEMPTS_MAX: usize = 100_000;
/// Most attempts that a worker may hold beyond its slots.
pub const PREFETCH_MAX: u32 = 4_096;
/// Largest piece of work, as JSON: 2 MiB.
pub const WORK_BYTES_MAX: usize = 2 << 20;
/// Longest attempt token.
pub const TOKEN_BYTES_MAX: usize = 512;
/// Longest address of a server.
pub const SERVER_URL_BYTES_MAX: usize = 2_048;
/// Length of a BLAKE3 digest in hex.
pub const DIGEST_HEX_BYTES: usize = 64;

/// A worker says that it is there this often.
pub const HEARTBEAT_EVERY: Duration = Duration::from_secs(5);
/// Both ends send an HTTP/2 ping after so long.
pub const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);
/// A connection whose ping is not answered for so long is dead.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// A server that has not said Welcome so long after Hello is given up.
pub const WELCOME_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest wait between two attempts to connect.
pub const RECONNECT_MAX: Duration = Duration::from_secs(15);
/// The longest first wait.
pub const RECONNECT_FIRST: Duration = Duration::from_millis(250);

/// A message that has waited for so long before it was sent, or was sent before, says so: it becomes part
/// of the attempt's history.
pub const LATE_AFTER: Duration = Duration::from_secs(5);
/// A timely message that has not left within so long is given up.
pub const TIMELY_WITHIN: Duration = Duration::from_secs(5);
