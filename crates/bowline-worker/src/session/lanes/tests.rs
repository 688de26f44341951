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

async fn all(frames: &mut mpsc::Receiver<WorkerFrame>) -> Vec<WorkerMessage> {
    let mut messages = Vec::new();
    while let Some(frame) = frames.recv().await {
        messages.extend(frame.messages.into_iter().filter_map(|message| WorkerMessage::from_wire(message).unwrap()));
    }
    messages
}

/// Everything that leaves until the dispatcher's end is closed.
async fn sent(outgoing: Outgoing, lanes: Lanes) -> Vec<WorkerMessage> {
    drop(outgoing);
    let (frames, mut taken) = mpsc::channel(64);
    let sending = async move { lanes.send(&frames).await.unwrap() };
    tokio::join!(sending, all(&mut taken)).1
}

#[tokio::test]
async fn timely_messages_overtake_and_the_newest_of_a_kind_counts() {
    let (outgoing, lanes) = lanes();
    assert_eq!(outgoing.hand_over(started(1), None), Handed::Yes);
    assert_eq!(outgoing.hand_over(demand(4), None), Handed::Yes);
    assert_eq!(outgoing.hand_over(heartbeat(), None), Handed::Yes);
    assert_eq!(outgoing.hand_over(demand(0), None), Handed::InPlaceOf(Kind::Demand));
    assert_eq!(sent(outgoing, lanes).await, [heartbeat(), demand(0), started(1)]);
}

#[tokio::test(start_paused = true)]
async fn what_is_too_late_is_given_up_and_its_sender_knows() {
    let (outgoing, lanes) = lanes();
    outgoing.hand_over(heartbeat(), None);
    outgoing.hand_over(WorkerMessage::Engine(FromWorker::Health(Health::Ok)), None);
    // The wire takes nothing for longer than the deadline.
    let (frames, mut taken) = mpsc::channel(1);
    frames.send(WorkerFrame::default()).await.unwrap();
    let sending = async { lanes.send(&frames).await.unwrap() };
    let late = async {
        tokio::time::sleep(TIMELY_WITHIN + Duration::from_secs(1)).await;
        outgoing.hand_over(started(1), None);
        assert_eq!(taken.recv().await, Some(WorkerFrame::default()));
        assert_eq!(WorkerMessage::from_wire(taken.recv().await.unwrap().messages.remove(0)).unwrap(), Some(started(1)));
        assert_eq!(outgoing.given_up(), [Kind::Heartbeat, Kind::Health]);
        assert_eq!(outgoing.answered(), None, "a heartbeat that never left is answered by nothing");
        drop(outgoing);
    };
    tokio::join!(sending, late);
}

#[tokio::test]
async fn a_heartbeat_s_answer_tells_when_it_left() {
    let (outgoing, lanes) = lanes();
    let before = bowline_supervisor::boottime();
    outgoing.hand_over(heartbeat(), None);
    let board = Arc::clone(&outgoing.board);
    assert_eq!(sent(outgoing, lanes).await, [heartbeat()]);
    let left = board.notes.lock().beats.pop_front().unwrap();
    assert!(left >= before && left <= bowline_supervisor::boottime());
}

#[tokio::test]
async fn the_queue_of_assured_messages_is_bounded_and_refuses_nothing_silently() {
    let (outgoing, lanes) = lanes();
    for task in 0..ASSURED_MAX as u64 {
        assert_eq!(outgoing.hand_over(started(task), None), Handed::Yes);
    }
    assert!(!outgoing.has_room());
    assert_eq!(outgoing.hand_over(started(9), None), Handed::Full);
    drop(lanes);
    assert_eq!(outgoing.hand_over(started(9), None), Handed::Closed);
    assert_eq!(outgoing.hand_over(heartbeat(), None), Handed::Closed);
}

#[tokio::test]
async fn every_kind_of_a_worker_finds_its_lane() {
    for kind in Kind::ALL {
        for message in sample::all_of(kind, attempt(1, None)) {
            let Sample::ToServer(message) = message else { continue };
            let (outgoing, lanes) = lanes();
            assert_eq!(outgoing.hand_over(message.clone(), None), Handed::Yes, "{kind:?}");
            assert_eq!(sent(outgoing, lanes).await, [message], "{kind:?}");
        }
    }
}
