//! What leaves, in which order, and what does not.

use bowline_core::message::FromWorker;
use bowline_core::worker::{Health, Room};
use bowline_protocol::sample::{self, Sample, attempt};

use super::*;

fn started(task: u64) -> WorkerMessage {
    WorkerMessage::Engine(FromWorker::Started(attempt(task, None)))
}

fn demand(attempts_max: u32) -> WorkerMessage {
    WorkerMessage::Engine(FromWorker::Demand { attempts_max, room: Room::default() })
}

fn heartbeat() -> WorkerMessage {
    WorkerMessage::Heartbeat(Box::default())
}

fn at(length: Duration) -> Now {
    Now { at: Moment(length), boot: length * 2, wall_us: 0 }
}

/// An outbox that holds these, all of them durable.
fn outbox(messages: impl IntoIterator<Item = WorkerMessage>) -> Outbox {
    let mut outbox = Outbox::new(1 << 30);
    for message in messages {
        let seq = outbox.push(attempt(1, None), message, Moment::default());
        outbox.durable(seq);
    }
    outbox
}

fn sent(parcels: Vec<Parcel>) -> Vec<WorkerMessage> {
    parcels.into_iter().map(|(message, _)| message).collect()
}

#[test]
fn timely_messages_overtake_and_the_newest_of_a_kind_counts() {
    let (mut lanes, mut outbox) = (Lanes::default(), outbox([started(1)]));
    let now = Now::default();
    assert_eq!(lanes.hand_over(demand(4), now.at), Handed::Yes);
    assert_eq!(lanes.hand_over(heartbeat(), now.at), Handed::Yes);
    assert_eq!(lanes.hand_over(demand(0), now.at), Handed::InPlaceOf(Kind::Demand));
    assert_eq!(lanes.take(&mut outbox, now), [], "the wire has no room");
    lanes.has_room();
    assert_eq!(sent(lanes.take(&mut outbox, now)), [heartbeat(), demand(0), started(1)]);
    outbox.rewind();
    assert_eq!(lanes.take(&mut outbox, now), [], "there is room for one frame at a time");
}

#[test]
fn what_is_too_late_is_given_up_and_its_sender_knows() {
    let (mut lanes, mut outbox) = (Lanes::default(), outbox([started(1)]));
    lanes.hand_over(heartbeat(), Moment::default());
    lanes.hand_over(WorkerMessage::Engine(FromWorker::Health(Health::Ok)), Moment::default());
    // The wire takes nothing for longer than the deadline.
    lanes.has_room();
    assert_eq!(sent(lanes.take(&mut outbox, at(TIMELY_WITHIN + Duration::from_secs(1)))), [started(1)]);
    assert_eq!(lanes.given_up(), [Kind::Heartbeat, Kind::Health]);
    assert_eq!(lanes.given_up(), []);
    assert_eq!(lanes.answered(), None, "a heartbeat that never left is answered by nothing");
}

#[test]
fn a_heartbeat_s_answer_tells_when_it_left() {
    let (mut lanes, mut outbox) = (Lanes::default(), outbox([]));
    lanes.hand_over(heartbeat(), Moment::default());
    lanes.has_room();
    let now = at(Duration::from_secs(3));
    assert_eq!(sent(lanes.take(&mut outbox, now)), [heartbeat()]);
    assert_eq!((lanes.answered(), lanes.answered()), (Some(now.boot), None));
}

#[test]
fn a_frame_is_bounded_by_messages_and_by_bytes_and_last_words_by_neither() {
    let mut lanes = Lanes::default();
    let mut many = outbox((0..=FRAME_MESSAGES_MAX as u64).map(started));
    lanes.has_room();
    assert_eq!(lanes.take(&mut many, Now::default()).len(), FRAME_MESSAGES_MAX);
    lanes.has_room();
    assert_eq!(lanes.take(&mut many, Now::default()).len(), 1);
    let large = |task| {
        let how = bowline_core::message::JobEnd::Success;
        let result = Some("x".repeat(FRAME_BYTES_TARGET / 2 + 1));
        let finished = bowline_core::message::Finished { attempt: attempt(task, None), how, result };
        WorkerMessage::Engine(FromWorker::Finished(finished))
    };
    let mut large = outbox((0..3).map(large));
    lanes.has_room();
    assert_eq!(lanes.take(&mut large, Now::default()).len(), 1);
    assert_eq!(lanes.take_all(&mut large, Now::default()).len(), 2);
}

#[test]
fn every_kind_of_a_worker_finds_its_lane() {
    for kind in Kind::ALL {
        for message in sample::all_of(kind, attempt(1, None)) {
            let Sample::ToServer(message) = message else { continue };
            let mut lanes = Lanes::default();
            lanes.has_room();
            let mut outbox = if kind.class() == Class::Assured {
                outbox([message.clone()])
            } else {
                assert_eq!(lanes.hand_over(message.clone(), Moment::default()), Handed::Yes, "{kind:?}");
                outbox([])
            };
            assert_eq!(sent(lanes.take(&mut outbox, Now::default())), [message], "{kind:?}");
        }
    }
}
