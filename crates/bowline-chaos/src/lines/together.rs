//! Work that goes by more than one task: under a key, in a namespace with quotas, as a gang, in a run that holds what its
//! steps need.

use serde_json::{Value, json};

use super::order::{Ask, Key, Mode, Quota};
use super::shape::{ASKS_LABEL, HOW_LABEL, LICENCE, Maker, documents};
use crate::random::Random;

/// Concurrency keys, and how many may be at work: `None` for one task, newest or first.
const KEYS: [(&str, Option<usize>); 4] = [("deploy", Some(1)), ("build", Some(2)), ("newest", None), ("drop", None)];
/// A namespace with quotas.
pub(crate) const TIGHT_NAMESPACE: &str = "tight";
const TIGHT_RUNNING: usize = 3;
const TIGHT_HELD: [(&str, u64); 2] = [("db", 1), (LICENCE.0, 2)];
/// What runs hold as a whole: by the name of their workflow.
const HOLDS: [(&str, &str); 4] = [
    ("hold-lock", "x:db"),
    ("hold-two", "s:web c:lic=2"),
    ("hold-phone", "u:phones:model=b"),
    ("hold-all", "x:log u:phones:"),
];

/// The quotas of that namespace, where it has some.
pub(crate) fn quota(namespace: &str) -> Option<Quota> {
    let max_held = TIGHT_HELD.map(|(name, most)| (name.to_owned(), most)).into();
    let quota = Quota { namespace: namespace.to_owned(), max_running: TIGHT_RUNNING, max_held };
    (namespace == TIGHT_NAMESPACE).then_some(quota)
}

/// As REST takes them.
pub(crate) fn quota_document() -> Value {
    let max_held: serde_json::Map<String, Value> =
        TIGHT_HELD.iter().map(|(name, most)| ((*name).to_owned(), (*most).into())).collect();
    json!({ "max_running": TIGHT_RUNNING, "max_held": max_held })
}

/// Puts a task under one of the keys. Whether, while it lives, nobody else under it does.
pub(crate) fn under_key(random: &mut Random, body: &mut Value, how: &mut Vec<String>) -> Option<&'static str> {
    let (name, most) = random.one_of(&KEYS);
    body["concurrency"] = match (name, most) {
        (name, Some(most)) => json!({ "key": name, "at_most": most }),
        ("newest", None) => json!({ "key": name, "newest_wins": true }),
        (name, None) => json!({ "key": name, "drop": true }),
    };
    how.push(format!("key={name}"));
    most.is_none_or(|most| most == 1).then_some(name)
}

/// The key of that name in a namespace: each has its own.
pub(crate) fn key(namespace: &str, name: &str) -> Option<Key> {
    let (name, at_most) = KEYS.iter().find(|(of, _)| *of == name)?;
    Some(Key { name: format!("{namespace}/{name}"), at_most: *at_most })
}

/// A gang to submit: two or three that ask for what one task may have beside another.
pub(crate) fn gang(maker: &Maker, number: u64, client: &str, random: &mut Random) -> Value {
    let count = random.within(2, 4);
    let on_lost = random.one_of(&["rerun_all", "stop_all", "continue"]);
    let id = format!("{client}-{number}/{on_lost}");
    let tasks: Vec<Value> = (0..count).map(|member| of_gang(maker, number, member, &id, random)).collect();
    json!({ "tasks": tasks, "gang": { "distinct": random.percent(50), "on_lost": on_lost } })
}

fn of_gang(maker: &Maker, number: u64, member: u64, id: &str, random: &mut Random) -> Value {
    let asks = match random.within(0, 5) {
        0 => "c:lic=1",
        1 => "u:phones:",
        2 => "s:log",
        3 if member == 0 => "x:web",
        _ => "",
    };
    let mut words = maker.words(random.within(20, 900));
    let holds = Ask::read(asks).unwrap_or_default();
    if holds.iter().any(|ask| matches!(ask.mode, Mode::Exclusive | Mode::Unit)) {
        words.push(format!("asks={asks}"));
    } else {
        words.push("overlaps=1".to_owned());
    }
    let mut body = json!({
        "name": format!("gang-{number}-{member}"), "grace": "300ms",
        "labels": { ASKS_LABEL: asks, HOW_LABEL: format!("gang={id}") },
        "resources": holds.iter().flat_map(documents).collect::<Vec<_>>(),
    });
    if random.percent(15) {
        words.push("fails=1".to_owned());
        body["retry"] = json!({ "extra": random.within(0, 2), "backoff": "200ms" });
    }
    body["command"] = words.into();
    body
}

/// A run of two steps, one after the other, under what it holds.
pub(crate) fn run(maker: &Maker, random: &mut Random) -> Value {
    let (name, asks) = random.one_of(&HOLDS);
    let holds = Ask::read(asks).unwrap_or_default();
    let may_overlap = holds.iter().all(|ask| matches!(ask.mode, Mode::Shared | Mode::Counted));
    let step = |step: &str, needs: &str, ms: u64| {
        let mut words = maker.words(ms);
        words.push(if may_overlap { "overlaps=1".to_owned() } else { format!("asks={asks}") });
        format!("  {step}:\n{needs}    argv: {}\n    grace: 300ms\n", Value::from(words))
    };
    let first = step("one", "", random.within(20, 600));
    let second = step("two", "    needs: one\n", random.within(20, 600));
    let resources: Vec<Value> = holds.iter().flat_map(documents).collect();
    json!({ "workflow": format!("name: {name}\nsteps:\n{first}{second}"), "file": "lines.yaml", "resources": resources })
}

/// What the runs of a workflow hold.
pub(crate) fn held_by(workflow: &str) -> Option<Vec<Ask>> {
    HOLDS.iter().find(|(name, _)| *name == workflow).and_then(|(_, asks)| Ask::read(asks))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_submitted_is_what_the_judge_is_told() {
        let maker = Maker { job: "j".to_owned(), marks: "/m".to_owned() };
        let mut random = Random::new(7);
        for number in 0..200 {
            let gang = gang(&maker, number, "c1", &mut random);
            let tasks = gang["tasks"].as_array().unwrap();
            assert!((2..=3).contains(&tasks.len()));
            for task in tasks {
                let asks = Ask::read(task["labels"]["asks"].as_str().unwrap()).unwrap();
                assert_eq!(task["resources"], Value::from(asks.iter().flat_map(documents).collect::<Vec<_>>()));
                assert!(task["labels"]["how"].as_str().unwrap().starts_with("gang=c1-"));
            }
            let run = run(&maker, &mut random);
            let name = run["workflow"].as_str().unwrap().lines().next().unwrap().strip_prefix("name: ").unwrap();
            let listed: Vec<Value> = held_by(name).unwrap().iter().flat_map(documents).collect();
            assert_eq!(run["resources"], Value::from(listed));
        }
        assert!(KEYS.iter().all(|(name, _)| key("default", name).is_some()) && key("default", "other").is_none());
        assert_ne!(
            key("default", "drop").unwrap().name,
            key(TIGHT_NAMESPACE, "drop").unwrap().name,
            "each has its own"
        );
        assert!(quota(TIGHT_NAMESPACE).is_some() && quota("default").is_none());
    }
}
