//! What the members of a gang have among themselves: locks, barriers, values.

use super::*;

fn member(bench: &mut Bench, task: TaskId, question: GangAsk) -> Result<Told, Refusal> {
    let attempt = live(bench, task);
    of_attempt(bench, attempt, question)
}

fn of_attempt(bench: &mut Bench, attempt: AttemptRef, ask: GangAsk) -> Result<Told, Refusal> {
    match bench.request(Request::Gang { attempt, ask }) {
        Ok(Answer::Gang(told)) => Ok(told),
        Err(refusal) => Err(refusal),
        other => panic!("{other:?}"),
    }
}

fn arrive(name: &str, key: &str, count: Option<u32>, dead: Dead) -> GangAsk {
    GangAsk::Arrive { name: name.into(), key: key.into(), count, dead }
}

#[test]
fn a_lock_goes_to_the_next_in_line_when_its_holder_is_gone() {
    let mut bench = Bench::new();
    let (_, members) = running_pair(&mut bench, OnLost::Continue);
    let lock = || GangAsk::Lock("m".into());
    let (first, second) = (live(&bench, members[0]), live(&bench, members[1]));
    assert_eq!(of_attempt(&mut bench, first, lock()), Ok(Told::Done));
    assert_eq!(of_attempt(&mut bench, first, lock()), Ok(Told::Done), "asked again, it is the same");
    let waits = Told::Waiting { holder: Some(first), ahead: 0 };
    assert_eq!(of_attempt(&mut bench, second, lock()), Ok(waits.clone()));
    bench.crash();
    assert_eq!(of_attempt(&mut bench, second, lock()), Ok(waits), "holder and line survive the server");
    let hello = |name: &str, attempt, bench: &Bench| {
        let mut again = hello(name, "p1", 2);
        let row = bench.tables.workers.values().find(|row| row.name.to_string() == name).unwrap();
        again.incarnation = row.incarnation;
        again.attempts = vec![(attempt, KnownAs::Running)];
        again
    };
    let name = on(&bench, members[0]);
    let own_again = bench.connect(hello(&name, first, &bench));
    bench.finish(own_again, first, error("exit status 1"));
    assert_eq!(of_attempt(&mut bench, second, lock()), Ok(Told::Done), "with its holder's attempt it went to the next");
    let fenced = of_attempt(&mut bench, first, lock()).unwrap_err();
    assert_eq!(fenced.code, RefusalCode::Conflict);
}

#[test]
fn a_lock_is_first_come_first_served() {
    let mut bench = Bench::new();
    let session = bench.worker("lab-1", 4);
    let members = gang(&mut bench, 3, together());
    for id in &members {
        start(&mut bench, session, *id);
    }
    let lock = || GangAsk::Lock("m".into());
    assert_eq!(member(&mut bench, members[2], lock()), Ok(Told::Done));
    assert!(matches!(member(&mut bench, members[1], lock()), Ok(Told::Waiting { ahead: 0, .. })));
    assert!(matches!(member(&mut bench, members[0], lock()), Ok(Told::Waiting { ahead: 1, .. })));
    assert_eq!(member(&mut bench, members[2], GangAsk::Unlock("m".into())), Ok(Told::Done));
    assert!(matches!(member(&mut bench, members[0], lock()), Ok(Told::Waiting { ahead: 0, .. })));
    assert_eq!(member(&mut bench, members[1], lock()), Ok(Told::Done));
    assert_eq!(member(&mut bench, members[1], GangAsk::Unlock("m".into())), Ok(Told::Done));
    assert_eq!(member(&mut bench, members[0], GangAsk::Unlock("m".into())), Ok(Told::Done));
    assert!(bench.tables.gangs[&members[0]].board.locks.is_empty());
}

#[test]
fn a_barrier_opens_with_the_last_and_says_who_is_missing() {
    let mut bench = Bench::new();
    let session = bench.worker("lab-1", 4);
    let members = gang(&mut bench, 3, terms(Form::Together, OnLost::Continue));
    for id in &members {
        start(&mut bench, session, *id);
    }
    let at = |key: &str| arrive("b", key, None, Dead::Missed);
    assert_eq!(member(&mut bench, members[0], at("k0")), Ok(Told::Waiting { holder: None, ahead: 2 }));
    assert_eq!(member(&mut bench, members[0], at("k0")), Ok(Told::Waiting { holder: None, ahead: 2 }));
    assert_eq!(member(&mut bench, members[1], at("k1")), Ok(Told::Waiting { holder: None, ahead: 1 }));
    assert_eq!(member(&mut bench, members[2], at("k2")), Ok(Told::Done));
    assert_eq!(member(&mut bench, members[0], at("k0")), Ok(Told::Done), "who asks again is told that it is open");
    // Once more, and one of them dies before it comes.
    assert!(matches!(member(&mut bench, members[0], at("k3")), Ok(Told::Waiting { .. })));
    end(&mut bench, session, members[2], error("killed"));
    let Ok(Told::Missing(missing)) = member(&mut bench, members[0], at("k3")) else { panic!("one is missing") };
    assert_eq!(missing.iter().map(|peer| peer.index).collect::<Vec<_>>(), [2]);
    assert!(matches!(member(&mut bench, members[1], at("k4")), Ok(Told::Missing(_))));
    // Or the living go on without it.
    let living = |key: &str| arrive("c", key, None, Dead::Ignored);
    assert!(matches!(member(&mut bench, members[0], living("k5")), Ok(Told::Waiting { ahead: 1, .. })));
    assert_eq!(member(&mut bench, members[1], living("k6")), Ok(Told::Done));
    // Who leaves is not counted.
    assert!(matches!(
        member(&mut bench, members[0], arrive("d", "k7", Some(2), Dead::Missed)),
        Ok(Told::Waiting { .. })
    ));
    let leave = GangAsk::Leave { name: "d".into(), key: "k7".into() };
    assert_eq!(member(&mut bench, members[0], leave), Ok(Told::Done));
    let alone = member(&mut bench, members[1], arrive("d", "k8", Some(2), Dead::Missed));
    assert!(matches!(alone, Ok(Told::Waiting { ahead: 1, .. })));
}

#[test]
fn values_are_kept_and_gone_when_the_gang_is_claimed_anew() {
    let mut bench = Bench::new();
    let session = bench.worker("lab-1", 4);
    let members = gang(&mut bench, 2, together());
    start(&mut bench, session, members[0]);
    let get = || GangAsk::Get("addr".into());
    assert_eq!(member(&mut bench, members[1], get()), Ok(Told::Value(None)));
    let set = GangAsk::Set { key: "addr".into(), value: "10.0.0.1:9".into() };
    assert_eq!(member(&mut bench, members[0], set), Ok(Told::Done));
    bench.crash();
    assert_eq!(member(&mut bench, members[1], get()), Ok(Told::Value(Some("10.0.0.1:9".into()))));
    let large = GangAsk::Set { key: "big".into(), value: "x".repeat(70_000) };
    assert_eq!(member(&mut bench, members[0], large).unwrap_err().code, RefusalCode::TooLarge);
    let Ok(Told::Peers(peers)) = member(&mut bench, members[0], GangAsk::Peers) else { panic!("peers") };
    assert_eq!(peers.iter().map(|peer| peer.state).collect::<Vec<_>>(), [Some(Running), Some(Assigned)]);
    let mut again = hello("lab-1", "p1", 4);
    again.incarnation = bench.tables.workers.values().next().unwrap().incarnation;
    again.attempts = vec![(live(&bench, members[0]), KnownAs::Running)];
    let session = bench.connect(again);
    // The other was never journaled: it is given back, and the gang with it.
    assert_eq!(states(&bench, &members), [Stopping, Waiting]);
    give_back(&mut bench, session, members[0]);
    assert_eq!(states(&bench, &members), [Assigned, Assigned]);
    assert_eq!(member(&mut bench, members[1], get()), Ok(Told::Value(None)));
}

#[test]
fn a_task_of_no_gang_is_told_so() {
    let mut bench = Bench::new();
    bench.worker("lab-1", 1);
    let task = bench.one(noop());
    let refusal = member(&mut bench, task, GangAsk::Peers).unwrap_err();
    assert!(refusal.message.contains("no member of a gang"), "{}", refusal.message);
}
