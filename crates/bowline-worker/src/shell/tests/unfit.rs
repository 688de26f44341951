//! A worker that is not fit when it begins: the server may not know it yet.

use bowline_core::worker::Health;

use super::*;

/// No disk has so much room.
const NEVER: u64 = u64::MAX;

/// The attempts that the next messages give back before they began.
async fn given_back(session: &mut Session, count: usize) -> BTreeSet<AttemptRef> {
    let mut given_back = BTreeSet::new();
    while given_back.len() < count {
        match session.next_assured().await {
            WorkerMessage::Engine(FromWorker::Released { attempt, started: false, why }) => {
                assert!(why.contains("disk"), "{why}");
                given_back.insert(attempt);
            }
            // This supervisor keeps no jobs for the next process.
            WorkerMessage::Engine(FromWorker::Gone { .. }) => {}
            other => panic!("unexpected {other:?}"),
        }
    }
    given_back
}

#[tokio::test]
async fn what_is_handed_over_before_the_server_knows_is_given_back() {
    let mut rig = Rig::new();
    rig.disk_free_min = Some(NEVER);
    let (stop, exit) = rig.worker(OnTerm::Handoff);
    let mut session = rig.session().await;
    let health = session.welcome().await.health;
    assert!(matches!(&health, Health::Broken(why) if why.contains("disk")), "{health:?}");
    session.say(vec![assign(1, command("greet")), assign(2, Action::Noop)]).await;
    let both = [1, 2].map(|task| sample::attempt(task, None));
    assert_eq!(given_back(&mut session, 2).await, both.into());
    stop.cancel();
    assert_eq!(exit.await.unwrap(), WorkerExit::Stopped);
}

#[tokio::test]
async fn what_waited_for_a_slot_is_given_back_by_the_next_process() {
    let mut rig = Rig::new();
    rig.slots = 1;
    let (stop, exit) = rig.worker(OnTerm::Handoff);
    let mut session = rig.session().await;
    session.welcome().await;
    session.say(vec![assign(1, command("wait")), assign(2, command("greet"))]).await;
    assert_eq!(session.next_assured().await, started(1));
    session.ack(sample::attempt(1, None), Assured::Started).await;
    stop.cancel();
    assert_eq!(exit.await.unwrap(), WorkerExit::Stopped);

    rig.disk_free_min = Some(NEVER);
    let (stop, exit) = rig.worker(OnTerm::Handoff);
    let mut session = rig.session().await;
    let known = session.welcome().await.attempts;
    let waits = sample::attempt(2, None);
    assert!(known.contains(&(waits, KnownAs::Assigned)), "{known:?}");
    assert_eq!(given_back(&mut session, 1).await, [waits].into());
    stop.cancel();
    assert_eq!(exit.await.unwrap(), WorkerExit::Stopped);
}
