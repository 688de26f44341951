//! The shapes of tasks, each with what must come of it whatever breaks.

use serde_json::{Value, json};

use crate::random::Random;

/// How a task must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    Succeeds,
    /// By itself, after exactly so many attempts that failed.
    FailsAfter(u64),
    /// Out of time.
    TimesOut,
    /// What it waited for did not come to pass.
    Skipped,
    /// Somebody cancels it meanwhile.
    CancelledOrNot,
    /// A loss leaves it in doubt, until somebody resolves that.
    SucceedsOrDoubt,
}

/// On which end of another task it waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kin {
    Ok,
    Any,
    Fail,
}

/// What is known of a task beforehand.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    pub(crate) name: String,
    pub(crate) want: Want,
    /// Never two at once, in fact.
    pub(crate) forbid: bool,
    /// That may fail where its supervisor was frozen.
    pub(crate) stop_after: bool,
    pub(crate) lines: u64,
    pub(crate) artifact: bool,
    /// Of its group.
    pub(crate) after: Vec<(usize, Kin)>,
    /// Elements, and how many of them at a time.
    pub(crate) array: Option<(u64, u64)>,
    pub(crate) licences: u64,
    pub(crate) slots: u64,
}

impl Spec {
    fn new(name: &str, number: u64) -> Self {
        Self {
            name: format!("{name}-{number}"),
            want: Want::Succeeds,
            forbid: false,
            stop_after: false,
            lines: 0,
            artifact: false,
            after: Vec::new(),
            array: None,
            licences: 0,
            slots: 1,
        }
    }
}

/// A submit: bodies of tasks, with what is known of each.
type Group = Vec<(Value, Spec)>;
/// What makes one.
type Make = fn(&Maker<'_>, &mut Random) -> Group;

/// Makes tasks that run this program as a job.
#[derive(Debug)]
pub(crate) struct Maker<'a> {
    pub(crate) number: u64,
    pub(crate) job: &'a str,
    pub(crate) marks: &'a str,
    pub(crate) stop_after: &'a str,
}

/// One submit of whatever shape.
pub(crate) fn group(maker: &Maker<'_>, random: &mut Random) -> Group {
    let shapes: [(u64, Make); 16] = [
        (22, plain),
        (8, long),
        (8, retried),
        (5, failing),
        (10, forbidding),
        (4, self_fencing),
        (5, doubtful),
        (8, chain),
        (4, branches),
        (6, array),
        (8, cancelled),
        (7, with_artifact),
        (6, chatty),
        (6, counted),
        (4, hiding),
        (2, late),
    ];
    let total: u64 = shapes.iter().map(|(weight, _)| weight).sum();
    let mut at = random.within(0, total);
    for (weight, shape) in shapes {
        if at < weight {
            return shape(maker, random);
        }
        at -= weight;
    }
    plain(maker, random)
}

impl Maker<'_> {
    fn task(&self, spec: &mut Spec, arguments: &[(&str, u64)]) -> Value {
        let mut words = vec![self.job.to_owned(), crate::JOB.to_owned(), self.marks.to_owned()];
        words.extend(arguments.iter().map(|(name, value)| format!("{name}={value}")));
        spec.lines = arguments.iter().find(|(name, _)| *name == "lines").map_or(0, |(_, lines)| *lines);
        spec.artifact = arguments.iter().any(|(name, _)| *name == "artifact");
        json!({ "name": spec.name, "command": words, "grace": "500ms" })
    }

    fn one(&self, name: &str, arguments: &[(&str, u64)], change: impl FnOnce(&mut Value, &mut Spec)) -> Group {
        let mut spec = Spec::new(name, self.number);
        let mut body = self.task(&mut spec, arguments);
        change(&mut body, &mut spec);
        vec![(body, spec)]
    }
}

fn plain(maker: &Maker<'_>, random: &mut Random) -> Group {
    maker.one("plain", &[("ms", random.within(0, 250)), ("lines", 3)], |_, _| {})
}

fn long(maker: &Maker<'_>, random: &mut Random) -> Group {
    maker.one("long", &[("ms", random.within(1_000, 5_000)), ("lines", 40)], |_, _| {})
}

fn retried(maker: &Maker<'_>, random: &mut Random) -> Group {
    let fails = random.within(1, 3);
    maker.one("retried", &[("ms", 50), ("fails", fails)], |body, _| {
        body["retry"] = json!({ "extra": fails, "backoff": "200ms" });
    })
}

fn failing(maker: &Maker<'_>, random: &mut Random) -> Group {
    let extra = random.within(0, 3);
    maker.one("failing", &[("ms", 20), ("fails", 1_000)], |body, spec| {
        body["retry"] = json!({ "extra": extra, "backoff": "100ms" });
        spec.want = Want::FailsAfter(extra + 1);
    })
}

fn forbidding(maker: &Maker<'_>, random: &mut Random) -> Group {
    maker.one("forbid", &[("ms", random.within(200, 6_000)), ("lines", 10)], |body, spec| {
        body["overlap"] = "forbid".into();
        spec.forbid = true;
    })
}

fn self_fencing(maker: &Maker<'_>, random: &mut Random) -> Group {
    maker.one("fencing", &[("ms", random.within(1_000, 6_000)), ("lines", 10)], |body, spec| {
        body["overlap"] = "forbid".into();
        body["stop_after"] = maker.stop_after.into();
        spec.forbid = true;
        spec.stop_after = true;
    })
}

fn doubtful(maker: &Maker<'_>, random: &mut Random) -> Group {
    maker.one("doubtful", &[("ms", random.within(200, 3_000)), ("lines", 5)], |body, spec| {
        body["on_worker_loss"] = "fail".into();
        spec.forbid = true;
        spec.want = Want::SucceedsOrDoubt;
    })
}

fn chain(maker: &Maker<'_>, random: &mut Random) -> Group {
    let length = usize::try_from(random.within(2, 5)).unwrap_or(2);
    let mut group: Group = Vec::new();
    for place in 0..length {
        let mut spec = Spec::new(&format!("chain{place}"), maker.number);
        let mut body = maker.task(&mut spec, &[("ms", random.within(0, 300)), ("lines", 2)]);
        if place > 0 {
            body["after"] = json!([format!("#{}:ok", place - 1)]);
            spec.after = vec![(place - 1, Kin::Ok)];
        }
        group.push((body, spec));
    }
    group
}

/// One that fails, and what follows from it either way.
fn branches(maker: &Maker<'_>, random: &mut Random) -> Group {
    let mut group = failing(maker, random);
    for (name, kin, word, want) in [
        ("if-ok", Kin::Ok, "ok", Want::Skipped),
        ("if-failed", Kin::Fail, "fail", Want::Succeeds),
        ("in-any-case", Kin::Any, "any", Want::Succeeds),
    ] {
        let mut spec = Spec { want, after: vec![(0, kin)], ..Spec::new(name, maker.number) };
        let mut body = maker.task(&mut spec, &[("ms", 20)]);
        body["after"] = json!([format!("#0:{word}")]);
        group.push((body, spec));
    }
    group
}

fn array(maker: &Maker<'_>, random: &mut Random) -> Group {
    let (count, at_most) = (random.within(2, 9), random.within(1, 4));
    maker.one("array", &[("ms", random.within(0, 400)), ("lines", 2)], |body, spec| {
        body["array"] = format!("1-{count}%{at_most}").into();
        spec.array = Some((count, at_most));
    })
}

fn cancelled(maker: &Maker<'_>, random: &mut Random) -> Group {
    let mut arguments = vec![("ms", random.within(300, 4_000)), ("lines", 5)];
    arguments.extend(random.percent(40).then_some(("stubborn", 1)));
    maker.one("cancelled", &arguments, |_, spec| spec.want = Want::CancelledOrNot)
}

fn with_artifact(maker: &Maker<'_>, random: &mut Random) -> Group {
    maker.one("artifact", &[("ms", random.within(0, 500)), ("artifact", 1)], |_, _| {})
}

fn chatty(maker: &Maker<'_>, random: &mut Random) -> Group {
    maker.one("chatty", &[("ms", random.within(200, 2_500)), ("lines", random.within(200, 1_500))], |_, _| {})
}

fn counted(maker: &Maker<'_>, random: &mut Random) -> Group {
    let is_wide = random.percent(40);
    maker.one("counted", &[("ms", random.within(100, 900)), ("lines", 2)], |body, spec| {
        if is_wide {
            body["slots"] = 2.into();
            spec.slots = 2;
        } else {
            body["amounts"] = json!({ "licence": 1 });
            spec.licences = 1;
        }
    })
}

fn hiding(maker: &Maker<'_>, random: &mut Random) -> Group {
    maker.one("hiding", &[("ms", random.within(0, 200)), ("hides", 1)], |_, _| {})
}

fn late(maker: &Maker<'_>, _random: &mut Random) -> Group {
    maker.one("late", &[("ms", 60_000), ("stubborn", 1)], |body, spec| {
        body["timeout"] = "1500ms".into();
        spec.want = Want::TimesOut;
    })
}

/// Three steps, the middle one of which is many tasks.
pub(crate) fn workflow(job: &str, marks: &str, elements: usize) -> String {
    let items: Vec<String> = (0..elements).map(|number| number.to_string()).collect();
    let step =
        |needs: &str, each: &str| format!("{needs}{each}    argv: [{job}, {}, {marks}, ms=100, lines=2]\n", crate::JOB);
    format!(
        "name: chaos\nsteps:\n  first:\n{}  each:\n{}  last:\n{}",
        step("", ""),
        step("    needs: first\n", &format!("    for_each: [{}]\n", items.join(", "))),
        step("    needs: each\n", ""),
    )
}
