//! Each kind of wrong is found, and what is right is not called wrong.

use super::*;
use crate::check::facts::{ArtifactFact, LogFact};
use crate::check::marks::read;
use crate::load::{Kin, Spec};
use crate::watch::Event;

/// Something that is done to a case.
type Change = fn(&mut Case);

fn spec(want: Want) -> Spec {
    Spec {
        name: "it".to_owned(),
        want,
        forbid: true,
        stop_after: false,
        lines: 2,
        artifact: false,
        after: Vec::new(),
        array: None,
        licences: 0,
        slots: 1,
    }
}

fn acked(id: &str, want: Want) -> Acked {
    Acked { id: id.to_owned(), spec: spec(want), after: Vec::new(), is_cancelled: false }
}

#[expect(clippy::unnecessary_wraps, reason = "an attempt may lack a moment")]
fn moment(second: u32) -> crate::check::facts::Moment {
    Some(("t".to_owned(), second))
}

fn attempt(number: u32, end: &str) -> AttemptFact {
    AttemptFact {
        number: number.into(),
        worker: "w0".to_owned(),
        assigned_at: moment(number * 10),
        ended_at: moment(number * 10 + 5),
        end: end.to_owned(),
    }
}

fn lines(task: &str, number: u64) -> String {
    (1..=2).map(|line| job::log_line(task, &number.to_string(), line)).collect()
}

/// Task 7: lost once, then it succeeded. Task 8 waits for it.
fn good() -> Case {
    let mut case = Case::default();
    case.ledger.tasks = vec![acked("7", Want::Succeeds), acked("8", Want::Succeeds)];
    case.ledger.tasks[1].after = vec![("7".to_owned(), Kin::Ok)];
    let ended = || TaskFact {
        name: "it".to_owned(),
        state: "succeeded".to_owned(),
        outcome: "succeeded".to_owned(),
        ..TaskFact::default()
    };
    case.tasks = [("7".to_owned(), ended()), ("8".to_owned(), ended())].into();
    case.attempts = [
        ("7".to_owned(), vec![attempt(1, "lost"), attempt(2, "succeeded")]),
        ("8".to_owned(), vec![attempt(1, "succeeded")]),
    ]
    .into();
    case.marks =
        read("1 begin 7 1 w0 1\n5 begin 7 2 w0 1\n9 end 7 2 w0 1\n10 begin 8 1 w0 1\n12 end 8 1 w0 1\n").unwrap();
    let log = |task: &str, attempt, text: String| LogFact { task: task.to_owned(), attempt, bytes: text.into_bytes() };
    case.logs =
        vec![log("7", 1, lines("7", 1)[..10].to_owned()), log("7", 2, lines("7", 2)), log("8", 1, lines("8", 1))];
    for (task, what) in [("7", "lost"), ("7", "succeeded"), ("8", "succeeded")] {
        let event = Event { task: task.to_owned(), what: what.to_owned(), attempt: None };
        case.events.push(event.clone());
        case.histories.entry(task.to_owned()).or_default().push(event);
    }
    case.workers = [("w0".to_owned(), (1, 1))].into();
    case
}

/// Each of these makes one thing wrong, which is found as that.
#[test]
fn what_is_right_is_right_and_each_wrong_is_found() {
    assert!(judge(&good()).is_empty(), "{:?}", judge(&good()));
    let wrongs: [(&str, Broken, Change); 20] = [
        ("gone", Broken::Lost, |case| drop(case.tasks.remove("8"))),
        ("not ended", Broken::Lost, |case| case.unended.push("task 7".to_owned())),
        ("failed", Broken::Lost, |case| case.tasks.get_mut("8").unwrap().state = "failed".to_owned()),
        ("given up too early", Broken::Lost, |case| {
            let fact = case.tasks.get_mut("7").unwrap();
            fact.state = "failed".to_owned();
            fact.outcome = "lost".to_owned();
        }),
        ("cancelled, and succeeded", Broken::Lost, |case| {
            case.ledger.tasks[0].spec.want = Want::CancelledOrNot;
            case.ledger.tasks[0].is_cancelled = true;
        }),
        ("a success without work", Broken::Lost, |case| drop(case.marks.remove(2))),
        ("ended twice", Broken::Doubled, |case| {
            let event = case.histories["7"][1].clone();
            case.histories.get_mut("7").unwrap().push(event.clone());
            case.events.push(event);
        }),
        ("two successes", Broken::Doubled, |case| case.attempts.get_mut("7").unwrap()[0].end = "succeeded".to_owned()),
        ("begun twice", Broken::Doubled, |case| case.marks.push(read("6 begin 7 2 w0 2").unwrap().remove(0))),
        ("an attempt of nobody", Broken::Doubled, |case| case.marks.push(read("6 begin 7 9 w1 2").unwrap().remove(0))),
        ("two at once in fact", Broken::Doubled, |case| case.marks.push(read("6 beside 7 2 w0 2").unwrap().remove(0))),
        ("two at once as far as is known", Broken::Doubled, |case| {
            case.attempts.get_mut("7").unwrap()[0].ended_at = moment(25);
        }),
        ("a number that is missing", Broken::Doubled, |case| drop(case.attempts.get_mut("7").unwrap().remove(0))),
        ("a task of nobody", Broken::Doubled, |case| drop(case.ledger.tasks.remove(1))),
        ("too early", Broken::OutOfOrder, |case| case.marks[3].at_ns = 8),
        ("a line twice", Broken::OutOfOrder, |case| {
            case.logs[2].bytes.extend_from_slice(b"line 2 of task 8, attempt 1\n");
        }),
        ("a line that is missing", Broken::OutOfOrder, |case| drop(case.logs[1].bytes.drain(..28))),
        ("an event that is missing", Broken::OutOfOrder, |case| drop(case.events.remove(0))),
        ("events out of order", Broken::OutOfOrder, |case| case.event_faults.push("back".to_owned())),
        ("more than there are slots", Broken::TooMuch, |case| {
            case.marks[3].at_ns = 9;
            case.marks[2].at_ns = 11;
        }),
    ];
    for (name, broken, wrong) in wrongs {
        let mut case = good();
        wrong(&mut case);
        let findings = judge(&case);
        assert!(findings.contains_key(&broken), "{name}: {findings:?}");
    }
}

#[test]
fn what_is_excused_is_not_found() {
    let excuses: [(&str, Change); 4] = [
        ("poison", |case| {
            let fact = case.tasks.get_mut("7").unwrap();
            fact.state = "failed".to_owned();
            fact.outcome = "lost".to_owned();
            let attempts = case.attempts.get_mut("7").unwrap();
            *attempts =
                (1..=3).map(|number| AttemptFact { worker: format!("w{number}"), ..attempt(number, "lost") }).collect();
            case.marks.retain(|mark| mark.task != "7");
            case.logs.retain(|log| log.task != "7");
        }),
        ("settled by hand", |case| {
            case.ledger.tasks[0].spec.want = Want::SucceedsOrDoubt;
            case.marks.retain(|mark| mark.task != "7");
            case.attempts.get_mut("7").unwrap()[1].end = "lost".to_owned();
            case.logs.retain(|log| log.task != "7");
            case.resolved.push("7".to_owned());
        }),
        ("where overlap is allowed", |case| {
            case.ledger.tasks[0].spec.forbid = false;
            case.marks.push(read("6 beside 7 2 w0 2").unwrap().remove(0));
        }),
        ("stop_after, with a supervisor that stood still", |case| {
            case.ledger.tasks[0].spec.stop_after = true;
            case.froze_supervisor = true;
            case.marks.push(read("6 beside 7 2 w0 2").unwrap().remove(0));
        }),
    ];
    for (name, excuse) in excuses {
        let mut case = good();
        excuse(&mut case);
        assert!(judge(&case).is_empty(), "{name}: {:?}", judge(&case));
    }
}

#[test]
fn artifacts_are_compared_byte_by_byte() {
    let with = |bytes: Option<Vec<u8>>| {
        let mut case = good();
        case.ledger.tasks[0].spec.artifact = true;
        case.artifacts.insert("7".to_owned(), ArtifactFact { attempts: vec![2], bytes });
        judge(&case)
    };
    assert!(with(Some(job::artifact("7", "2").into_bytes())).is_empty());
    assert!(with(Some(b"other".to_vec())).contains_key(&Broken::Lost));
    assert!(with(None).contains_key(&Broken::Lost));
}
