//! Tests of the way from documents to the engine's form.

use bowline_core::spec::{Action, Command};
use bowline_core::time::Span;

use super::*;
use crate::decode::from_json;
use crate::new_task::Submit;

fn task(json: &str) -> NewTask {
    from_json(json.as_bytes()).unwrap()
}

fn good(json: &str) -> CoreTask {
    one(&task(json)).unwrap()
}

fn mistakes(json: &str) -> Vec<Mistake> {
    match one(&task(json)) {
        Err(Unfit::Mistakes(mistakes)) => mistakes,
        other => panic!("{json}: {other:?}"),
    }
}

#[test]
fn every_field_arrives() {
    let new = good(
        r#"{"name":"n","labels":{"a":"b"},"command":["echo","hi"],"env":{"A":"1"},"dir":"/tmp",
        "artifacts":["*.json"],"output":"lines","split_output":true,"grace":"3s","requires":["gpu=a100","lab"],
        "slots":2,"amounts":{"cpu":4,"memory":"2GiB"},"priority":-5,"after":["1:any",2,{"task":"3.4","on":"fail"}],
        "delay":"1m","at":"2026-01-01T00:00:00Z","deadline":"2026-01-02T00:00:00Z","timeout":"90s",
        "timeouts":{"queue":"1h"},"retries":3,"on_worker_loss":"fail","overlap":"forbid","lost_after":"2m",
        "stop_after":"30s"}"#,
    );
    let spec = &*new.spec;
    assert_eq!(spec.work.action, Action::Command(Command::Argv(vec!["echo".into(), "hi".into()])));
    assert_eq!(spec.work.dir.as_deref(), Some("/tmp"));
    assert!(spec.work.split_output);
    assert_eq!(spec.requires.iter().map(ToString::to_string).collect::<Vec<_>>(), ["gpu=a100", "lab"]);
    assert_eq!(spec.amounts.values().copied().collect::<Vec<_>>(), [4, 2 << 30]);
    assert_eq!(spec.after.len(), 3);
    assert_eq!(spec.timeouts.run, Some(Span::secs(90)));
    assert_eq!(spec.timeouts.queue, Some(Span::secs(3600)));
    assert_eq!(spec.retry.extra, 3);
    assert_eq!((spec.slots, spec.priority), (2, -5));
    assert!(spec.deadline > spec.at);
}

#[test]
fn each_action_can_be_written() {
    let action = |json: &str| good(json).spec.work.action.clone();
    assert_eq!(action(r#"{"shell":"true"}"#), Action::Command(Command::Shell("true".into())));
    assert_eq!(action(r#"{"action":"command","with":{"shell":"true"}}"#), action(r#"{"shell":"true"}"#));
    assert_eq!(action(r#"{"action":"noop"}"#), Action::Noop);
    assert_eq!(action(r#"{"action":"wait"}"#), Action::Wait);
    assert_eq!(action(r#"{"action":"sleep","with":{"for":"5s"}}"#), Action::Sleep(Span::secs(5)));
    assert!(matches!(action(r#"{"action":"http","with":{"url":"http://x/"}}"#), Action::Http(_)));
}

#[test]
fn mistakes_name_their_field() {
    for (json, path) in [
        ("{}", None),
        (r#"{"command":["a"],"shell":"b"}"#, None),
        (r#"{"command":[]}"#, Some("command")),
        (r#"{"command":["a","b\u0000"]}"#, Some("command[1]")),
        (r#"{"shell":"  "}"#, Some("shell")),
        (r#"{"shell":"a","with":{}}"#, Some("with")),
        (r#"{"action":"slep"}"#, Some("action")),
        (r#"{"action":"sleep"}"#, Some("with")),
        (r#"{"action":"noop","with":{"x":1}}"#, Some("with.x")),
        (r#"{"action":"http","with":{"url":"ftp://x"}}"#, Some("with.url")),
        (r#"{"action":"http","with":{"url":"http://x","expect":["a"]}}"#, Some("with.expect[0]")),
        (r#"{"shell":"a","slots":0}"#, Some("slots")),
        (r#"{"shell":"a","dir":"relative"}"#, Some("dir")),
        (r#"{"shell":"a","artifacts":["../x"]}"#, Some("artifacts[0]")),
        (r#"{"shell":"a","files":{"../x":"y"}}"#, Some("files.../x")),
        (r#"{"shell":"a","env":{"A=B":"1"}}"#, Some("env.A=B")),
        (r##"{"shell":"a","after":["1","#0"]}"##, Some("after[1]")),
        (r#"{"shell":"a","timeout":"1s","timeouts":{"run":"2s"}}"#, Some("timeout")),
        (r#"{"shell":"a","timeouts":{"total":"0"}}"#, Some("timeouts.total")),
        (r#"{"shell":"a","retry":{"backoff":"10s","backoff_max":"1s"}}"#, Some("retry.backoff_max")),
        (r#"{"shell":"a","array":"0-2","elements":[{},{}]}"#, Some("array")),
        (r#"{"elements":[{"shell":"a"},{"action":"noop"}]}"#, Some("elements[1]")),
        (r#"{"elements":[{"shell":"a"},{"command":[]}]}"#, Some("elements[1].command")),
    ] {
        let found = mistakes(json);
        assert_eq!(found[0].path.as_deref(), path, "{json}: {found:?}");
        assert!(found[0].message.ends_with(['.', '?']), "{}", found[0].message);
    }
}

#[test]
fn all_mistakes_are_found_at_once_with_their_task() {
    let submit: Submit = from_json(
        br##"{"tasks":[{"shell":"a"},{"command":[],"slots":0},{"shell":"b","after":["#1:ok"]},{"action":"nop"}]}"##,
    )
    .unwrap();
    let Err(Unfit::Mistakes(found)) = many(&submit.tasks) else { panic!("it has mistakes") };
    let paths: Vec<&str> = found.iter().filter_map(|mistake| mistake.path.as_deref()).collect();
    assert_eq!(paths, ["tasks[1].slots", "tasks[1].command", "tasks[3].action"]);
    assert!(found[0].message.starts_with("`tasks[1].slots`"), "{}", found[0].message);
}

#[test]
fn earlier_tasks_of_the_same_submit_may_be_named() {
    let submit: Submit =
        from_json(br##"{"tasks":[{"action":"noop"},{"action":"noop","after":["#0:any","7"]}]}"##).unwrap();
    let tasks = many(&submit.tasks).unwrap();
    assert_eq!(tasks[1].after_earlier, [(0, Condition::Any)]);
    assert_eq!(tasks[1].spec.after.len(), 1);
}

#[test]
fn arrays_are_read_and_written_the_same() {
    for text in ["1-100%10", "0-9", "5-5", "0-90:10", "0-1000000%3"] {
        let array: crate::Array = text.parse().unwrap();
        assert_eq!(array.to_string(), text);
    }
    let spec = good(r#"{"shell":"a","array":"1-10:3%2"}"#).spec.array.clone().unwrap();
    assert_eq!((spec.first, spec.count, spec.step, spec.at_most), (1, 4, 3, Some(2)));
    for bad in ["", "x", "3-1", "1-5:0", "1-5%0", "1-", "-3"] {
        assert!(bad.parse::<crate::Array>().is_err(), "{bad}");
    }
}

#[test]
fn elements_make_an_array_of_their_own() {
    let new = good(r#"{"env":{"A":"1"},"elements":[{"shell":"a","env":{"B":"2"}},{"shell":"b"}]}"#);
    assert_eq!(new.spec.array, Some(ArraySpec::of(2)));
    assert_eq!(new.elements[0].env.len(), 2);
    assert_eq!(new.elements[1].action, Action::Command(Command::Shell("b".into())));
}

#[test]
fn what_is_too_large_is_told_with_its_bound() {
    let big = NewTask { shell: Some("x".repeat(SPEC_BYTES_MAX)), ..NewTask::default() };
    let Err(Unfit::TooLarge(mistake)) = one(&big) else { panic!("it is too large") };
    assert!(mistake.message.contains("1 MiB"), "{}", mistake.message);
    let many_tasks = vec![NewTask { action: Some("noop".into()), ..NewTask::default() }; SUBMIT_TASKS_MAX + 1];
    assert!(matches!(many(&many_tasks), Err(Unfit::TooLarge(_))));
    let array = task(r#"{"shell":"a","array":"0-1000000"}"#);
    assert!(matches!(one(&array), Err(Unfit::TooLarge(_))));
}

#[test]
fn equal_tasks_of_a_submit_have_one_description() {
    let (a, b) = (task(r#"{"action":"noop","labels":{"a":"1"}}"#), task(r#"{"action":"noop"}"#));
    let made = many(&[a.clone(), a.clone(), b.clone(), a.clone()]).unwrap();
    assert!(Arc::ptr_eq(&made[0].spec, &made[1].spec) && !Arc::ptr_eq(&made[1].spec, &made[2].spec));
    assert_eq!((&made[3], &made[0].spec.labels, made[2].spec.labels.len()), (&made[0], &a.labels, 0));
    // What is wrong is told of each, and so is what an equal one before it may not say.
    let wrong = task(r#"{"action":"noop","slots":0}"#);
    let first = task(r##"{"action":"noop","after":["#0"]}"##);
    for (tasks, paths) in [
        (vec![b.clone(), wrong.clone(), wrong], vec!["tasks[1].slots", "tasks[2].slots"]),
        (vec![first.clone(), first.clone()], vec!["tasks[0].after[0]"]),
        (vec![b, first.clone(), first], vec![]),
    ] {
        let told = match many(&tasks) {
            Err(Unfit::Mistakes(mistakes)) => mistakes.into_iter().filter_map(|mistake| mistake.path).collect(),
            Err(other) => panic!("{other:?}"),
            Ok(made) => {
                assert!(made.iter().skip(1).all(|task| task.after_earlier.len() == 1));
                Vec::new()
            }
        };
        assert_eq!(told, paths);
    }
}
