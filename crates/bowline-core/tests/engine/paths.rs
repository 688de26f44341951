//! The main paths, one after the other.

use std::time::Duration;

use bowline_core::answer::RefusalCode;
use bowline_core::input::{DryRun, Evaluation};
use bowline_core::message::{FromWorker, JobEnd};
use bowline_core::run::{DueKind, RunState};
use bowline_core::spec::Condition;
use bowline_core::state::StateKind;
use bowline_core::time::Span;

use super::bench::{Bench, error, new_task, node, noop};

#[test]
fn a_task_goes_from_submit_to_its_end() {
    let mut bench = Bench::new();
    let session = bench.worker("lab-1", 1);
    let task = bench.one(noop());
    assert_eq!(bench.state(task), StateKind::Assigned, "submit and assignment share one commit");
    let assigned = bench.assigned();
    assert_eq!(assigned.len(), 1);
    let attempt = assigned[0].attempt;
    bench.say(session, FromWorker::Started(attempt));
    assert_eq!(bench.state(task), StateKind::Running);
    bench.finish(session, attempt, JobEnd::Success);
    assert_eq!(bench.state(task), StateKind::Succeeded);
}

#[test]
fn a_run_goes_from_its_start_to_its_result() {
    let mut bench = Bench::new();
    let session = bench.worker("lab-1", 2);
    let run = bench.start_run(vec![
        node("list", &[]),
        node("count", &[(0, Condition::Ok)]),
        node("tell", &[(0, Condition::Fail)]),
    ]);
    for step in 0..2 {
        let due = bench.due();
        assert_eq!(due.len(), 1, "step {step}");
        bench.evaluated(due[0], Evaluation::Task(Box::new(new_task(noop()))));
        let attempt = bench.assigned()[0].attempt;
        bench.say(session, FromWorker::Started(attempt));
        bench.finish(session, attempt, JobEnd::Success);
    }
    let due = bench.due();
    assert_eq!(due[0].1, DueKind::Result);
    bench.evaluated(due[0], Evaluation::Result("{}".into()));
    let row = &bench.tables.runs[&run];
    assert_eq!((row.state, row.result.as_deref()), (RunState::Succeeded, Some("{}")));
}

#[test]
fn a_failed_task_is_tried_again_with_its_ticket() {
    let mut bench = Bench::new();
    let session = bench.worker("lab-1", 1);
    let mut spec = noop();
    spec.retry.extra = 1;
    let task = bench.one(spec);
    let ticket = bench.tables.tasks[&task].ticket;
    let attempt = bench.assigned()[0].attempt;
    bench.say(session, FromWorker::Started(attempt));
    bench.finish(session, attempt, error("no luck"));
    assert_eq!(bench.state(task), StateKind::Scheduled);
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.state(task), StateKind::Assigned);
    assert_eq!(bench.tables.tasks[&task].ticket, ticket);
    let attempt = bench.assigned()[0].attempt;
    bench.finish(session, attempt, error("no luck again"));
    assert_eq!(bench.state(task), StateKind::Failed);
}

#[test]
fn a_limit_that_would_stop_healthy_jobs_is_refused() {
    let mut bench = Bench::new();
    let limited = |limit| {
        let mut spec = noop();
        spec.stop_after = Some(Span(Duration::from_millis(limit)));
        vec![new_task(spec)]
    };
    for limit in [0, 1, 3_000, 9_999] {
        let refusal = bench.submit_with(limited(limit), None, DryRun::No).unwrap_err();
        assert!(refusal.code == RefusalCode::Invalid && refusal.message.contains("10s"), "{refusal:?}");
    }
    bench.submit(limited(10_000));
}
