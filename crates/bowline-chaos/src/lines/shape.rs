//! Work of all shapes: what it asks for, how long it takes, how it fails. What it asks for stands in a label, in the words of
//! whoever submits it.

use serde_json::{Value, json};

use super::order::{Ask, Attributes, Device, Mode};
use super::together::{self, TIGHT_NAMESPACE};
use crate::random::Random;

/// The label that has the asks, and the one that has what else the judge must know.
pub(crate) const ASKS_LABEL: &str = "asks";
pub(crate) const HOW_LABEL: &str = "how";
/// A namespace that is paused now and then.
pub(crate) const PAUSED_NAMESPACE: &str = "lab";

/// Locks, which nobody declares.
const LOCKS: [&str; 3] = ["db", "web", "log"];
/// A licence whose capacity stays, and one whose capacity changes.
pub(crate) const LICENCE: (&str, u64) = ("lic", 4);
pub(crate) const SEATS: (&str, u64) = ("seats", 4);
/// Devices that stay, and such as come and go.
pub(crate) const PHONES: &str = "phones";
pub(crate) const BOARDS: &str = "boards";

/// The phones: name, model, and version.
pub(crate) fn phones() -> Vec<Device> {
    let all = [("ph1", "a", "14"), ("ph2", "a", "15"), ("ph3", "b", "14"), ("ph4", "b", "15")];
    all.map(|(name, model, os)| device(name, &[("model", model), ("os", os)])).to_vec()
}

/// The first so many boards.
pub(crate) fn boards(count: u64) -> Vec<Device> {
    (1..=count).map(|number| device(&format!("bd{number}"), &[("arch", "arm")])).collect()
}

fn device(name: &str, attributes: &[(&str, &str)]) -> Device {
    let attributes = attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    Device { name: name.to_owned(), attributes: attributes.collect() }
}

/// A task to submit.
#[derive(Debug, Clone)]
pub(crate) struct Work {
    pub(crate) body: Value,
    pub(crate) namespace: &'static str,
    /// It may ask for more than there is at the moment, and be refused for that.
    pub(crate) may_be_refused: bool,
}

/// Makes tasks that run this program as a job.
#[derive(Debug, Clone)]
pub(crate) struct Maker {
    pub(crate) job: String,
    pub(crate) marks: String,
}

impl Maker {
    /// The words of a job that takes so long.
    pub(super) fn words(&self, ms: u64) -> Vec<String> {
        vec![self.job.clone(), crate::JOB.to_owned(), self.marks.clone(), format!("ms={ms}")]
    }

    /// A task of whatever shape.
    pub(crate) fn work(&self, number: u64, random: &mut Random) -> Work {
        let namespace = match random.within(0, 100) {
            0..15 => PAUSED_NAMESPACE,
            15..30 => TIGHT_NAMESPACE,
            _ => "default",
        };
        let mut asks = asks(random);
        if let Some(quota) = together::quota(namespace) {
            // More than may ever be held there is refused.
            asks.retain(|ask| quota.allows(ask));
        }
        let text = Ask::write(&asks);
        let ms = if random.percent(85) { random.within(20, 400) } else { random.within(400, 2_500) };
        let (mut words, mut how) = (self.words(ms), Vec::new());
        let mut body = json!({ "name": format!("line-{number}"), "grace": "300ms" });
        fails(random, &mut body, &mut words, &mut how);
        if random.percent(12) {
            let has_window = random.percent(40);
            body["array"] = if has_window { "1-5%2" } else { "1-4" }.into();
            let words: &[&str] = if has_window { &["array=5", "window"] } else { &["array=4"] };
            how.extend(words.iter().map(|word| (*word).to_owned()));
        }
        limits(random, &mut body);
        let alone = if random.percent(20) { together::under_key(random, &mut body, &mut how) } else { None };
        if random.percent(10) {
            body["overlap"] = "allow".into();
            words.push("overlaps=1".to_owned());
        } else {
            words.extend(alone.filter(|_| body["array"].is_null()).map(|key| format!("alone={namespace}-{key}")));
            lasts(random, &mut body);
            let is_said = !body["overlap"].is_null();
            if !is_said && asks.iter().all(|ask| matches!(ask.mode, Mode::Shared | Mode::Counted)) {
                // What is not said is `allow` for these: they hold nothing in fact.
                words.push("overlaps=1".to_owned());
            } else {
                words.push(format!("asks={text}"));
            }
        }
        body["command"] = words.into();
        body["labels"] = json!({ ASKS_LABEL: text, HOW_LABEL: how.join(",") });
        body["resources"] = asks.iter().flat_map(documents).collect();
        let may_be_refused = asks.iter().any(|ask| ask.resource == SEATS.0 && ask.amount > 2);
        Work { body, namespace, may_be_refused }
    }
}

/// When it begins, and where: a worker that is not always there, or one that nobody has.
fn limits(random: &mut Random, body: &mut Value) {
    if random.percent(8) {
        body["timeouts"] = json!({ "queue": format!("{}ms", random.within(300, 4_000)) });
    }
    if random.percent(8) {
        body["delay"] = "400ms".into();
    }
    match random.within(0, 100) {
        0..8 => body["requires"] = json!([format!("worker=w{}", random.within(0, 3))]),
        8..11 => {
            body["requires"] = json!(["ghost"]);
            body["timeouts"] = json!({ "queue": format!("{}ms", random.within(1_000, 8_000)) });
        }
        _ => {}
    }
}

/// What becomes of it when its worker is lost.
fn lasts(random: &mut Random, body: &mut Value) {
    if random.percent(25) {
        body["overlap"] = "forbid".into();
        if random.percent(50) {
            body["stop_after"] = "2s".into();
        }
    }
    if random.percent(8) {
        body["on_worker_loss"] = "fail".into();
    }
}

/// How a job fails, is killed, or leaves processes behind.
fn fails(random: &mut Random, body: &mut Value, words: &mut Vec<String>, how: &mut Vec<String>) {
    match random.within(0, 100) {
        0..15 => {
            let fails = random.within(1, 3);
            words.push(format!("fails={fails}"));
            body["retry"] = json!({ "extra": random.within(1, 3), "backoff": "200ms" });
            if random.percent(50) {
                body["release_while_retrying"] = true.into();
                how.push("release".to_owned());
            }
        }
        15..20 => words.push("hides=1".to_owned()),
        20..26 => {
            words.extend(["ms=60000".to_owned(), "stubborn=1".to_owned()]);
            body["timeout"] = "700ms".into();
        }
        26..32 => words.push("stubborn=1".to_owned()),
        _ => {}
    }
}

/// One to three things, each of another resource; now and then two units of one.
fn asks(random: &mut Random) -> Vec<Ask> {
    let count = random.one_of(&[1, 1, 1, 2, 2, 3]);
    let all = [LOCKS[0], LOCKS[1], LOCKS[2], LICENCE.0, SEATS.0, PHONES, BOARDS];
    random.shuffled(&all).into_iter().take(count).map(|name| ask(name, random)).collect()
}

fn ask(name: &str, random: &mut Random) -> Ask {
    let of = |mode, amount, with| Ask { resource: name.to_owned(), mode, amount, with };
    match name {
        name if name == LICENCE.0 => of(Mode::Counted, random.within(1, 4), Vec::new()),
        name if name == SEATS.0 => of(Mode::Counted, random.one_of(&[1, 1, 2, 2, 3]), Vec::new()),
        BOARDS if random.percent(15) => of(Mode::Exclusive, 0, Vec::new()),
        BOARDS => of(Mode::Unit, 1, vec![Attributes::new()]),
        PHONES if random.percent(10) => of(Mode::Counted, random.within(1, 3), Vec::new()),
        PHONES => {
            let with = |random: &mut Random| -> Attributes {
                let pairs: &[(&str, &str)] = random.one_of(&[
                    &[("model", "a")][..],
                    &[("model", "b")],
                    &[("os", "14")],
                    &[("model", "b"), ("os", "15")],
                    &[("name", "ph1")],
                    &[],
                ]);
                pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
            };
            if random.percent(15) {
                return of(Mode::Unit, 2, vec![[("model".to_owned(), "a".to_owned())].into(), Attributes::new()]);
            }
            of(Mode::Unit, 1, vec![with(random)])
        }
        _ if random.percent(45) => of(Mode::Shared, 0, Vec::new()),
        _ => of(Mode::Exclusive, 0, Vec::new()),
    }
}

/// As REST takes it.
pub(super) fn documents(ask: &Ask) -> Vec<Value> {
    let name = &ask.resource;
    match ask.mode {
        Mode::Exclusive | Mode::Shared => vec![json!({ "mode": ask.mode.name(), "name": name })],
        Mode::Counted => vec![json!({ "mode": "counted", "name": name, "amount": ask.amount })],
        Mode::Unit => ask.with.iter().map(|with| json!({ "mode": "unit", "name": name, "with": with })).collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn all_shapes_come_and_their_labels_are_their_asks() {
        let maker = Maker { job: "j".to_owned(), marks: "/m".to_owned() };
        let mut random = Random::new(7);
        let mut seen = BTreeSet::new();
        for number in 0..2_000 {
            let work = maker.work(number, &mut random);
            let body = &work.body;
            let asks = Ask::read(body["labels"]["asks"].as_str().unwrap()).unwrap();
            let listed: Vec<Value> = asks.iter().flat_map(documents).collect();
            assert_eq!(body["resources"], Value::from(listed));
            let is_tight = work.namespace == TIGHT_NAMESPACE;
            assert!((1..=3).contains(&asks.len()) || is_tight && asks.is_empty());
            seen.extend(asks.iter().map(|ask| format!("{} {}", ask.resource, ask.mode.name())));
            seen.extend(body.as_object().unwrap().keys().cloned());
            // Who may overlap holds nothing in fact, and everybody else does.
            let words = body["command"].to_string();
            assert_ne!(words.contains("overlaps=1"), words.contains("asks="), "{body}");
        }
        for wanted in ["db exclusive", "db shared", "lic counted", "phones unit", "phones counted", "boards exclusive"]
        {
            assert!(seen.contains(wanted), "{wanted}");
        }
        for wanted in ["concurrency", "requires", "stop_after", "on_worker_loss"] {
            assert!(seen.contains(wanted), "{wanted}");
        }
        for wanted in ["array", "timeouts", "delay", "overlap", "retry", "release_while_retrying", "timeout"] {
            assert!(seen.contains(wanted), "{wanted}");
        }
    }
}
