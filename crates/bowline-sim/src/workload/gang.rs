//! Gangs: two or three of any description, together in one of the ways that there are.

use std::sync::Arc;

use bowline_core::gang::{Form, OnLost, Terms};
use bowline_core::input::{DryRun, NewTask, Request, Strict, Submit};
use bowline_core::spec::{Action, OnWorkerLoss, TaskSpec, Work};

use super::shape::Tastes;
use super::spec::{self, Moment};
use super::verbs::namespace;
use crate::random::Random;

/// One more gang. What it asks for every worker has, so that there is room for it one day.
pub fn submit(tastes: &Tastes, moment: Moment, random: &mut Random) -> Request {
    let form = [Form::Together, Form::Distinct, Form::Chain][random.place(3).unwrap_or(0)];
    let on_lost =
        if form == Form::Chain { OnLost::default() } else { OnLost::ALL[random.place(OnLost::ALL.len()).unwrap_or(0)] };
    let count = random.between(2, tastes.gang);
    let first = member(tastes, moment, random);
    let tasks = (0..count)
        .map(|place| {
            let mut own = member(tastes, moment, random);
            match form {
                Form::Chain => own.resources.clone_from(&first.resources),
                // Two can never have the same lock at once: the first alone asks.
                Form::Together | Form::Distinct if place > 0 => own.resources.clear(),
                Form::Together | Form::Distinct => {}
            }
            NewTask { spec: Arc::new(own), elements: Arc::default(), after_earlier: Vec::new() }
        })
        .collect();
    let submit = Submit { namespace: namespace(), tasks, key: None, dry_run: DryRun::No, strict: Strict::No };
    Request::SubmitGang(submit, Terms { form, on_lost })
}

fn member(tastes: &Tastes, moment: Moment, random: &mut Random) -> TaskSpec {
    let mut spec = spec::any(tastes, moment, random);
    if spec.work.action.is_held_by_server() {
        let argv = spec::plan(tastes, random).to_argv();
        spec.work = Work::new(Action::Command(bowline_core::spec::Command::Argv(argv)));
    }
    spec.slots = 1;
    spec.amounts.clear();
    spec.requires.clear();
    spec.on_worker_loss = OnWorkerLoss::Rerun;
    spec
}
