//! A member that goes to its place alone, with `continue`.

use super::*;
use bowline_core::explain::WorkerReason;
use bowline_core::name::WorkerName;

/// Two members run on a worker each, and the worker of the second is lost.
fn pair_of_which_one_is_lost(bench: &mut Bench) -> (SessionId, Vec<TaskId>) {
    let ([own, other], members) = running_pair(bench, OnLost::Continue);
    bench.apply(bowline_core::Input::Disconnected { session: other });
    lose(bench, own);
    (own, members)
}

#[test]
fn a_lost_member_of_distinct_ones_waits_for_a_worker_without_another_of_them() {
    let mut bench = Bench::new();
    let (_, members) = pair_of_which_one_is_lost(&mut bench);
    assert_eq!(states(&bench, &members), [Running, Ready], "the worker that is left has the other one");
    let name = WorkerName::new(on(&bench, members[0])).unwrap();
    let told = explain(&mut bench, TaskRef::whole(members[1])).unwrap().reasons;
    let expected = WaitReason::OfItsGang { workers: vec![(name.clone(), TaskRef::whole(members[0]))] };
    assert!(told.contains(&expected), "{told:?}");
    let Ok(Answer::WorkerExplained(worker)) = bench.request(Request::ExplainWorker { worker: name }) else { panic!() };
    assert!(matches!(worker.reasons.as_slice(), [WorkerReason::NothingFits { lanes: 1 }]), "{worker:?}");
    assert_eq!(worker.lanes[0].of_its_gang, Some(TaskRef::whole(members[0])));
    // Neither a take-over nor room there changes it; another worker does.
    bench.crash();
    assert_eq!(states(&bench, &members), [Running, Ready]);
    bench.worker("lab-3", 1);
    assert_eq!(states(&bench, &members), [Running, Assigned]);
    assert_eq!(on(&bench, members[1]), "lab-3");
}

#[test]
fn a_worker_is_told_of_gangs_that_wait_for_more_workers() {
    let mut bench = Bench::new();
    bench.worker("lab-1", 4);
    let members = gang(&mut bench, 2, terms(Form::Distinct, OnLost::Continue));
    assert_eq!(states(&bench, &members), [Ready, Ready]);
    let name = WorkerName::new("lab-1").unwrap();
    let Ok(Answer::WorkerExplained(worker)) = bench.request(Request::ExplainWorker { worker: name }) else { panic!() };
    assert_eq!(worker.reasons, [WorkerReason::GangsWait { first: vec![TaskRef::whole(members[0])], more: 0 }]);
}

#[test]
fn it_goes_where_another_one_was_once_that_has_ended() {
    let mut bench = Bench::new();
    let (own, members) = pair_of_which_one_is_lost(&mut bench);
    end(&mut bench, own, members[0], JobEnd::Success);
    assert_eq!(states(&bench, &members), [Succeeded, Assigned]);
}

#[test]
fn where_members_need_no_worker_each_it_goes_wherever_there_is_room() {
    let mut bench = Bench::new();
    let sessions = [bench.worker("lab-1", 1), bench.worker("lab-2", 2)];
    let members = gang(&mut bench, 3, terms(Form::Together, OnLost::Continue));
    for member in &members {
        let at = usize::from(on(&bench, *member) == "lab-2");
        start(&mut bench, sessions[at], *member);
    }
    let alone = *members.iter().find(|member| on(&bench, **member) == "lab-1").unwrap();
    let other = *members.iter().find(|member| on(&bench, **member) == "lab-2").unwrap();
    bench.apply(bowline_core::Input::Disconnected { session: sessions[0] });
    lose(&mut bench, sessions[1]);
    assert_eq!(bench.state(alone), Ready);
    end(&mut bench, sessions[1], other, JobEnd::Success);
    assert_eq!(bench.state(alone), Assigned);
    assert_eq!(on(&bench, alone), "lab-2");
}
