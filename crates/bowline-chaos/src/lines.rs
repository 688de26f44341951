//! The order of lines, shown: many clients submit, cancel, retry, pause, resize, finish and vanish at random against a
//! real server and real workers that are killed at random; whoever waits for a resource is granted it in the order of
//! tickets, whatever fails.
//!
//! | responsibility | module |
//! |---|---|
//! | whether what anyone outside can see kept the order: pure, and shown to find what is wrong | `order` |
//! | whether it was kept in fact: what each job holds by locks of this machine, and the marks that it leaves | `grip`, `deeds` |
//! | the server and its workers, and who kills them | `fleet` |
//! | work of all shapes, and who submits, cancels, retries, pauses and vanishes | `shape`, `client` |
//! | keys, quotas, gangs, runs that hold | `together` |
//! | resources that are resized, taken out of service, and asked what they hold | `change`, `ask` |
//! | events and documents, for the judge | `ear` |
//! | all of it, from the beginning or on from where it was left; progress, and the table | `run`, `books`, `table` |

mod ask;
mod books;
mod change;
mod client;
mod deeds;
mod ear;
mod fleet;
pub(crate) mod grip;
mod order;
mod run;
mod shape;
mod table;
mod together;

pub(crate) use run::all;

/// In a folder that can be gone on from.
pub(crate) const STATE_FILE: &str = "state.json";
