//! What runs hold as a whole: one ticket, all or none, from before the first step to the end of the run.

use bowline_core::answer::{Answer, RefusalCode};
use bowline_core::explain::{StepWait, WaitReason};
use bowline_core::id::{NodeIndex, RunId, SessionId, TaskId, TaskRef};
use bowline_core::input::{Evaluation, Request, RunVerb, Strict, TaskVerb};
use bowline_core::message::{Assign, FromWorker, JobEnd, Paused};
use bowline_core::name::ResourceName;
use bowline_core::resource::{Ask, ResourceChange, ResourceView, Service};
use bowline_core::run::{Graph, RunState};
use bowline_core::spec::{Condition, TaskSpec};
use bowline_core::state::StateKind;

use super::bench::{Bench, error, live, namespace, new_task, node, noop};
use super::checks::explain;
use super::world::World;

fn name(name: &str) -> ResourceName {
    ResourceName::new(name).unwrap()
}

fn lock(of: &str) -> Ask {
    Ask::Exclusive { name: name(of) }
}

fn asks(resources: Vec<Ask>) -> TaskSpec {
    TaskSpec { resources, ..noop() }
}

/// A run of two steps, the second after the first.
fn two_steps(resources: Vec<Ask>) -> Graph {
    Graph { nodes: vec![node("first", &[]), node("second", &[(0, Condition::Ok)])], asks: resources }
}

fn start(bench: &mut Bench, graph: Graph) -> RunId {
    match bench.ask_for_graph(graph) {
        Ok(Answer::RunStarted { run, .. }) => run,
        other => panic!("{other:?}"),
    }
}

fn keeper(bench: &Bench, run: RunId) -> TaskId {
    let is_its = |of: Option<(RunId, NodeIndex)>| of == Some((run, NodeIndex::KEEPER));
    *bench.tables.tasks.iter().rfind(|(_, row)| is_its(row.run)).unwrap().0
}

/// The one step that is due makes this task.
fn step(bench: &mut Bench, spec: TaskSpec) {
    let due = bench.due();
    let [due] = due.as_slice() else { panic!("{due:?}") };
    bench.evaluated(*due, Evaluation::Task(Box::new(new_task(spec))));
}

fn newest(bench: &Bench) -> TaskId {
    *bench.tables.tasks.last_key_value().unwrap().0
}

fn end(bench: &mut Bench, session: SessionId, task: TaskId, how: JobEnd) {
    let attempt = live(bench, task);
    bench.say(session, FromWorker::Started(attempt));
    bench.finish(session, attempt, how);
}

fn view(bench: &mut Bench, of: &str) -> Option<ResourceView> {
    match bench.request(Request::Resource { name: name(of) }) {
        Ok(Answer::Resource(view)) => Some(*view),
        _ => None,
    }
}

fn told(assign: &Assign) -> Vec<String> {
    assign.resources.iter().map(|held| held.name.to_string()).collect()
}

#[test]
fn a_run_holds_what_it_asks_for_from_before_its_first_step_to_its_end() {
    let mut bench = Bench::new();
    let session = bench.worker("lab-1", 8);
    let run = start(&mut bench, two_steps(vec![lock("db"), lock("rig")]));
    let next = bench.one(asks(vec![lock("rig")]));
    let held = view(&mut bench, "rig").unwrap();
    assert_eq!((held.holders[0].run, held.line[0].task), (Some(run), TaskRef::whole(next)));
    step(&mut bench, asks(vec![lock("db")]));
    let first = newest(&bench);
    let assigned = bench.assigned();
    assert_eq!(assigned[0].attempt.task, TaskRef::whole(first));
    assert_eq!(told(&assigned[0]), ["db", "rig"], "its tasks are told all that it holds");
    // A failure between, a restart of the server: held on.
    end(&mut bench, session, first, JobEnd::Success);
    assert_eq!(bench.state(next), StateKind::Waiting);
    bench.crash();
    let session = bench.worker("lab-1", 8);
    assert_eq!(view(&mut bench, "db").unwrap().holders[0].run, Some(run));
    step(&mut bench, noop());
    let second = newest(&bench);
    end(&mut bench, session, second, JobEnd::Success);
    assert_eq!(bench.state(next), StateKind::Waiting, "its result is still to come");
    let due = bench.due()[0];
    bench.evaluated(due, Evaluation::Nothing);
    assert_eq!(bench.tables.runs[&run].state, RunState::Succeeded);
    assert_eq!(bench.state(keeper(&bench, run)), StateKind::Succeeded);
    assert!(bench.state(next).is_live(), "in the commit that ended the run");
    assert!(view(&mut bench, "db").is_none());
}

#[test]
fn a_run_waits_in_line_at_its_ticket_and_is_explained() {
    let mut bench = Bench::new();
    let session = bench.worker("lab-1", 8);
    let holder = bench.one(asks(vec![lock("db")]));
    let run = start(&mut bench, two_steps(vec![lock("db"), lock("rig")]));
    let later = bench.one(asks(vec![lock("rig")]));
    assert!(bench.due().is_empty(), "no step is due before all is granted");
    assert_eq!(bench.state(later), StateKind::Waiting, "nobody overtakes");
    let told = match bench.request(Request::ExplainRun { namespace: namespace(), run }) {
        Ok(Answer::RunExplained(told)) => *told,
        other => panic!("{other:?}"),
    };
    let [WaitReason::Resource { name: of, holders, .. }] = told.reasons.as_slice() else { panic!("{told:?}") };
    assert_eq!((of.as_str(), holders[0].task), ("db", TaskRef::whole(holder)));
    assert_eq!(told.steps[0].state, StepWait::Hold);
    let behind = explain(&mut bench, TaskRef::whole(later)).unwrap().reasons;
    let [WaitReason::Resource { behind_run, .. }] = behind.as_slice() else { panic!("{behind:?}") };
    assert_eq!(behind_run, &Some(run), "the run is named, and not who stands there for it");
    // Paused it stands aside, and steps back to its number.
    bench.run_verb(run, RunVerb::Pause).unwrap();
    assert!(bench.state(later).is_live());
    bench.run_verb(run, RunVerb::Resume).unwrap();
    end(&mut bench, session, later, JobEnd::Success);
    assert!(bench.due().is_empty());
    end(&mut bench, session, holder, JobEnd::Success);
    assert_eq!(bench.due().len(), 1, "due in the commit of the grant");
    assert_eq!(view(&mut bench, "rig").unwrap().holders[0].run, Some(run));
    let next = bench.one(asks(vec![lock("rig")]));
    let held = explain(&mut bench, TaskRef::whole(next)).unwrap().reasons;
    let [WaitReason::Resource { holders, .. }] = held.as_slice() else { panic!("{held:?}") };
    assert_eq!(holders[0].run, Some(run));
}

#[test]
fn what_a_run_holds_is_free_when_its_last_process_is_gone() {
    let mut bench = Bench::new();
    let session = bench.worker("lab-1", 8);
    let run = start(&mut bench, two_steps(vec![lock("db")]));
    step(&mut bench, noop());
    let task = newest(&bench);
    let attempt = live(&bench, task);
    bench.say(session, FromWorker::Started(attempt));
    let next = bench.one(asks(vec![lock("db")]));
    bench.run_verb(run, RunVerb::Cancel).unwrap();
    assert_eq!(bench.state(task), StateKind::Stopping);
    assert_eq!(bench.state(next), StateKind::Waiting, "a process may still use it");
    bench.finish(session, attempt, JobEnd::Stopped);
    assert_eq!(bench.tables.runs[&run].state, RunState::Cancelled);
    assert!(bench.state(next).is_live());
    // Cancelled before it held anything, a run leaves no ticket.
    let other = start(&mut bench, two_steps(vec![lock("db")]));
    bench.run_verb(other, RunVerb::Cancel).unwrap();
    assert_eq!(bench.state(keeper(&bench, other)), StateKind::Cancelled);
    assert_eq!(view(&mut bench, "db").unwrap().waiting, 0);
}

#[test]
fn a_failed_run_lets_go_and_takes_a_new_ticket_when_it_is_retried() {
    let mut bench = Bench::new();
    let session = bench.worker("lab-1", 8);
    let run = start(&mut bench, two_steps(vec![lock("db")]));
    step(&mut bench, noop());
    let task = newest(&bench);
    end(&mut bench, session, task, error("no"));
    assert_eq!(bench.tables.runs[&run].state, RunState::Failed);
    assert!(view(&mut bench, "db").is_none());
    let other = bench.one(asks(vec![lock("db")]));
    let refused = bench.verb(TaskRef::whole(task), TaskVerb::Retry).unwrap_err();
    assert_eq!(refused.code, RefusalCode::Conflict);
    assert!(refused.message.contains("bowline runs retry"), "{}", refused.message);
    bench.run_verb(run, RunVerb::Retry).unwrap();
    assert!(bench.due().is_empty(), "it stands behind who came meanwhile");
    end(&mut bench, session, other, JobEnd::Success);
    step(&mut bench, noop());
    assert_eq!(view(&mut bench, "db").unwrap().holders[0].run, Some(run));
}

#[test]
fn a_step_that_asks_for_more_than_its_run_holds_is_refused() {
    let mut bench = Bench::new();
    bench.worker("lab-1", 8);
    let change = ResourceChange { capacity: Some(4), ..ResourceChange::default() };
    bench.request(Request::SetResource { name: name("lic"), change }).unwrap();
    let licences = |amount| Ask::Counted { name: name("lic"), amount };
    let run = start(&mut bench, two_steps(vec![Ask::Shared { name: name("db") }, licences(2)]));
    step(&mut bench, asks(vec![Ask::Shared { name: name("db") }, licences(2)]));
    assert!(bench.state(newest(&bench)).is_live());
    drop(bench.run_verb(run, RunVerb::Cancel));
    for more in [lock("db"), licences(3), lock("other")] {
        let run = start(&mut bench, two_steps(vec![Ask::Shared { name: name("db") }, licences(2)]));
        step(&mut bench, asks(vec![more.clone()]));
        let row = &bench.tables.runs[&run];
        assert_eq!(row.state, RunState::Failed, "{more:?}");
        let why = row.outcome.as_ref().unwrap().message();
        assert!(why.contains("more than its run holds"), "{why}");
    }
    // Never possible: refused at once.
    let refused = bench.ask_for_graph(two_steps(vec![licences(5)])).unwrap_err();
    assert_eq!(refused.code, RefusalCode::Invalid);
}

#[test]
fn who_holds_it_for_a_run_is_ended_by_the_run_alone() {
    let mut bench = Bench::new();
    bench.worker("lab-1", 8);
    let run = start(&mut bench, two_steps(vec![lock("db")]));
    let unit = TaskRef::whole(keeper(&bench, run));
    for refused in [bench.cancel(unit), bench.complete(unit), bench.verb(unit, TaskVerb::Retry)] {
        assert_eq!(refused.unwrap_err().code, RefusalCode::Conflict);
    }
    assert_eq!(bench.state(unit.task), StateKind::Running);
    bench.request(Request::Pause { namespace: Some(namespace()), paused: Paused::Yes }).unwrap();
    assert_eq!(bench.state(unit.task), StateKind::Running, "what holds, holds on");
    bench.run_verb(run, RunVerb::Cancel).unwrap();
    bench.run_verb(run, RunVerb::Retry).unwrap_or_else(|refused| panic!("{refused:?}"));
    let again = TaskRef::whole(keeper(&bench, run));
    assert_eq!((again == unit, bench.state(again.task)), (false, StateKind::Waiting));
    let refused = bench.verb(unit, TaskVerb::Retry).unwrap_err();
    assert!(refused.message.contains("bowline runs retry"), "{}", refused.message);
}

/// I5, of runs: whoever runs under what its run holds does so while the run holds it; and what has ended holds nothing.
pub(crate) fn check(world: &World) {
    let tables = &world.bench.tables;
    let is_keeper = |of: Option<(RunId, NodeIndex)>| of.is_some_and(|(_, node)| node == NodeIndex::KEEPER);
    for row in tables.tasks.values().filter(|row| row.unit.state.is_live()) {
        let Some((run, _)) = row.run.filter(|_| tables.specs[&row.id].0.under_run) else { continue };
        let of_run =
            tables.tasks.values().filter(|task| is_keeper(task.run) && task.run.map(|(of, _)| of) == Some(run));
        let is_held = of_run.into_iter().any(|keeper| keeper.unit.state == StateKind::Running);
        assert!(is_held, "I5: {} is {} under r{run}, which holds nothing", row.id, row.unit.state);
    }
    for row in tables.tasks.values().filter(|row| is_keeper(row.run) && !row.unit.state.is_ended()) {
        let run = row.run.and_then(|(run, _)| tables.runs.get(&run));
        assert!(run.is_some_and(|run| !run.state.is_ended()), "I5: task {} holds for a run that has ended", row.id);
    }
}

#[test]
fn a_run_that_waits_for_what_is_out_of_service_is_told_so_and_refused_where_that_was_asked() {
    let mut bench = Bench::new();
    let declare = |bench: &mut Bench, service: Service| {
        let change = ResourceChange { capacity: Some(1), service: Some(service), ..ResourceChange::default() };
        bench.request(Request::SetResource { name: ResourceName::new("rig").unwrap(), change }).unwrap();
    };
    declare(&mut bench, Service::Out("flat".to_owned()));
    let start = |bench: &mut Bench, strict| bench.ask_strictly_for(two_steps(vec![lock("rig")]), strict);
    let refused = start(&mut bench, Strict::Yes).unwrap_err();
    assert_eq!(refused.code, RefusalCode::Conflict);
    assert!(refused.message.contains("`rig` is out of service: flat"), "{}", refused.message);
    let Ok(Answer::RunStarted { run, warnings, .. }) = start(&mut bench, Strict::No) else { panic!() };
    assert_eq!(warnings, ["`rig` is out of service: flat"]);
    assert_eq!(bench.state(keeper(&bench, run)), StateKind::Waiting);
    declare(&mut bench, Service::In);
    assert_eq!(bench.due().len(), 1);
    let Ok(Answer::RunStarted { warnings, .. }) = start(&mut bench, Strict::Yes) else { panic!() };
    assert!(warnings.is_empty(), "to wait in line is no matter for a warning");
}
