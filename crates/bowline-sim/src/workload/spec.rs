//! Descriptions of tasks.

use std::sync::Arc;
use std::time::Duration;

use bowline_core::input::NewTask;
use bowline_core::name::Key;
use bowline_core::placement::{Fill, Placement};
use bowline_core::spec::{Action, Command, OnWorkerLoss, Overlap, RetryPolicy, TaskSpec, Work};
use bowline_core::time::{Span, Timestamp};

use super::shape::Tastes;
use crate::job::{AtTerm, Escapes, Plan};
use crate::random::Random;

/// What a client knows of the time when it describes a task.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// By the server's clock.
    pub now: Timestamp,
    /// By the world's.
    pub at_us: u64,
}

/// How a job behaves.
pub fn plan(tastes: &Tastes, random: &mut Random) -> Plan {
    let mut plan = Plan::short(random.around(tastes.length_us));
    if random.per_mille(tastes.failing) {
        plan.status = 1;
        if random.per_mille(500) {
            plan.length_us = Some(random.below(100_000));
        }
    }
    if tastes.stubborn > 0 && random.per_mille(tastes.stubborn) {
        plan.at_term = AtTerm::Ignores;
        plan.dies_in_us = random.around(16_000_000);
        plan.escapes = if random.per_mille(400) { Escapes::Yes } else { Escapes::No };
    }
    if tastes.endless > 0 && random.per_mille(tastes.endless) {
        plan.length_us = None;
    }
    if random.per_mille(tastes.unruly) {
        match random.below(5) {
            0 => plan.at_term = AtTerm::Ignores,
            1 => plan.at_term = AtTerm::Succeeds,
            2 => plan.dies_in_us = random.around(20_000_000),
            3 => plan.escapes = Escapes::Yes,
            _ => plan.length_us = None,
        }
    }
    plan
}

fn seconds(random: &mut Random, most: u64) -> Span {
    Span(Duration::from_millis(random.between(50, most * 1_000)))
}

/// A task of any description.
pub fn any(tastes: &Tastes, moment: Moment, random: &mut Random) -> TaskSpec {
    let mut work = Work::new(Action::Command(Command::Argv(plan(tastes, random).to_argv())));
    if random.per_mille(tastes.unruly) {
        work.grace = Some(Span::secs(random.below(5)));
    }
    if random.per_mille(tastes.held) {
        work = Work::new(if random.per_mille(500) { Action::Wait } else { Action::Sleep(seconds(random, 20)) });
    }
    let held = work.action.is_held_by_server();
    let mut spec = TaskSpec::new(work);
    if random.per_mille(200) {
        spec.priority = i32::try_from(random.below(5)).unwrap_or(0) - 2;
    }
    if random.per_mille(150) {
        spec.delay = Some(seconds(random, 15));
    }
    if random.per_mille(tastes.retries) {
        let backoff = seconds(random, 4);
        spec.retry =
            RetryPolicy { extra: u32::try_from(random.below(4)).unwrap_or(0), backoff, backoff_max: Span::secs(20) };
    }
    losses(&mut spec, tastes, random);
    limits(&mut spec, tastes, moment, random);
    if !held && random.per_mille(tastes.greedy) {
        greedy(&mut spec, random);
    }
    if tastes.asking > 0 && random.per_mille(tastes.asking) {
        super::resource::ask(&mut spec, random);
    }
    if tastes.asking > 0 && !held && random.per_mille(200) {
        spec.placement = placement(random);
        if !spec.requires.is_empty() {
            // What is required and excluded is refused.
            spec.placement.excludes.clear();
        }
    }
    if tastes.limited > 0 && random.per_mille(tastes.limited) {
        super::limit::limit(&mut spec, random);
    }
    spec
}

fn losses(spec: &mut TaskSpec, tastes: &Tastes, random: &mut Random) {
    if random.per_mille(tastes.forbid) {
        spec.overlap = Some(Overlap::Forbid);
    }
    if random.per_mille(tastes.fail_on_loss) {
        spec.on_worker_loss = OnWorkerLoss::Fail;
        if random.per_mille(200) {
            spec.overlap = Some(Overlap::Allow);
        }
    }
    if random.per_mille(tastes.stop_after) {
        spec.stop_after = Some(Span::secs(random.between(10, 60)));
    }
    if tastes.impatient > 0 && random.per_mille(tastes.impatient) {
        spec.lost_after = Some(Span::secs(random.between(5, 30)));
    } else if random.per_mille(100) {
        spec.lost_after = Some(Span::secs(random.between(20, 90)));
    }
}

fn limits(spec: &mut TaskSpec, tastes: &Tastes, moment: Moment, random: &mut Random) {
    if random.per_mille(tastes.limits) {
        match random.below(5) {
            0 => spec.timeouts.queue = Some(seconds(random, 60)),
            1 => spec.timeouts.setup = Some(seconds(random, 30)),
            2 => spec.timeouts.run = Some(seconds(random, 20)),
            3 => spec.timeouts.total = Some(seconds(random, 90)),
            _ => spec.deadline = Some(moment.now.plus(Duration::from_secs(random.below(120)))),
        }
    }
}

fn greedy(spec: &mut TaskSpec, random: &mut Random) {
    let key = |name: &str| Key::new(name).ok();
    match random.below(4) {
        0 => spec.slots = 2,
        1 => spec.requires.extend("colour=red".parse().ok()),
        2 => spec.requires.extend("big".parse().ok()),
        _ => spec.amounts.extend(key("memory").map(|key| (key, random.between(1, 8)))),
    }
}

fn placement(random: &mut Random) -> Placement {
    let mut some = |what: &str| if random.per_mille(400) { what.parse().into_iter().collect() } else { Vec::new() };
    let (prefer, avoid, excludes) = (some("big"), some("colour=red"), some("colour=red"));
    let fill = if random.per_mille(500) { Fill::Pack } else { Fill::Spread };
    Placement { fill, prefer, avoid, excludes }
}

/// As a new task, after nothing.
pub fn new_task(spec: TaskSpec) -> NewTask {
    NewTask { spec: Arc::new(spec), elements: Arc::default(), after_earlier: Vec::new() }
}
