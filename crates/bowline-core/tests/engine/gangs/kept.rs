//! Workers that are kept free for a gang.

use super::*;

#[test]
fn workers_are_kept_free_for_the_first_of_the_gangs_that_wait() {
    let mut bench = Bench::new();
    let sessions = [bench.worker("a", 2), bench.worker("b", 2)];
    let mut small: Vec<TaskId> = (0..4).map(|_| bench.one(noop())).collect();
    let members = gang_of(&mut bench, vec![slots(2), slots(2)], terms(Form::Distinct, OnLost::RerunAll));
    let mut replace = |bench: &mut Bench| {
        let ended = small.remove(0);
        let attempt = live(bench, ended);
        let session = sessions[usize::from(on(bench, ended) == "b")];
        bench.say(session, FromWorker::Started(attempt));
        bench.finish(session, attempt, JobEnd::Success);
        let next = bench.one(noop());
        small.push(next);
        bench.state(next)
    };
    let pass = |bench: &mut Bench, seconds: u64| {
        for _ in 0..seconds / 5 {
            bench.pass(Duration::from_secs(5));
            for session in &sessions {
                bench.say(*session, FromWorker::Heartbeat);
            }
        }
    };
    for _ in 0..4 {
        assert_eq!(replace(&mut bench), Assigned, "within the bound smaller ones go by");
        pass(&mut bench, 10);
    }
    pass(&mut bench, 60);
    let reasons = explain(&mut bench, TaskRef::whole(members[0])).unwrap().reasons;
    let kept = reasons.iter().find_map(|reason| match reason {
        WaitReason::Gang { kept, .. } => Some(kept.iter().map(ToString::to_string).collect::<Vec<_>>()),
        _ => None,
    });
    assert_eq!(kept, Some(vec!["a".to_owned(), "b".to_owned()]), "{reasons:?}");
    for _ in 0..3 {
        assert_eq!(replace(&mut bench), Ready, "what is free now is the gang's");
        assert_eq!(states(&bench, &members), [Ready, Ready]);
    }
    assert_eq!(replace(&mut bench), Ready);
    assert_eq!(states(&bench, &members), [Assigned, Assigned], "the last of them ended");
    for (member, session) in members.iter().map(|member| (*member, on(&bench, *member))).collect::<Vec<_>>() {
        let (attempt, session) = (live(&bench, member), sessions[usize::from(session == "b")]);
        bench.say(session, FromWorker::Started(attempt));
        bench.finish(session, attempt, JobEnd::Success);
    }
    assert_eq!(states(&bench, &small), [Assigned; 4], "what was kept is for everybody again");
}

#[test]
fn nothing_is_kept_for_a_gang_that_is_cancelled() {
    let mut bench = Bench::new();
    let session = bench.worker("a", 2);
    let long = bench.one(noop());
    let members = gang(&mut bench, 2, together());
    for _ in 0..14 {
        bench.pass(Duration::from_secs(5));
        bench.say(session, FromWorker::Heartbeat);
    }
    let behind = bench.one(noop());
    assert_eq!((bench.state(long), bench.state(behind)), (Assigned, Ready));
    let tasks = members.into_iter().map(TaskRef::whole).collect();
    let verb = TaskVerb::Cancel { why: "enough".to_owned() };
    bench.request(Request::Tasks { namespace: namespace(), tasks, verb }).unwrap();
    assert_eq!(bench.state(behind), Assigned);
}

#[test]
fn workers_are_kept_for_those_who_are_left_when_the_one_that_the_gang_is_called_by_has_ended() {
    let mut bench = Bench::new();
    let session = bench.worker("a", 2);
    let long = [bench.one(noop()), bench.one(noop())];
    let members = gang(&mut bench, 3, together());
    let small: Vec<TaskId> = (0..4).map(|_| bench.one(noop())).collect();
    bench.cancel(TaskRef::whole(members[0])).unwrap();
    for _ in 0..14 {
        bench.pass(Duration::from_secs(5));
        bench.say(session, FromWorker::Heartbeat);
    }
    let told = explain(&mut bench, TaskRef::whole(small[0])).unwrap().reasons;
    let left = TaskRef::whole(members[1]);
    let is_left = |reason: &WaitReason| matches!(reason, WaitReason::KeptFree { workers } if workers[0].1 == left);
    assert!(told.iter().any(is_left), "one that has ended would tell nobody anything: {told:?}");
    for task in long {
        assert_eq!(states(&bench, &members[1..]), [Ready, Ready]);
        start(&mut bench, session, task);
        end(&mut bench, session, task, JobEnd::Success);
        assert_eq!(states(&bench, &small), [Ready; 4], "what is free is kept for the gang");
    }
    assert_eq!(states(&bench, &members), [Cancelled, Assigned, Assigned]);
}
