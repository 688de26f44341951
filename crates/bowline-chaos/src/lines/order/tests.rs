//! Good histories, in which nothing is found, and histories with one wrong each, which is.

use super::judge::{Array, Event, Judge, Shape, Snapshot, Told};
use super::{Ask, At, Declared, Device, Key, Kind, Quota, Unit};

/// Plays histories: a line is a commit, events stand with `;` between.
struct Play {
    judge: Judge,
    commit: u64,
}

const SECOND_US: i64 = 1_000_000;

impl Play {
    fn new() -> Self {
        Self { judge: Judge::default(), commit: 0 }
    }

    /// Its ticket is its id, unless it is told otherwise.
    fn task(self, id: u64, asks: &str) -> Self {
        self.shaped(id, shape(asks)).ticket(id, 1, id)
    }

    fn shaped(mut self, id: u64, shape: Shape) -> Self {
        self.judge.introduce(id, shape);
        self
    }

    fn ticket(mut self, id: u64, round: u64, ticket: u64) -> Self {
        self.judge.told(&self.told(id, round, ticket));
        self
    }

    fn told(&self, id: u64, round: u64, ticket: u64) -> Told {
        let asks = self.judge.shape_of(id).asks;
        let asks = asks.into_iter().map(|ask| (ask.resource, ask.mode.name().to_owned())).collect();
        Told { unit: Unit { task: id, index: None }, round, ticket, asks, given: Vec::new() }
    }

    /// The next commit grants it these units.
    fn given(mut self, id: u64, resource: &str, units: &[&str]) -> Self {
        let units = units.iter().map(|unit| (*unit).to_owned()).collect();
        let when = self.now_us() + SECOND_US;
        let told = Told { given: vec![(resource.to_owned(), when, units)], ..self.told(id, 1, 0) };
        self.judge.told(&told);
        self
    }

    fn now_us(&self) -> i64 {
        i64::try_from(self.commit).unwrap() * SECOND_US
    }

    fn declare(mut self, name: &str, declared: Declared) -> Self {
        let now_us = self.now_us();
        self.judge.declare(name, declared, now_us);
        self.judge.declared(name, now_us);
        self
    }

    fn capacity(self, name: &str, capacity: u64) -> Self {
        self.declare(name, Declared { capacity, ..Declared::default() })
    }

    fn phones(self, models: &[(&str, &str)]) -> Self {
        let devices = models.iter().map(|(name, model)| Device {
            name: (*name).to_owned(),
            attributes: [("model".to_owned(), (*model).to_owned())].into(),
        });
        self.declare("p", Declared { devices: devices.collect(), ..Declared::default() })
    }

    /// Time goes on, far enough that what was declared is certain.
    fn later(mut self) -> Self {
        self.commit += 10;
        self
    }

    fn then(mut self, history: &str) -> Self {
        for line in history.lines().map(str::trim).filter(|line| !line.is_empty()) {
            self.commit += 1;
            for (index, words) in line.split(';').enumerate() {
                let (unit, what) = words.trim().split_once(' ').unwrap();
                let at = At { commit: self.commit, index: index as u64 };
                let unit = Unit::read(unit).unwrap();
                self.judge.hear(&Event { at, at_us: self.now_us(), unit, what: what.to_owned() });
            }
        }
        self.judge.close();
        self
    }

    fn resource(mut self, snapshot: Snapshot) -> Self {
        self.judge.look(&Snapshot { name: "db".to_owned(), after: self.judge.position(), ..snapshot });
        self
    }

    /// The first that is found; others follow from it.
    fn first_is(mut self, kind: Kind) {
        let wrongs = self.judge.take_wrongs();
        assert!(wrongs.first().is_some_and(|first| first.kind == kind), "wanted {kind:?}, found {wrongs:?}");
    }

    fn good(mut self) {
        assert_eq!(self.judge.take_wrongs(), []);
    }

    fn wrong(mut self, kind: Kind, words: &str) {
        let wrongs = self.judge.take_wrongs();
        let is_named = wrongs.len() == 1 && wrongs[0].kind == kind && wrongs[0].text.contains(words);
        assert!(is_named, "wanted {kind:?} with `{words}`, found {wrongs:?}");
    }
}

fn shape(asks: &str) -> Shape {
    Shape { asks: Ask::read(asks).unwrap(), ..Shape::default() }
}

fn array(count: u64) -> Array {
    Array { count, has_window: false, is_steady: true }
}

fn held(units: &[&str]) -> Vec<(Unit, String, Vec<String>)> {
    units.iter().map(|unit| (Unit::read(unit).unwrap(), "exclusive".to_owned(), Vec::new())).collect()
}

/// Tasks for one lock, the first of which has it.
fn lock(tasks: u64) -> Play {
    let play = (1..=tasks).fold(Play::new(), |play, id| play.task(id, "x:db"));
    let play = play.then("1 submitted; 1 waiting; 1 ready\n1 assigned\n1 running");
    (2..=tasks).fold(play, |play, id| play.then(&format!("{id} submitted; {id} waiting")))
}

#[test]
fn one_after_the_other_good() {
    let play = lock(3).then("1 succeeded; 2 ready\n2 assigned\n2 running\n2 failed; 3 ready");
    assert_eq!((play.judge.counts.grants, play.judge.counts.placed), (3, 3));
    play.good();
}

#[test]
fn whatever_asks_for_nothing_is_none_of_ours() {
    Play::new().shaped(1, shape("")).then("1 submitted; 1 ready\n1 assigned\n1 running\n1 succeeded").good();
}

#[test]
fn overtaking_in_a_line_is_found() {
    lock(3).then("1 succeeded; 3 ready; 2 ready").first_is(Kind::Overtaken);
    lock(3)
        .then("2 paused; 2 stands_aside\n1 succeeded; 3 ready\n2 resumed; 2 steps_back\n3 succeeded; 2 ready")
        .good();
    let shared = Play::new().task(1, "x:db").task(2, "x:db").task(3, "s:db").then("1 submitted; 1 ready");
    let shared = shared.then("2 submitted; 2 waiting\n3 submitted; 3 waiting");
    shared.then("1 succeeded; 3 ready").wrong(Kind::Overtaken, "3 (ticket 3) was granted `db`");
}

/// T1 holds (a, b), T2 waits for (b, c), T3 for c: it waits behind T2, although c is free.
fn three() -> Play {
    let play = Play::new().task(1, "x:a x:b").task(2, "x:b x:c").task(3, "x:c");
    play.then("1 submitted; 1 ready\n2 submitted; 2 waiting\n3 submitted; 3 waiting")
}

#[test]
fn overtaking_somebody_who_waits_for_something_else_is_found() {
    three().then("3 ready").wrong(Kind::Overtaken, "before 2 (ticket 2)");
    three().then("1 succeeded; 2 ready\n2 assigned\n2 running\n2 succeeded; 3 ready").good();
    three().then("2 stands_aside; 3 ready\n2 steps_back\n1 succeeded\n3 succeeded; 2 ready").good();
    three().then("2 cancelled; 3 ready").good();
}

#[test]
fn elements_of_an_array_go_by_index() {
    let array = Shape { array: Some(array(2)), ..shape("x:db") };
    let play = Play::new().shaped(1, array).ticket(1, 1, 1).task(2, "x:db").then(
        "1 submitted; 1 waiting; 1.1 waiting; 1.2 waiting; 1.1 ready
         2 submitted; 2 waiting
         1 running; 1.1 assigned\n1.1 running",
    );
    let judge = play.judge.clone();
    play.then("1.1 succeeded; 1.2 ready\n1.2 cancelled; 1 cancelled; 2 ready").good();
    Play { judge: judge.clone(), commit: 4 }.then("1.1 succeeded; 2 ready").wrong(Kind::Overtaken, "before 1.2");
    Play { judge, commit: 4 }.then("1 succeeded; 2 ready").wrong(Kind::NoTask, "array 1 ended");
}

#[test]
fn the_next_element_of_an_array_stands_in_line_and_no_event_tells_so() {
    let play = |array: Array| {
        let shape = Shape { array: Some(array), ..shape("x:db") };
        let play = Play::new().shaped(1, shape).ticket(1, 1, 1).task(2, "x:db").task(3, "x:q x:db").task(4, "x:q");
        play.then(
            "1 submitted; 1 ready; 1.1 ready; 1 running; 1.1 assigned\n2 submitted; 2 waiting\n4 submitted; 4 ready",
        )
    };
    play(array(2)).then("1.1 succeeded; 1.2 ready\n1.2 succeeded; 1 succeeded; 2 ready").good();
    play(array(2)).then("1.1 succeeded; 2 ready").wrong(Kind::Overtaken, "before 1.2 (ticket 1)");
    // All have begun: nobody stands before the second task.
    play(array(1)).then("1.1 succeeded; 1 succeeded; 2 ready").good();
    // Whether it stands is not certain while it may be paused: nobody is found to pass it, or to be left waiting for it.
    play(array(2)).then("1 paused\n1.1 succeeded; 2 ready\n1 resumed\n2 succeeded; 1.2 ready").good();
    play(Array { is_steady: false, ..array(2) }).then("1.1 succeeded\n2 ready").good();
    play(Array { has_window: true, ..array(2) }).then("1.1 succeeded; 2 ready").good();
    let out = || play(array(2)).declare("db", Declared { out_of_service: true, ..Declared::default() }).later();
    out().then("2 stands_aside\n1.1 succeeded").good();
}

#[test]
fn the_next_element_of_an_array_that_only_shares_is_passed_by_who_shares_too_and_by_nobody_else() {
    let play = |asks: &str| {
        let shape = Shape { array: Some(array(2)), ..shape("s:db") };
        let play = Play::new().shaped(1, shape).ticket(1, 1, 1).task(2, asks);
        play.then("1 submitted; 1 ready; 1.1 ready; 1 running; 1.1 assigned\n2 submitted; 2 waiting")
    };
    play("s:db").then("2 ready; 1.2 ready").good();
    play("x:db").then("1.1 succeeded; 2 ready").wrong(Kind::Overtaken, "before 1.2 (ticket 1)");
}

#[test]
fn two_exclusive_holders_are_found() {
    lock(2).then("2 ready").wrong(Kind::TwoHolders, "while 1 held it");
}

#[test]
fn shared_ones_go_together_and_never_beside_an_exclusive_one() {
    let play = || {
        let play = Play::new().task(1, "s:db").task(2, "s:db").task(3, "x:db").task(4, "s:db");
        play.then("1 submitted; 1 ready\n2 submitted; 2 ready\n3 submitted; 3 waiting\n4 submitted; 4 waiting")
    };
    play().then("1 succeeded\n2 succeeded; 3 ready\n3 succeeded; 4 ready").good();
    play().then("1 succeeded; 3 ready").wrong(Kind::BesideExclusive, "while 2 held it");
    play().then("4 ready").wrong(Kind::Overtaken, "before 3");
    let late = play().then("1 succeeded\n2 succeeded; 3 ready");
    late.then("4 ready").wrong(Kind::BesideExclusive, "4 was granted `db` (shared) while 3 held it (exclusive)");
}

#[test]
fn more_than_the_capacity_is_found_and_a_resize_counts_from_its_answer() {
    let play = || {
        let play = Play::new().capacity("lic", 3).task(1, "c:lic=2").task(2, "c:lic=2").task(3, "c:lic=1").later();
        play.then("1 submitted; 1 ready\n2 submitted; 2 waiting\n3 submitted; 3 waiting")
    };
    play().then("2 ready").wrong(Kind::OverCapacity, "2 was granted 2 of `lic`, of which 2 of 3 were held");
    play().then("3 ready").wrong(Kind::Overtaken, "before 2");
    play().capacity("lic", 5).then("2 ready; 3 ready").good();
    play().then("1 succeeded; 2 ready; 3 ready").good();
    // It is smaller than what is held, and nothing is given until enough has come back.
    let smaller = || play().then("1 succeeded; 2 ready; 3 ready").capacity("lic", 1).task(4, "c:lic=1").later();
    smaller().then("4 submitted; 4 waiting\n3 succeeded\n2 succeeded; 4 ready").good();
    smaller().then("4 submitted; 4 ready").wrong(Kind::OverCapacity, "of which 3 of 1 were held");
}

#[test]
fn between_request_and_answer_either_capacity_is_right() {
    let play = |commits: u64| {
        let mut play = Play::new().capacity("lic", 1).task(1, "c:lic=1").task(2, "c:lic=1").later();
        play = play.then("1 submitted; 1 ready\n2 submitted; 2 waiting");
        let (sent, now_us) = (play.commit, play.now_us());
        play.judge.declare("lic", Declared { capacity: 2, ..Declared::default() }, now_us);
        play.commit = sent + commits;
        play
    };
    play(1).then("2 ready").good();
    play(9).then("1 running").good();
    let mut answered = play(1);
    let now_us = answered.now_us();
    answered.judge.declared("lic", now_us);
    answered.later().then("1 assigned").wrong(Kind::Starved, "2 (ticket 2) is the first in line");
}

fn phones() -> Play {
    let play = Play::new().phones(&[("p1", "a"), ("p2", "b"), ("p3", "b")]).later();
    play.task(1, "u:p:model=a").task(2, "u:p:model=a").task(3, "u:p:model=b").task(4, "u:p")
}

#[test]
fn asks_that_no_unit_meets_both_pass_each_other() {
    let play = phones().given(1, "p", &["p1"]).then("1 submitted; 1 ready\n2 submitted; 2 waiting");
    play.given(3, "p", &["p2"]).then("3 submitted; 3 ready").good();
    // Any unit would do for the fourth, so it waits behind the second, who waits for p1.
    let play = phones().given(1, "p", &["p1"]).then("1 submitted; 1 ready\n2 submitted; 2 waiting");
    play.given(4, "p", &["p3"]).then("4 submitted; 4 ready").wrong(Kind::Overtaken, "before 2");
}

#[test]
fn a_unit_given_twice_or_to_somebody_who_asked_for_another_is_found() {
    let play = || phones().given(1, "p", &["p1"]).then("1 submitted; 1 ready");
    play().given(2, "p", &["p1"]).then("2 submitted; 2 ready").wrong(Kind::Unit, "`p1` of `p`, which 1 held");
    play().given(3, "p", &["p1"]).then("3 submitted; 3 ready").first_is(Kind::Unit);
    phones().given(3, "p", &["p1"]).then("3 submitted; 3 ready").wrong(Kind::Unit, "and was given [\"p1\"]");
    phones().given(4, "p", &["p2", "p3"]).then("4 submitted; 4 ready").wrong(Kind::Unit, "was given");
}

#[test]
fn what_is_freed_before_the_processes_are_gone_is_found() {
    lock(2).then("1 cancelled; 2 ready").wrong(Kind::FreedEarly, "1 was cancelled");
    lock(2).then("1 stopping; 2 ready").wrong(Kind::FreedEarly, "whose job was still being stopped");
    lock(2).then("1 waiting; 1 ready").wrong(Kind::FreedEarly, "nobody said that its attempt is lost");
    lock(2).then("1 stands_aside; 2 ready").wrong(Kind::FreedEarly, "with an attempt that lives");
    lock(2).then("1 stopping\n1 cancelled; 2 ready").good();
    lock(2).then("1 lost; 1 waiting; 1 ready\n1 assigned\n1 running\n1 succeeded; 2 ready").good();
    lock(2).then("1 given_back; 1 waiting; 1 ready").good();
}

#[test]
fn a_holder_without_a_live_task_is_found_when_it_is_told_of_twice() {
    let play = || lock(2).then("1 succeeded; 2 ready");
    let told = |units: &[&str]| Snapshot { holders: held(units), ..Snapshot::default() };
    play().resource(told(&["2"])).resource(told(&["2"])).good();
    play().resource(told(&["1"])).resource(told(&["2"])).good();
    play().resource(told(&["1"])).resource(told(&["1"])).wrong(Kind::NoTask, "`db` tells of 1, which had ended");
    play().resource(told(&["1", "2"])).wrong(Kind::TwoHolders, "at once");
    let line = vec![(Unit { task: 5, index: None }, 5), (Unit { task: 4, index: None }, 4)];
    play().resource(Snapshot { line, ..Snapshot::default() }).wrong(Kind::Told, "not in order");
}

#[test]
fn a_ticket_that_changes_in_its_round_is_found_and_one_of_a_new_round_good() {
    lock(2).ticket(2, 1, 9).wrong(Kind::Ticket, "2 had ticket 2 and has 9 in the same round");
    lock(2).ticket(2, 1, 2).good();
    let again = || lock(3).then("1 failed; 2 ready\n2 succeeded; 3 ready").ticket(1, 2, 4);
    again().then("1 retried; 1 waiting\n3 succeeded; 1 ready").good();
    again().then("1 retried; 1 waiting; 1 ready").wrong(Kind::TwoHolders, "while 3 held it");
    lock(2)
        .task(3, "x:q")
        .ticket(4, 1, 4)
        .shaped(4, shape("x:q"))
        .ticket(4, 1, 1)
        .then("4 submitted; 4 ready")
        .wrong(Kind::Ticket, "4 took ticket 1");
}

#[test]
fn a_failure_keeps_what_it_holds_until_its_retry_unless_it_gives_that_up() {
    let keeps = || lock(2).then("1 scheduled");
    keeps().then("1 waiting; 1 ready\n1 assigned\n1 running\n1 succeeded; 2 ready").good();
    keeps().then("1 ready\n1 assigned").good();
    keeps().then("2 ready").wrong(Kind::TwoHolders, "while 1 held it");
    let gives = || {
        let gives = Shape { release_while_retrying: true, ..shape("x:db") };
        let play = Play::new().shaped(1, gives).ticket(1, 1, 1).task(2, "x:db").task(3, "x:db");
        play.then("1 submitted; 1 ready\n1 assigned\n1 running\n2 submitted; 2 waiting\n3 submitted; 3 waiting")
    };
    let back = gives().then("1 scheduled; 2 ready\n1 waiting");
    assert_eq!(back.judge.counts.kept_for_retry, 0);
    back.then("2 succeeded; 3 ready").first_is(Kind::Overtaken);
    gives().then("1 scheduled; 2 ready\n1 waiting\n2 succeeded; 1 ready\n1 assigned\n1 running").good();
}

#[test]
fn a_late_attempt_goes_on_where_its_place_allows_it() {
    let lost = || lock(2).then("1 lost; 1 waiting; 1 ready\n1 stands_aside; 2 ready\n2 assigned\n1 steps_back");
    lost().then("2 succeeded; 1 ready").good();
    lock(2).then("1 lost; 1 waiting; 1 running\n1 succeeded; 2 ready").good();
    let aside = lock(2).then("1 lost; 1 stands_aside; 2 ready\n2 assigned\n1 steps_back");
    aside.then("1 running").wrong(Kind::TwoHolders, "1 was granted `db`");
}

#[test]
fn whoever_begins_without_holding_is_found() {
    lock(2).then("2 assigned").wrong(Kind::NotHeld, "2 is assigned");
    lock(2).then("2 running").wrong(Kind::NotHeld, "2 is running");
}

#[test]
fn whoever_is_first_and_is_left_waiting_is_found() {
    lock(2).then("1 succeeded").wrong(Kind::Starved, "2 (ticket 2) is the first in line for all of `x:db`");
    lock(2).then("1 succeeded\n2 ready").wrong(Kind::Starved, "by the end of commit");
    // In the same commit, in whatever order, is soon enough.
    lock(3).then("1 succeeded; 3 cancelled; 2 ready").good();
    three().then("1 succeeded").wrong(Kind::Starved, "all of `x:b x:c`");
    let window = Shape { array: Some(Array { has_window: true, ..array(2) }), ..shape("x:db") };
    let play = Play::new()
        .shaped(1, window)
        .ticket(1, 1, 1)
        .then("1 submitted; 1 waiting; 1.1 waiting; 1.1 ready; 1.2 waiting");
    play.then("1.1 succeeded\n1.2 ready").good();
}

#[test]
fn whoever_stands_for_minutes_in_a_line_that_moves_is_found() {
    // The first one waits for something else, and the tickets of those who pass it are not known.
    let play = Play::new().task(1, "x:q").task(2, "x:q x:db").then("1 submitted; 1 ready\n2 submitted; 2 waiting");
    let mut play = play.shaped(7, shape("x:db"));
    play.commit = 400;
    play.then("7 submitted; 7 ready").then(&"7 noted\n".repeat(70)).wrong(Kind::Starved, "in which 1 others");
}

#[test]
fn out_of_service_grants_nothing() {
    let out = || {
        let out = Declared { out_of_service: true, ..Declared::default() };
        Play::new().task(1, "x:db").declare("db", out).later()
    };
    out().then("1 submitted; 1 ready").wrong(Kind::OutOfService, "1 was granted `db`");
    out().then("1 submitted; 1 stands_aside").declare("db", Declared::default()).then("1 steps_back; 1 ready").good();
}

#[test]
fn asks_that_were_dropped_are_found() {
    let mut play = lock(1);
    let told = Told { asks: Vec::new(), ..play.told(1, 1, 1) };
    play.judge.told(&told);
    play.wrong(Kind::Told, "asks for []");
}

#[test]
fn what_is_unknown_is_held_against_nobody_and_counted() {
    let play = Play::new().shaped(1, shape("x:db")).shaped(2, shape("x:db"));
    let play = play.then("1 submitted; 1 waiting\n2 submitted; 2 ready\n2 succeeded; 1 ready\n1 succeeded");
    assert_eq!((play.judge.counts.grants, play.judge.counts.placed), (2, 0));
    play.good();
}

#[test]
fn what_has_ended_is_forgotten() {
    let mut play = Play::new();
    for id in 1..=6_000 {
        play = play.task(id, "x:db s:log").then(&format!("{id} submitted; {id} ready\n{id} assigned\n{id} succeeded"));
    }
    let kept = serde_json::to_string(&play.judge).unwrap();
    assert_eq!((play.judge.unended().count(), play.judge.holding().len()), (0, 0));
    assert!(kept.len() < 2_000_000, "{} bytes", kept.len());
    let mut again: Judge = serde_json::from_str(&kept).unwrap();
    assert_eq!((again.position(), again.take_wrongs().len()), (play.judge.position(), 0));
    assert!(again.knows(6_000) && !again.knows(1));
    play.good();
}

fn keyed(at_most: Option<usize>) -> Shape {
    Shape { key: Some(Key { name: "deploy".to_owned(), at_most }), ..shape("") }
}

#[test]
fn too_many_under_a_key_are_found() {
    let two = |most| {
        let play = Play::new().shaped(1, keyed(most)).shaped(2, keyed(most));
        play.then("1 submitted; 1 ready\n2 submitted; 2 ready\n1 assigned\n1 running")
    };
    two(Some(1)).then("2 assigned").wrong(Kind::TooMany, "under the key `deploy`");
    two(None).then("2 assigned").wrong(Kind::TooMany, "under the key `deploy`");
    two(Some(2)).then("2 assigned").good();
    // What is being stopped is at work; what ended in the same commit is not.
    two(Some(1)).then("1 stopping\n2 assigned").wrong(Kind::TooMany, "2 began");
    two(Some(1)).then("2 assigned; 1 succeeded").good();
    two(Some(1)).then("1 lost; 1 waiting; 1 ready\n2 assigned\n2 running").good();
}

#[test]
fn elements_of_one_array_may_be_at_work_under_a_key_for_one_task() {
    let array = Shape { array: Some(array(2)), ..keyed(None) };
    let play = Play::new().shaped(1, array).shaped(2, keyed(None)).then(
        "1 submitted; 1 ready; 1.1 ready; 1.1 assigned\n1.2 ready; 1.2 assigned\n2 submitted; 2 ready\n1.1 succeeded",
    );
    play.then("2 assigned").wrong(Kind::TooMany, "2 began");
}

#[test]
fn quotas_of_a_namespace_are_kept() {
    let tight = |asks: &str| {
        let quota = Quota { namespace: "tight".to_owned(), max_running: 1, max_held: [("lic".to_owned(), 2)].into() };
        Shape { quota: Some(quota), ..shape(asks) }
    };
    let play = || {
        let play = Play::new().capacity("lic", 4).later();
        play.shaped(1, tight("c:lic=2"))
            .shaped(2, tight("c:lic=1"))
            .then("1 submitted; 1 ready\n2 submitted; 2 waiting; 2 stands_aside")
    };
    play().then("2 steps_back; 2 ready").wrong(Kind::TooMany, "holds 3 of `lic`");
    play().then("1 assigned\n1 succeeded; 2 steps_back; 2 ready\n2 assigned").good();
    let run = Play::new().shaped(1, tight("")).shaped(2, tight("")).then("1 submitted; 1 ready; 2 submitted; 2 ready");
    run.then("1 assigned; 2 assigned").first_is(Kind::TooMany);
}

fn gang(on_lost: &str) -> Play {
    let member = || Shape { gang: Some(format!("g/{on_lost}")), ..shape("") };
    let play = Play::new().shaped(1, member()).shaped(2, member());
    play.then("1 submitted; 1 waiting; 2 submitted; 2 waiting; 1 ready; 2 ready")
}

#[test]
fn a_gang_that_begins_in_part_is_found() {
    gang("rerun_all").then("1 assigned").wrong(Kind::GangInPart, "1 of the gang");
    gang("rerun_all").then("1 assigned\n2 assigned").first_is(Kind::GangInPart);
    let begun = |on_lost| gang(on_lost).then("1 assigned; 2 assigned\n1 running\n2 running");
    assert_eq!(begun("continue").judge.counts.gangs, 1);
    // After all have begun who fails goes alone, and who is lost where the others go on.
    begun("rerun_all").then("1 scheduled\n1 waiting; 1 ready\n1 assigned").good();
    begun("continue").then("1 lost; 1 waiting; 1 ready\n1 assigned").good();
    begun("rerun_all")
        .then("1 lost; 1 waiting; 2 stopping\n2 given_back; 2 waiting; 1 ready; 2 ready\n1 assigned; 2 assigned")
        .good();
    begun("rerun_all")
        .then("1 lost; 1 waiting; 2 stopping\n1 ready\n2 given_back; 2 waiting; 2 ready\n1 assigned")
        .wrong(Kind::GangInPart, "without 2");
    // Before all have begun nobody goes on alone.
    gang("continue")
        .then("1 assigned; 2 assigned\n1 running\n2 given_back; 2 waiting; 2 ready\n2 assigned\n2 running")
        .good();
    gang("continue")
        .then("1 assigned; 2 assigned\n1 running\n2 given_back; 2 waiting; 1 given_back; 1 waiting; 1 ready; 2 ready\n2 assigned")
        .wrong(Kind::GangInPart, "without 1");
    // Who fails before all have begun holds nothing while its gang gathers; after that it does.
    let play = || {
        let member = |asks: &str| Shape { gang: Some("g/continue".to_owned()), ..shape(asks) };
        let play = Play::new().shaped(1, member("x:db")).shaped(2, member("")).ticket(1, 1, 1).task(3, "x:db");
        play.then("1 submitted; 1 waiting; 2 submitted; 2 waiting; 1 ready; 2 ready\n1 assigned; 2 assigned\n1 running")
    };
    play().then("1 scheduled; 2 given_back; 2 waiting; 3 submitted; 3 ready").good();
    play().then("2 running\n1 scheduled; 3 submitted; 3 ready").wrong(Kind::TwoHolders, "3 was granted `db`");
    // Who has ended is not missed.
    gang("stop_all").then("1 cancelled\n2 assigned").good();
}

#[test]
fn a_gang_of_which_somebody_does_not_wait_stands_in_no_line() {
    let member = |asks: &str| Shape { gang: Some("g/continue".to_owned()), ..shape(asks) };
    let play = |second: &str| {
        let play = Play::new().shaped(1, member("x:db")).shaped(2, member("x:q")).task(3, "x:db");
        let play = play.ticket(1, 1, 1).ticket(2, 1, 1);
        play.then(&format!("1 submitted; 2 submitted; 1 waiting; {second}\n3 submitted; 3 ready"))
    };
    play("2 scheduled").good();
    play("2 waiting").wrong(Kind::Overtaken, "before 1");
}

#[test]
fn what_a_run_holds_lasts_from_before_its_first_step_to_its_end() {
    let play = || {
        let of = |asks: &str, is_keeper| Shape { run: Some("r1".to_owned()), is_keeper, ..shape(asks) };
        let play = Play::new().shaped(1, of("x:db", true)).ticket(1, 1, 1).shaped(2, of("", false)).task(3, "x:db");
        play.then("1 submitted")
    };
    play()
        .then("1 waiting; 2 submitted; 2 ready; 2 assigned; 1 ready; 1 running")
        .wrong(Kind::RunHold, "does not hold");
    let begun = || {
        play()
            .then("1 waiting; 1 ready; 1 running; 2 submitted; 2 ready\n2 assigned\n2 running\n3 submitted; 3 waiting")
    };
    begun().then("2 succeeded; 1 succeeded; 3 ready").good();
    begun().then("1 succeeded; 3 ready").wrong(Kind::RunHold, "what run r1 holds was free");
    begun().then("2 stopping\n1 succeeded; 3 ready").first_is(Kind::RunHold);
    begun().then("3 ready").wrong(Kind::TwoHolders, "3 was granted `db`");
}
