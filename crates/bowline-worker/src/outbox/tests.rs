//! What is sent, when, how often, and when there is no more room.

use std::time::Duration;

use bowline_core::message::{Finished, JobEnd};
use bowline_protocol::sample::attempt;

use super::*;

const MAX: usize = 1 << 20;

fn started(task: u64) -> WorkerMessage {
    WorkerMessage::Engine(FromWorker::Started(attempt(task, None)))
}

fn finished(task: u64) -> WorkerMessage {
    let end = Finished { attempt: attempt(task, None), how: JobEnd::Success, result: None };
    WorkerMessage::Engine(FromWorker::Finished(end))
}

fn at(minutes: u64) -> Moment {
    Moment(Duration::from_mins(minutes))
}

fn drain(outbox: &mut Outbox) -> Vec<WorkerMessage> {
    std::iter::from_fn(|| outbox.next(at(0))).map(|(message, _)| message).collect()
}

#[test]
fn nothing_is_sent_before_it_is_durable() {
    let mut outbox = Outbox::new(MAX);
    let first = outbox.push(attempt(1, None), started(1), at(0));
    outbox.push(attempt(1, None), finished(1), at(0));
    assert!(outbox.next_bytes().is_none());
    assert_eq!(drain(&mut outbox), []);
    outbox.durable(first);
    assert_eq!(drain(&mut outbox), [started(1)]);
}

#[test]
fn what_is_not_acknowledged_is_sent_again_in_order_and_says_so() {
    let mut outbox = Outbox::new(MAX);
    for task in 1..=3 {
        outbox.push(attempt(task, None), started(task), at(0));
        let seq = outbox.push(attempt(task, None), finished(task), at(0));
        outbox.durable(seq);
    }
    assert_eq!(drain(&mut outbox).len(), 6);
    assert_eq!(outbox.acknowledge(attempt(2, None), &Assured::Started), Some(3));
    assert_eq!(outbox.acknowledge(attempt(2, None), &Assured::Started), None);
    outbox.rewind();
    assert_eq!(outbox.next(at(0)).unwrap().1.unwrap().sends, 2);
    assert_eq!(drain(&mut outbox), [finished(1), finished(2), started(3), finished(3)]);
    assert_eq!(outbox.kinds_sent(attempt(2, None)), [Kind::Finished]);
}

#[test]
fn what_waited_long_says_for_how_long() {
    let mut outbox = Outbox::new(MAX);
    let seq = outbox.push(attempt(1, None), finished(1), at(0));
    let seq = outbox.push(attempt(2, None), finished(2), at(50)).max(seq);
    outbox.durable(seq);
    assert_eq!(outbox.vitals(at(50)).oldest, Some(Duration::from_mins(50)));
    let late = Delivery { waited: Duration::from_mins(50), sends: 1 };
    assert_eq!(outbox.next(at(50)).unwrap(), (finished(1), Some(late)));
    assert_eq!(outbox.next(at(50)).unwrap(), (finished(2), None), "what comes at once has nothing to tell");
}

#[test]
fn letting_go_of_an_attempt_leaves_the_others() {
    let mut outbox = Outbox::new(MAX);
    outbox.recover(7, attempt(1, None), started(1), at(1));
    outbox.recover(9, attempt(2, None), finished(2), at(2));
    assert!(outbox.holds_end(attempt(2, None)) && !outbox.holds_end(attempt(1, None)));
    assert_eq!(outbox.vitals(at(2)).oldest, Some(Duration::from_mins(1)));
    assert_eq!(outbox.let_go(attempt(1, None)), [7]);
    assert!(!outbox.holds(attempt(1, None)));
    assert_eq!(drain(&mut outbox), [finished(2)]);
    assert_eq!(outbox.push(attempt(3, None), started(3), at(0)), 10);
}

#[test]
fn room_is_kept_for_the_ends_of_what_has_begun() {
    let mut outbox = Outbox::new(4 * END_BYTES);
    outbox.keep_room(3);
    assert!(!outbox.is_full(), "one more can begin");
    outbox.push(attempt(1, None), started(1), at(0));
    assert!(outbox.is_full());
    assert!(outbox.vitals(at(0)).bytes <= outbox.vitals(at(0)).bytes_max, "what has begun can end");
    outbox.keep_room(2);
    assert!(!outbox.is_full());
    outbox.keep_room(4);
    assert!(outbox.is_full());
    outbox.keep_room(3);
    assert!(outbox.is_full(), "it is open again when a quarter is free");
    outbox.let_go(attempt(1, None));
    assert!(!outbox.is_full());
}

#[test]
fn what_is_said_of_a_file_again_goes_before_the_end_however_often_either_was_sent() {
    let mut outbox = Outbox::new(MAX);
    let of = attempt(1, None);
    let artifact = |digest: &str| {
        let (name, digest) = ("a".to_owned(), digest.to_owned());
        WorkerMessage::Artifact(bowline_protocol::Artifact { attempt: of, name, digest, bytes: 1 })
    };
    outbox.push(of, artifact("before"), at(0));
    let end = outbox.push(of, finished(1), at(1));
    outbox.durable(end);
    assert_eq!(drain(&mut outbox).len(), 2);
    outbox.acknowledge(of, &Assured::Artifact("a".to_owned())).unwrap();
    let again = outbox.push(of, artifact("after"), at(2));
    let (before, now, message, said_at) = outbox.end_goes_last(of).unwrap();
    assert_eq!((before, message, said_at), (end, finished(1), at(1)), "it is as old as it was");
    assert!(now > again && outbox.holds_end(of) && outbox.len() == 2);
    outbox.durable(now);
    outbox.rewind();
    assert_eq!(drain(&mut outbox), [artifact("after"), finished(1)]);
    assert_eq!(outbox.end_goes_last(attempt(2, None)), None);
}
