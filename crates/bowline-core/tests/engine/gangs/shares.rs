//! Gangs of namespaces with shares: whose turn it is.

use super::*;
use bowline_core::name::Namespace;

/// One task in this namespace, or a gang.
fn tasks_in(bench: &mut Bench, of: &Namespace, specs: Vec<TaskSpec>) -> Vec<TaskId> {
    let tasks: Vec<NewTask> = specs.into_iter().map(new_task).collect();
    let is_gang = tasks.len() > 1;
    let submit = Submit { namespace: of.clone(), tasks, key: None, dry_run: DryRun::No, strict: Strict::No };
    match bench.request(if is_gang { Request::SubmitGang(submit, together()) } else { Request::Submit(submit) }) {
        Ok(Answer::Submitted { tasks, .. }) => tasks,
        other => panic!("{other:?}"),
    }
}

fn pair_in(bench: &mut Bench, of: &Namespace) -> Vec<TaskId> {
    tasks_in(bench, of, vec![noop(); 2])
}

fn explained(bench: &mut Bench, of: &Namespace, task: TaskId) -> Vec<WaitReason> {
    match bench.request(Request::Explain { namespace: of.clone(), task: TaskRef::whole(task) }) {
        Ok(Answer::Explained(explained)) => explained.reasons,
        other => panic!("{other:?}"),
    }
}

/// Two namespaces, and a worker with two slots.
fn site() -> (Bench, SessionId, [Namespace; 2]) {
    let mut bench = Bench::new();
    let names = ["busy", "late"].map(|name| Namespace::new(name).unwrap());
    let change = NamespaceChange { share: Some(Some(1)), ..NamespaceChange::default() };
    bench.request(Request::SetNamespace { name: names[1].clone(), change }).unwrap();
    let session = bench.worker("lab-1", 2);
    (bench, session, names)
}

/// All of them run for so long, and end.
fn run(bench: &mut Bench, session: SessionId, tasks: &[TaskId], length: Duration) {
    for task in tasks {
        start(bench, session, *task);
    }
    for _ in 0..10 {
        bench.pass(length / 10);
        bench.say(session, FromWorker::Heartbeat);
    }
    for task in tasks {
        end(bench, session, *task, JobEnd::Success);
    }
}

#[test]
fn the_gang_of_whoever_has_had_least_goes_first() {
    let (mut bench, session, [busy, late]) = site();
    let [first, second] = [(); 2].map(|()| pair_in(&mut bench, &busy));
    let other = pair_in(&mut bench, &late);
    assert_eq!(states(&bench, &first), [Assigned, Assigned]);
    run(&mut bench, session, &first, Duration::from_secs(100));
    assert_eq!(states(&bench, &other), [Assigned, Assigned], "it has had nothing");
    assert_eq!(states(&bench, &second), [Ready, Ready]);
    run(&mut bench, session, &other, Duration::from_secs(10));
    assert_eq!(states(&bench, &second), [Assigned, Assigned]);
}

#[test]
fn gangs_and_single_tasks_take_turns_by_shares() {
    let (mut bench, session, [busy, late]) = site();
    let first = pair_in(&mut bench, &busy);
    let second = pair_in(&mut bench, &busy);
    let singles = [(); 2].map(|()| tasks_in(&mut bench, &late, vec![noop()])[0]);
    // Of what runs meanwhile half is due to either.
    bench.pass(Duration::from_secs(2));
    let told = explained(&mut bench, &busy, second[0]);
    let is_told = |told: &[WaitReason]| {
        told.iter().any(|reason| matches!(reason, WaitReason::Share { namespace, .. } if *namespace == late))
    };
    assert!(is_told(&told), "{told:?}");
    run(&mut bench, session, &first, Duration::from_secs(30));
    assert_eq!(states(&bench, &singles), [Assigned, Assigned], "the gang has a lower ticket, and has had more");
    assert_eq!(states(&bench, &second), [Ready, Ready]);
    run(&mut bench, session, &singles, Duration::from_secs(10));
    assert_eq!(states(&bench, &second), [Assigned, Assigned]);
}

#[test]
fn without_shares_the_ticket_decides() {
    let (mut bench, session, [busy, late]) = site();
    let change = NamespaceChange { share: Some(None), ..NamespaceChange::default() };
    bench.request(Request::SetNamespace { name: late.clone(), change }).unwrap();
    let [first, second] = [(); 2].map(|()| pair_in(&mut bench, &busy));
    let other = pair_in(&mut bench, &late);
    run(&mut bench, session, &first, Duration::from_secs(100));
    assert_eq!((states(&bench, &second), states(&bench, &other)), (vec![Assigned, Assigned], vec![Ready, Ready]));
}

/// Seconds pass, and this worker is heard of.
fn pass(bench: &mut Bench, session: SessionId, seconds: u64) {
    for _ in 0..seconds / 5 {
        bench.pass(Duration::from_secs(5));
        bench.say(session, FromWorker::Heartbeat);
    }
}

#[test]
fn a_gang_stays_the_first_while_turns_differ_by_less_than_a_minute() {
    let (mut bench, _, [busy, late]) = site();
    let session = bench.worker("lab-2", 8);
    let asks = |slots: u32| TaskSpec { slots, requires: vec!["worker=lab-2".parse().unwrap()], ..noop() };
    // The one has had more, and what the other one runs costs more.
    let small = tasks_in(&mut bench, &late, vec![asks(2)])[0];
    start(&mut bench, session, small);
    pass(&mut bench, session, 10);
    let large = tasks_in(&mut bench, &busy, vec![asks(3)])[0];
    start(&mut bench, session, large);
    let gangs = [&busy, &late].map(|of| tasks_in(&mut bench, of, vec![asks(4); 2])[0]);
    assert_eq!(states(&bench, &gangs), [Ready, Ready]);
    let kept = |bench: &mut Bench| {
        [&busy, &late].map(|of| {
            let told = explained(bench, of, gangs[usize::from(of == &late)]);
            told.iter().any(|reason| matches!(reason, WaitReason::Gang { kept, .. } if !kept.is_empty()))
        })
    };
    pass(&mut bench, session, 50);
    assert_eq!(kept(&mut bench), [false, false], "less than a minute");
    pass(&mut bench, session, 20);
    assert_eq!(kept(&mut bench), [true, false], "it is the other one's turn, by less than a minute of a slot");
    pass(&mut bench, session, 30);
    assert_eq!(kept(&mut bench), [false, false], "by more");
    pass(&mut bench, session, 50);
    assert_eq!(kept(&mut bench), [false, true]);
}
