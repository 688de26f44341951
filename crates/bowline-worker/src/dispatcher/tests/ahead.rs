//! What is made ready before there is a slot for it.

use super::*;

/// A worker of two slots, both taken by jobs that are short as a rule, and these that wait.
fn full(waiting: &[AttemptRef]) -> (Bench, Vec<Action>) {
    let (first, second, third) = (sample::attempt(1, None), sample::attempt(2, None), sample::attempt(3, None));
    let mut bench = Bench::new(Left::default(), |config| config.room.slots = 2);
    bench.supervisor_is_up();
    bench.listed();
    bench.is_given(first);
    bench.runs(first);
    // So short is one of them.
    bench.ends(first);
    let wanted = bench.server_says([&[second, third], waiting].concat().into_iter().map(assign).collect());
    (bench, wanted)
}

fn prepares(actions: &[Action]) -> Vec<AttemptRef> {
    let prepares = |action: &Action| if let Action::Prepare(of, _) = action { Some(*of) } else { None };
    actions.iter().filter_map(prepares).collect()
}

fn is_ready(attempt: AttemptRef) -> Event {
    let start = Start::new(key_of(attempt), vec!["true".into()], "/w".into(), "/w/log".into());
    Event::Prepared(attempt, Ok(Some(Box::new(start))))
}

fn starts(actions: &[Action]) -> Vec<String> {
    let starts =
        |action: &Action| if let Action::Job(Request::Start(start)) = action { Some(start.key.clone()) } else { None };
    actions.iter().filter_map(starts).collect()
}

fn removes(actions: &[Action], attempt: AttemptRef) -> bool {
    actions.iter().any(|action| matches!(action, Action::Remove(folder) if folder.ends_with(key_of(attempt))))
}

#[test]
fn while_short_jobs_take_all_slots_the_next_are_made_ready_and_begin_at_once() {
    let [second, third, next, after, last] = [2, 3, 4, 5, 6].map(|task| sample::attempt(task, None));
    let (mut bench, wanted) = full(&[next, after, last]);
    // As many as there are slots.
    assert_eq!(prepares(&wanted), [second, third, next, after]);
    for attempt in [second, third, next] {
        let wanted = bench.happens(is_ready(attempt));
        assert_eq!(starts(&wanted), if attempt == next { vec![] } else { vec![key_of(attempt)] }, "I4");
    }
    bench.supervisor(started(second));
    assert_eq!(bench.dispatcher.begun().collect::<Vec<_>>(), [second, third]);
    let wanted = bench.supervisor(exited(key_of(second), 0));
    assert_eq!(starts(&wanted), [key_of(next)], "nothing more is to be prepared");
    assert_eq!(prepares(&wanted), [last]);
    // Its slot is there before it is ready: it is not made ready twice.
    bench.supervisor(started(third));
    let wanted = bench.supervisor(exited(key_of(third), 0));
    assert!(starts(&wanted).is_empty() && prepares(&wanted).is_empty());
    assert_eq!(starts(&bench.happens(is_ready(after))), [key_of(after)]);
    assert_eq!(bench.dispatcher.begun().collect::<Vec<_>>(), [next, after]);
}

#[test]
fn what_is_made_ready_can_be_called_back_and_its_folder_goes_when_nobody_makes_anything_in_it() {
    let [next, after] = [4, 5].map(|task| sample::attempt(task, None));
    let (mut bench, wanted) = full(&[next, after]);
    assert!(prepares(&wanted).contains(&next) && prepares(&wanted).contains(&after));
    bench.happens(is_ready(after));
    for attempt in [next, after] {
        let cancel = ToWorker::Cancel { attempt, why: StopWhy::Recall };
        bench.happens(Event::Link(
            LinkNo(1),
            LinkEvent::Messages { messages: vec![ServerMessage::Engine(cancel)], generation: 0, commit_no: 3 },
        ));
        let said = said_of(&bench.held, attempt);
        let released = |message: &WorkerMessage| {
            matches!(message, WorkerMessage::Engine(FromWorker::Released { started: false, .. }))
        };
        assert!(said.iter().any(|(_, message)| released(message)), "{said:?}");
        bench.is_durable();
        let ack = ToWorker::Ack { attempt, of: Assured::Released };
        let wanted = bench.server_says(vec![ServerMessage::Engine(ack)]);
        assert_eq!(removes(&wanted, attempt), attempt == after, "{wanted:?}");
    }
    // Its folder is still being made.
    let mut wanted = bench.happens(is_ready(next));
    assert!(starts(&wanted).is_empty());
    wanted.extend(bench.is_durable());
    assert!(removes(&wanted, next), "{wanted:?}");
}

#[test]
fn what_cannot_be_made_ready_is_tried_once_more_when_it_begins() {
    let [second, next] = [2, 4].map(|task| sample::attempt(task, None));
    let (mut bench, _) = full(&[next]);
    let wanted = bench.happens(Event::Prepared(next, Err(Unprepared::NoRoom("no space left on device".to_owned()))));
    assert!(prepares(&wanted).is_empty() && end_said(&bench.held).is_none());
    bench.happens(is_ready(second));
    bench.supervisor(started(second));
    let wanted = bench.supervisor(exited(key_of(second), 0));
    assert_eq!(prepares(&wanted), [next]);
}
