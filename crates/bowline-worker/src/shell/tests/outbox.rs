//! What happens while the server is away, or acknowledges nothing.

use bowline_core::message::Finished;
use bowline_core::worker::Health;
use bowline_protocol::Delivery;

use super::*;

impl Session {
    /// The ends that come next, so many of them, with how they got here.
    async fn ends(&mut self, count: usize) -> Vec<(Finished, Option<Delivery>)> {
        let mut ends = Vec::new();
        while ends.len() < count {
            let frame = tokio::time::timeout(BOUND, self.from.message()).await.expect("nothing came").unwrap().unwrap();
            for message in frame.messages {
                let delivery = Delivery::of(&message);
                if let Some(WorkerMessage::Engine(FromWorker::Finished(end))) =
                    WorkerMessage::from_wire(message).unwrap()
                {
                    ends.push((end, delivery));
                }
            }
        }
        ends
    }
}

#[tokio::test]
async fn an_hour_without_the_server_loses_nothing_and_every_result_tells_how_late_it_is() {
    const JOBS: usize = 12;
    let mut rig = Rig::new();
    rig.slots = 16;
    let (stop, exit) = rig.worker(OnTerm::Handoff);
    let mut session = rig.session().await;
    session.welcome().await;
    session.say((1..=JOBS as u64).map(|task| assign(task, command("wait"))).collect()).await;
    let mut begun = BTreeSet::new();
    while begun.len() < JOBS {
        if let WorkerMessage::Engine(FromWorker::Started(attempt)) = session.next_assured().await {
            session.ack(attempt, Assured::Started).await;
            begun.insert(attempt);
        }
    }
    rig.server_leaves();
    drop(session);
    // From here on the clock is ours: an hour, with a job's end every five minutes.
    tokio::time::pause();
    for task in 1..=JOBS as u64 {
        tokio::time::advance(Duration::from_mins(5)).await;
        rig.boss.ends(task);
        // Collected and in the journal, in this order.
        while !rig.boss.may_forget(task) {
            tokio::task::yield_now().await;
        }
    }
    // The last one is late too.
    tokio::time::advance(Duration::from_mins(5)).await;
    tokio::time::resume();
    rig.server_returns();
    let mut session = rig.session().await;
    let hello = session.welcome().await;
    let pending = |task| (sample::attempt(task, None), KnownAs::EndedPending);
    assert!((1..=JOBS as u64).all(|task| hello.attempts.contains(&pending(task))), "{:?}", hello.attempts);
    let ends = session.ends(JOBS).await;
    let waited: Vec<_> = ends.iter().map(|(_, delivery)| delivery.expect("it is late").waited).collect();
    for (task, (end, _)) in (1..=JOBS as u64).zip(&ends) {
        assert_eq!(
            (end.attempt, &end.how),
            (sample::attempt(task, None), &JobEnd::Success),
            "in the order of the ends"
        );
    }
    assert!(waited.is_sorted_by(|one, next| one > next) && waited[0] >= Duration::from_mins(55), "{waited:?}");
    stop.cancel();
    assert_eq!(exit.await.unwrap(), WorkerExit::Stopped);
}

#[tokio::test]
async fn past_its_bound_the_worker_takes_nothing_says_so_and_goes_on_when_there_is_room() {
    const JOBS: usize = 8;
    let mut rig = Rig::new();
    rig.slots = 1;
    // The least: 4 MiB.
    rig.outbox_bytes_max = Some(0);
    let (stop, exit) = rig.worker(OnTerm::Handoff);
    let mut session = rig.session().await;
    session.welcome().await;
    session.say((1..=JOBS as u64).map(|task| assign(task, command("big"))).collect()).await;
    let (mut finished, mut is_broken, mut takes_nothing) = (Vec::new(), false, false);
    while !(is_broken && takes_nothing) {
        match session.next().await {
            WorkerMessage::Engine(FromWorker::Finished(end)) => finished.push(end.attempt),
            WorkerMessage::Engine(FromWorker::Health(Health::Broken(why))) => {
                assert!(why.contains("outbox is full"), "{why}");
                is_broken = true;
            }
            WorkerMessage::Engine(FromWorker::Demand { attempts_max, .. }) => takes_nothing = attempts_max == 0,
            _ => {}
        }
    }
    assert!(finished.len() < JOBS, "the bound held back what had not begun");
    // From here on everything is acknowledged: the rest is done, and it takes work again.
    let (mut is_well, mut takes) = (false, false);
    for attempt in finished.clone() {
        session.ack(attempt, Assured::Finished).await;
    }
    while finished.len() < JOBS || !is_well || !takes {
        match session.next().await {
            WorkerMessage::Engine(FromWorker::Finished(end)) => {
                session.ack(end.attempt, Assured::Finished).await;
                finished.push(end.attempt);
            }
            WorkerMessage::Engine(FromWorker::Health(health)) => is_well = health == Health::Ok,
            WorkerMessage::Engine(FromWorker::Demand { attempts_max, .. }) => takes = attempts_max > 0,
            _ => {}
        }
    }
    stop.cancel();
    assert_eq!(exit.await.unwrap(), WorkerExit::Stopped);
}

#[tokio::test]
async fn a_heartbeat_tells_what_was_sent_again_and_what_was_refused() {
    let mut rig = Rig::new();
    let attempt = sample::attempt(1, None);
    let (stop, exit) = rig.worker(OnTerm::Handoff);
    let mut first = rig.session().await;
    first.welcome().await;
    first.say(vec![assign(1, Action::Noop)]).await;
    first.next_assured().await;
    first.next_assured().await;
    drop(first);
    let mut second = rig.session().await;
    second.welcome().await;
    second.next_assured().await;
    second.next_assured().await;
    let verdict = ToWorker::Verdict { attempt, verdict: Verdict::Superseded };
    second.say(vec![ServerMessage::Engine(verdict)]).await;
    let tally = loop {
        let WorkerMessage::Heartbeat(vitals) = second.next().await else { continue };
        let tally = vitals.messages[&bowline_protocol::Kind::Finished];
        if tally.refused > 0 {
            assert_eq!(vitals.outbox.messages, 2);
            assert!(vitals.outbox.oldest.is_some() && vitals.outbox.bytes_max > 0);
            break tally;
        }
    };
    assert_eq!((tally.sent, tally.retried, tally.dropped, tally.refused), (2, 1, 0, 1));
    stop.cancel();
    assert_eq!(exit.await.unwrap(), WorkerExit::Stopped);
}

#[tokio::test]
async fn a_drained_worker_stays_gives_back_what_has_not_begun_and_takes_work_again() {
    let mut rig = Rig::new();
    rig.slots = 1;
    let (stop, exit) = rig.worker(OnTerm::Release);
    let mut session = rig.session().await;
    session.welcome().await;
    session.say(vec![assign(1, command("wait")), assign(2, command("wait"))]).await;
    assert_eq!(session.next_assured().await, started(1));
    let drain = bowline_core::message::Drain {
        mode: bowline_core::message::DrainMode::Finish,
        within: None,
        exit: bowline_core::message::Exit::No,
    };
    session.say(vec![ServerMessage::Engine(ToWorker::Drain(drain))]).await;
    let WorkerMessage::Engine(FromWorker::Released { attempt, started: false, .. }) = session.next_assured().await
    else {
        panic!("what has not begun is given back");
    };
    assert_eq!(attempt, sample::attempt(2, None));
    rig.boss.ends(1);
    loop {
        if let message @ WorkerMessage::Engine(FromWorker::Finished(_)) = session.next_assured().await {
            assert_eq!(end_of(&message), JobEnd::Success, "what runs comes to its end");
            break;
        }
    }
    session.say(vec![ServerMessage::Engine(ToWorker::Undrain)]).await;
    loop {
        if let WorkerMessage::Engine(FromWorker::Demand { attempts_max: 1.., .. }) = session.next().await {
            break;
        }
    }
    stop.cancel();
    drop(session);
    assert_eq!(exit.await.unwrap(), WorkerExit::Stopped);
}
