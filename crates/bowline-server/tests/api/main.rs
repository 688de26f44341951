//! The REST interface against a real server in a folder of its own, by the typed client and by hand.

mod doors;
mod events;
mod logs;
mod support;
mod tasks;
