//! The kinds of faults.

use crate::named::named;

named! {
    /// What can go wrong.
    Fault {
        /// A server is killed, and another one, or the same, started later.
        KillServer = "kill-server",
        /// A server is killed while a commit of it is under way.
        KillServerInCommit = "kill-server-in-commit",
        /// A second server takes over while the first one still runs.
        TakeOver = "take-over",
        /// A second server takes over while a commit of the first one is under way.
        TakeOverInCommit = "take-over-in-commit",
        /// A server stands still for some seconds.
        StallServer = "stall-server",
        /// A server stands still for longer than any lease.
        StallServerLong = "stall-server-long",
        /// A commit fails, and nothing of it is there.
        CommitFails = "commit-fails",
        /// A commit is done, and its server hears that it failed.
        CommitUnheard = "commit-unheard",
        /// Commits take a hundred times as long, for a while.
        CommitsSlow = "commits-slow",
        /// The store is put back to an earlier state in order, while its servers are down.
        Restore = "restore",
        /// The store is put back to an earlier state behind everybody's back.
        RolledBack = "rolled-back",
        /// A worker process is killed.
        KillWorker = "kill-worker",
        /// A supervisor is killed.
        KillSupervisor = "kill-supervisor",
        /// Worker and supervisor are killed at the same moment.
        KillBoth = "kill-both",
        /// A worker process is told to end in order.
        TermWorker = "term-worker",
        /// A worker process stands still for some seconds.
        StallWorker = "stall-worker",
        /// A worker process stands still for longer than any lease.
        StallWorkerLong = "stall-worker-long",
        /// A supervisor stands still.
        StallSupervisor = "stall-supervisor",
        /// A machine loses its power, and is started anew.
        Reboot = "reboot",
        /// A machine is suspended, and goes on later.
        Suspend = "suspend",
        /// A worker begins anew on another machine, under the same name; the old one runs on unheard.
        SecondIncarnation = "second-incarnation",
        /// A connection is cut; both ends hear of it, sooner or later.
        CutLink = "cut-link",
        /// A connection is cut, and one end or both never hear of it.
        HalfOpen = "half-open",
        /// Nothing arrives over a connection for a while.
        StallLink = "stall-link",
        /// A worker's machine is cut off from the servers for a while.
        CutOff = "cut-off",
        /// A worker's machine is cut off for longer than any lease.
        CutOffLong = "cut-off-long",
        /// A client asks the same twice at once.
        RepeatAsk = "repeat-ask",
        /// A disk is full for a while.
        DiskFull = "disk-full",
        /// A wall clock is set forward or back.
        WallJump = "wall-jump",
        /// Clocks drift by some per cent.
        Drift = "drift",
        /// A supervisor, its worker, or both are killed as soon as a job is ordered.
        KillAtStart = "kill-at-start",
        /// A supervisor is killed as soon as it is told to kill a job.
        KillAtKill = "kill-at-kill",
        /// A job ends by itself as soon as it is to be killed.
        EndAtKill = "end-at-kill",
        /// A connection is cut as soon as an end is reported over it: before that is heard, or before it is answered.
        CutAtReport = "cut-at-report",
        /// A worker is told to leave, or stands still for long, while an attempt is on its way to it.
        LeaveAtAssign = "leave-at-assign",
        /// A server is killed as soon as something of a run is in its store.
        KillAtStep = "kill-at-step",
        /// The answer to a heartbeat comes late, and nothing after it.
        LateAnswer = "late-answer",
        /// A server stands still, or is followed by another, while a worker is cut off.
        Deaf = "deaf",
        /// A supervisor is told to end, once or twice.
        TermSupervisor = "term-supervisor",
        /// A disk's syncs fail for a while.
        SyncFails = "sync-fails",
        /// A worker's journals are taken away while it is down.
        LoseJournal = "lose-journal",
    }
}

impl Fault {
    /// Whether it came to the list after the first shapes: those do not have it.
    pub fn is_newer(self) -> bool {
        self > Self::Drift
    }
}
