//! The workload: what people and programs ask for, drawn by the seed, and as nasty as the faults.
//!
//! Each piece of it draws from a stream of its own, so that leaving one out leaves the others as they were. It
//! knows what a client knows: what was answered, and what the lists of the API show.

pub mod gang;
pub mod limit;
pub mod resource;
pub mod shape;
pub mod spec;
pub mod theme;
pub mod trial;
pub mod verbs;

use crate::named::named;

named! {
    /// The kinds of things that clients do.
    Work {
        /// A single task, of any description.
        Single = "single",
        /// Several tasks in one submit, one after the other.
        Chain = "chain",
        /// An array, with a window or without.
        Array = "array",
        /// A task after one that is there already.
        After = "after",
        /// A run of a workflow.
        Run = "run",
        /// A submit under a key, and the same again at once.
        KeyTwice = "key-twice",
        /// A submit under a key that another one has used.
        KeyReused = "key-reused",
        /// A cancel.
        Cancel = "cancel",
        /// A retry.
        Retry = "retry",
        /// A pause of a task or a run.
        Pause = "pause",
        /// A resume of it.
        Resume = "resume",
        /// A pause of a namespace, of everything, or of a worker; lifted later.
        PauseMany = "pause-many",
        /// A `wait` is completed.
        Complete = "complete",
        /// A task in doubt is resolved, by whoever knows.
        Resolve = "resolve",
        /// An ended task is deleted.
        Delete = "delete",
        /// A worker is drained, and runs to the end what it has.
        DrainFinish = "drain-finish",
        /// A worker is drained, and gives back what it has.
        DrainRelease = "drain-release",
        /// A worker is told to hand over to its next process.
        Handoff = "handoff",
        /// A drained worker is given work again.
        Undrain = "undrain",
        /// A worker that is gone for good is forgotten.
        Forget = "forget",
        /// A run is cancelled.
        RunCancel = "run-cancel",
        /// A run is retried.
        RunRetry = "run-retry",
        /// Somebody asks why a task waits.
        Explain = "explain",
        /// Somebody looks at everything.
        Overview = "overview",
        /// Something is asked of a task, or of its run, at the moment at which its end is reported.
        AtEnd = "at-end",
        /// Something is asked of any task, whatever its state.
        Whatever = "whatever",
        /// A resource is declared, resized, put out of service or back, or deleted.
        Resource = "resource",
        /// A quota or a share is set, changed, or taken away.
        Quota = "quota",
        /// A gang: together, each member on a worker of its own, or as a chain.
        Gang = "gang",
        /// Two tasks under a rate whose time is longer than a take-over takes.
        Rarely = "rarely",
        /// An array of which every element fails.
        BadArray = "bad-array",
        /// An array is retried while its end is on its way to the store.
        RetryAtClose = "retry-at-close",
        /// A quota of a resource is set, changed, or taken away.
        HeldQuota = "held-quota",
        /// Two namespaces with shares want all that there is.
        Contest = "contest",
    }
}

impl Work {
    /// Whether it came to the list after the first shapes: those do not have it.
    pub fn is_newer(self) -> bool {
        self > Self::Overview
    }
}
