//! The REST interface against a real server in a folder of its own, by the typed client and by hand.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod blobs;
mod doors;
mod events;
mod logs;
mod resources;
mod runs;
mod support;
mod tasks;
