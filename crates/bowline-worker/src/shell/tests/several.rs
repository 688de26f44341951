//! One worker of two servers.

use super::*;
use crate::config::Server;

/// A second server, with a place and a supervisor of its own at the worker.
fn second(rig: &mut Rig) -> (mpsc::Receiver<Session>, Boss) {
    let Listening { server, sessions, .. } = listen("127.0.0.1:0", &mut rig.serving);
    let address = server.strip_prefix("http://").unwrap().replace(':', "_");
    let place = rig.dir.path().join("servers").join(address);
    std::fs::create_dir_all(&place).unwrap();
    std::fs::write(place.join("key"), "b".repeat(64)).unwrap();
    std::fs::write(rig.dir.path().join("server"), &rig.server).unwrap();
    rig.further.push(Server { url: server, enrol_token: None });
    (sessions, fake_supervisor(&place))
}

async fn open(sessions: &mut mpsc::Receiver<Session>) -> Session {
    let mut session = tokio::time::timeout(BOUND, sessions.recv()).await.expect("no session was opened").unwrap();
    assert_eq!(session.welcome().await.attempts, []);
    session
}

#[tokio::test]
async fn the_same_task_of_two_servers_is_two_tasks_and_the_slot_is_shared() {
    let mut rig = Rig::new();
    rig.slots = 1;
    let (mut others, other_boss) = second(&mut rig);
    let (stop, exit) = rig.worker(OnTerm::Handoff);
    let mut first = open(&mut rig.sessions).await;
    let mut other = open(&mut others).await;
    // The very same attempt, by its number.
    first.say(vec![assign(1, command("wait"))]).await;
    assert_eq!(first.next_assured().await, started(1));
    other.say(vec![assign(1, command("wait"))]).await;
    rig.boss.ends(1);
    loop {
        if let message @ WorkerMessage::Engine(FromWorker::Finished(_)) = first.next_assured().await {
            assert_eq!(end_of(&message), JobEnd::Success);
            break;
        }
    }
    // Nothing of the other began before there was room.
    assert_eq!(other.next_assured().await, started(1));
    other_boss.ends(1);
    loop {
        if let message @ WorkerMessage::Engine(FromWorker::Finished(_)) = other.next_assured().await {
            assert_eq!(end_of(&message), JobEnd::Success);
            break;
        }
    }
    stop.cancel();
    assert_eq!(exit.await.unwrap(), WorkerExit::Stopped);
}

#[tokio::test]
async fn fenced_by_one_server_the_worker_serves_the_other_and_fenced_by_all_it_says_so() {
    for fenced_by_all in [false, true] {
        let mut rig = Rig::new();
        let (mut others, _boss) = second(&mut rig);
        let (stop, exit) = rig.worker(OnTerm::Handoff);
        let mut first = open(&mut rig.sessions).await;
        let mut other = open(&mut others).await;
        first.say(vec![assign(1, command("wait"))]).await;
        assert_eq!(first.next_assured().await, started(1));
        let fenced = || ServerMessage::Engine(ToWorker::Fenced { why: "a newer process".to_owned() });
        first.say(vec![fenced()]).await;
        // It lets go of the connection.
        while let Ok(Some(_)) = first.from.message().await {}
        other.say(vec![assign(7, Action::Noop)]).await;
        assert_eq!(other.next_assured().await, started(7));
        if fenced_by_all {
            other.say(vec![fenced()]).await;
        } else {
            stop.cancel();
        }
        let exit = tokio::time::timeout(BOUND, exit).await.unwrap().unwrap();
        assert_eq!(matches!(exit, WorkerExit::Fenced { .. }), fenced_by_all, "{exit:?}");
    }
}

#[tokio::test]
async fn a_server_that_is_away_or_speaks_nonsense_is_no_trouble_of_the_other() {
    let mut rig = Rig::new();
    let (mut others, _boss) = second(&mut rig);
    rig.server_leaves();
    let (stop, exit) = rig.worker(OnTerm::Handoff);
    let mut other = open(&mut others).await;
    other.say(vec![assign(7, Action::Noop)]).await;
    assert_eq!(other.next_assured().await, started(7));
    rig.server_returns();
    // Back, it says what nobody understands, again and again.
    for _ in 0..3 {
        let session = rig.session().await;
        let nonsense = bowline_protocol::wire::ServerMessage {
            kind: Some(bowline_protocol::wire::server_message::Kind::Cancel(bowline_protocol::wire::Cancel::default())),
        };
        session.to.send(Ok(ServerFrame { messages: vec![nonsense], generation: 9, commit_no: 9 })).await.unwrap();
    }
    other.say(vec![assign(8, Action::Noop)]).await;
    loop {
        if other.next_assured().await == started(8) {
            break;
        }
    }
    stop.cancel();
    assert_eq!(exit.await.unwrap(), WorkerExit::Stopped);
}
