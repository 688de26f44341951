//! The engine's own batches, in this store: a worker that fails some attempts, with a restart after
//! each round, after which a new engine goes on from what was loaded.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bowline_core::effect::{Batch, Effect};
use bowline_core::id::{AttemptRef, Incarnation, ReplyTo, SessionId};
use bowline_core::input::{DryRun, Input, NewTask, Request, Strict, Submit};
use bowline_core::message::{Finished, FromWorker, Hello, JobEnd, KnownAs, ToWorker};
use bowline_core::name::{Actor, Namespace};
use bowline_core::spec::{ArraySpec, Condition, RetryPolicy, TaskSpec};
use bowline_core::state::{JobError, StateKind};
use bowline_core::time::{Span, Timestamp};
use bowline_core::worker::{Health, Offer, Room, Seat};
use bowline_core::{Engine, EngineConfig};
use bowline_store::conformance::{ok, rows};
use bowline_store::{LeaderStore, ReadStore, TaskFilter, TaskSort};

use super::{folder, opened};
use crate::Opened;

/// An engine and its store, by turns.
struct Led {
    opened: Opened,
    engine: Engine,
    epoch: bowline_core::id::Epoch,
    now: Timestamp,
    session: SessionId,
}

fn request(request: Request) -> Input {
    Input::Request { reply: ReplyTo(1), actor: Actor::new("tests"), request }
}

impl Led {
    /// Leads what is stored, and connects the worker, which delivers what had ended meanwhile.
    fn over(mut opened: Opened, now: Timestamp) -> Self {
        let led = ok(opened.store.take_leadership(now));
        let mut engine = Engine::new(EngineConfig::new(led.epoch, led.generation, 5));
        ok(opened.store.load(&mut |row| engine.load(row)));
        engine.loaded(led.now);
        let live = ok(opened.reader.tasks(&TaskFilter::default(), TaskSort::Oldest, None, 1_000)).items;
        let of_tasks = live.iter().filter(|row| row.unit.state.is_live()).map(|row| row.id);
        let attempts = of_tasks
            .flat_map(|id| {
                ok(opened.reader.attempts(&bowline_store::AttemptFilter::Of(bowline_core::id::TaskRef::whole(id))))
            })
            .filter(|attempt| attempt.end.is_none())
            .map(|attempt| (attempt.attempt, KnownAs::EndedPending))
            .collect::<Vec<_>>();
        let hello = Hello {
            pool: None,
            name: rows::worker_name("lab"),
            incarnation: Incarnation(0),
            seat: Seat {
                state_dir: "s".into(),
                boot_id: "b".into(),
                process: format!("p{}", led.epoch),
                said_at: None,
            },
            version: "0.1.0".into(),
            offer: Offer {
                capabilities: BTreeMap::new(),
                actions: vec!["noop".into()],
                room: Room { slots: 4, amounts: BTreeMap::new() },
            },
            prefetch: 0,
            health: Health::Ok,
            seen: None,
            attempts: attempts.clone(),
        };
        let session = SessionId(led.epoch.0);
        let mut led = Self { opened, engine, epoch: led.epoch, now: led.now, session };
        if led.epoch.0 == 1 {
            led.apply(request(Request::Enrol { token: None, worker: hello.name.clone(), key: [3; 32] }));
        }
        led.apply(Input::Connected { session, hello: Box::new(hello), key: [1; 32] });
        for (attempt, _) in attempts {
            led.finish(attempt, JobEnd::Success);
        }
        led
    }

    fn apply(&mut self, input: Input) {
        self.now.0 += 1_000;
        self.engine.apply(self.now, input);
    }

    /// Commits what changed, and gives back what may leave.
    fn settle(&mut self) -> Vec<Effect> {
        let mut batch: Batch = self.engine.take_batch();
        let effects = std::mem::take(&mut batch.effects);
        ok(self.opened.store.commit(self.epoch, self.now, &batch));
        self.engine.durable(batch.number);
        effects
    }

    fn finish(&mut self, attempt: AttemptRef, how: JobEnd) {
        let finished = Finished { attempt, how, result: Some(format!("\"{attempt}\"")) };
        for message in [FromWorker::Started(attempt), FromWorker::Finished(finished)] {
            let session = self.session;
            self.apply(Input::FromWorker { session, message });
        }
    }

    /// Plays the worker for one round: every third attempt fails, and some are not answered for
    /// before the restart.
    fn work(&mut self, round: u64) {
        for effect in self.settle() {
            let Effect::Send { message: ToWorker::Assign(assign), .. } = effect else { continue };
            let attempt = assign.attempt;
            let fate = attempt.task.task.0 + u64::from(attempt.fence.attempt.0) + round;
            if fate.is_multiple_of(7) {
                continue;
            }
            let failed = JobEnd::Error(JobError { exit_status: Some(1), signal: None, message: "no".into() });
            let how = if fate.is_multiple_of(3) { failed } else { JobEnd::Success };
            self.finish(attempt, how);
        }
        self.now = self.now.plus(Duration::from_secs(2));
        self.apply(Input::Tick);
        self.settle();
    }
}

fn work_to_do() -> Vec<NewTask> {
    let new = |spec: TaskSpec, after: &[usize]| NewTask {
        spec: Arc::new(spec),
        elements: Arc::default(),
        after_earlier: after.iter().map(|place| (*place, Condition::Any)).collect(),
    };
    let mut tasks: Vec<NewTask> = Vec::new();
    for place in 0..20 {
        let mut spec = rows::spec(&[("kind", "a")]);
        spec.retry = RetryPolicy { extra: 1, backoff: Span::secs(1), backoff_max: Span::secs(1) };
        spec.array = (place % 10 == 9).then(|| ArraySpec::of(3));
        tasks.push(new(spec, if place % 4 == 3 { &[0, 1] } else { &[] }));
    }
    tasks
}

#[test]
fn an_engine_goes_on_from_what_is_stored_after_every_restart() {
    let (_folder, path) = folder();
    let mut led = Led::over(opened(&path), Timestamp(1_000_000));
    let submit = Submit {
        namespace: Namespace::default(),
        tasks: work_to_do(),
        key: None,
        dry_run: DryRun::No,
        strict: Strict::No,
    };
    led.apply(request(Request::Submit(submit)));
    led.settle();
    for round in 0..60 {
        led.work(round);
        let rows = ok(led.opened.reader.tasks(&TaskFilter::default(), TaskSort::Oldest, None, 1_000)).items;
        assert_eq!(rows.len(), 20);
        if rows.iter().all(|row| row.unit.state.is_ended()) {
            assert!(rows.iter().any(|row| row.unit.state == StateKind::Succeeded));
            return;
        }
        let now = led.now;
        drop(led);
        led = Led::over(opened(&path), now);
    }
    panic!("not every task ended within 60 restarts");
}
