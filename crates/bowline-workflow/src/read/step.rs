//! One step.

use bowline_core::name::{Key, StepName};
use bowline_core::placement::{Fill, Placement};
use bowline_core::run::{Join, NODES_MAX};
use bowline_core::spec::{
    Condition, FILE_PATH_BYTES_MAX, ITEMS_MAX, OnWorkerLoss, OutputFormat, RetryPolicy, SLOTS_MAX, Timeouts,
    file_path_is_good,
};

use crate::diagnostic::Range;
use crate::expr::{Kind, Template, has_expression};
use crate::fields::{Fields, Reader, list};
use crate::model::{Act, Asks, Http, Need, Shape, Step};
use crate::read::actions;
use crate::yaml::{Data, Node};

const CONDITIONS: [(&str, Condition); 3] = [("ok", Condition::Ok), ("any", Condition::Any), ("fail", Condition::Fail)];
const OUTPUTS: [(&str, OutputFormat); 4] = [
    ("json", OutputFormat::Json),
    ("lines", OutputFormat::Lines),
    ("nul", OutputFormat::Nul),
    ("text", OutputFormat::Text),
];
const LOSSES: [(&str, OnWorkerLoss); 2] = [("rerun", OnWorkerLoss::Rerun), ("fail", OnWorkerLoss::Fail)];
const FILLS: [(&str, Fill); 2] = [("spread", Fill::Spread), ("pack", Fill::Pack)];
const ACTIONS: [(&str, &str); 5] =
    [("command", "command"), ("http", "http"), ("noop", "noop"), ("wait", "wait"), ("sleep", "sleep")];

impl Reader<'_> {
    pub(crate) fn steps(&mut self, node: Node) -> Vec<Step> {
        let range = node.range.clone();
        if let Data::List(_) = node.data {
            self.wrong(
                &range,
                "`steps` is a list, and must be a mapping",
                "write each step as `name:` with its fields below",
            );
            return Vec::new();
        }
        let entries = self.entries(node, "`steps`", "hello: {argv: [echo, hello]}").unwrap_or_default();
        if entries.is_empty() {
            self.wrong(&range, "the workflow has no step", "write `hello: {argv: [echo, hello]}` below `steps:`");
        }
        if entries.len() > NODES_MAX {
            self.wrong(&range, format!("more than {NODES_MAX} steps"), "use `for_each`, or several workflows");
        }
        let mut steps = Vec::new();
        for (key, node) in entries.into_iter().take(NODES_MAX) {
            match StepName::new(&key.text) {
                Ok(name) => steps.extend(self.step(name, key.range, node)),
                Err(error) => self.mistakes.add(key.range, error.to_string(), None),
            }
        }
        steps
    }

    fn step(&mut self, name: StepName, name_range: Range, node: Node) -> Option<Step> {
        let mut fields = self.fields(node, &format!("step `{name}`"), "argv: [echo, hello]")?;
        let act = self.act(&name, &mut fields, &name_range);
        let step = Step {
            needs: fields.take("needs").map(|node| self.needs(node)).unwrap_or_default(),
            join: Join::All,
            for_each: fields.take("for_each").and_then(|node| self.for_each(node)),
            at_most: fields.take("at_most").and_then(|node| self.whole(&node, "at_most", (1, 1_000_000))),
            env: fields.take("env").map(|node| self.env(node)).unwrap_or_default(),
            files: fields.take("files").map(|node| self.files(node)).unwrap_or_default(),
            dir: fields.take("dir").and_then(|node| self.template(&node, "dir")),
            output: fields.take("output").and_then(|node| self.word(&node, "output", &OUTPUTS)),
            artifacts: fields.take("artifacts").map(|node| self.globs(node)).unwrap_or_default(),
            split_output: fields
                .take("split_output")
                .and_then(|node| self.truth(&node, "split_output"))
                .unwrap_or(false),
            grace: fields.take("grace").and_then(|node| self.duration(&node, "grace")),
            asks: self.asks(&mut fields),
            act: act.unwrap_or(Act::Noop),
            name,
        };
        fields.finish("a step", self);
        Some(step)
    }

    fn act(&mut self, name: &StepName, fields: &mut Fields, at: &Range) -> Option<Act> {
        let [run, argv, action] = actions(fields);
        let with = fields.take_entry("with");
        let given = [&run, &argv, &action].iter().filter(|node| node.is_some()).count();
        if given != 1 {
            let message = match given {
                0 => format!("step `{name}` does nothing"),
                _ => format!("step `{name}` does more than one thing"),
            };
            self.wrong(at, message, "give it exactly one of `run`, `argv` and `action`");
        }
        if let (Some((key, _)), None) = (&with, &action) {
            self.wrong(&key.range, "`with` goes with `action`", "use `env` to hand something to `run`");
        }
        match (run, argv, action) {
            (Some(node), ..) => self.shell(&node),
            (_, Some(node), _) => self.argv(node),
            (_, _, Some(node)) => {
                let name = self.word(&node, "action", &ACTIONS)?;
                self.action(name, with.map(|(_, node)| node), &node.range)
            }
            (None, None, None) => None,
        }
    }

    fn shell(&mut self, node: &Node) -> Option<Act> {
        let Some(text) = node.text() else {
            self.wrong(&node.range, format!("`run` is {}, and must be a text", node.kind()), "write the script's text");
            return None;
        };
        let sign = ["{{", "{%"].into_iter().filter_map(|sign| text.find(sign).map(|at| (at, sign))).min();
        if let Some((at, sign)) = sign {
            let site = crate::expr::Site { file: self.file, range: node.range.clone() };
            let close = if sign == "{{" { "}}" } else { "%}" };
            let end = text[at..].find(close).map_or(at + 2, |length| at + length + 2);
            let range = site.find(text, &(at..end));
            let part = text[at..end].trim_matches(['{', '}', '%', ' ']);
            let help = format!(
                "hand it over by `env: {{VALUE: \"{{{{ {part} }}}}\"}}` and write \"$VALUE\" in the script, or use `argv:`"
            );
            self.wrong(&range, "an expression cannot stand in `run`: the shell would run what is in its value", help);
        }
        Some(Act::Shell(text.to_owned()))
    }

    fn argv(&mut self, node: Node) -> Option<Act> {
        if !matches!(&node.data, Data::List(items) if !items.is_empty()) {
            self.wrong(
                &node.range,
                "`argv` must be a list with a program and its arguments",
                "write `argv: [echo, hello]`",
            );
            return None;
        }
        let items = list(node);
        Some(Act::Argv(items.iter().filter_map(|item| self.template(item, "an argument")).collect()))
    }

    fn action(&mut self, name: &str, with: Option<Node>, at: &Range) -> Option<Act> {
        if with.is_none() && !matches!(name, "noop" | "wait") {
            self.wrong(at, format!("action `{name}` needs `with`"), format!("write `with: {}`", example(name)));
            return None;
        }
        let mut fields = match with {
            Some(node) => Some(self.fields(node, "`with`", example(name))?),
            None => None,
        };
        let act = match (name, &mut fields) {
            ("command", Some(fields)) => self.command(fields),
            ("http", Some(fields)) => Some(self.http(fields)),
            ("sleep", Some(fields)) => self.sleep(fields),
            ("wait", _) => Some(Act::Wait),
            _ => Some(Act::Noop),
        };
        if let Some(fields) = fields {
            fields.finish(&format!("`with` of `{name}`"), self);
        }
        act
    }

    fn command(&mut self, fields: &mut Fields) -> Option<Act> {
        match (fields.take("argv"), fields.take("run")) {
            (Some(node), None) => self.argv(node),
            (None, Some(node)) => self.shell(&node),
            _ => {
                self.wrong(
                    &fields.range,
                    "`command` needs exactly one of `argv` and `run`",
                    "write `with: {argv: [echo, hello]}`",
                );
                None
            }
        }
    }

    fn sleep(&mut self, fields: &mut Fields) -> Option<Act> {
        let Some(node) = fields.take("for") else {
            self.wrong(&fields.range, "`sleep` needs `for`", "write `with: {for: 5s}`");
            return None;
        };
        let length = self.template(&node, "for")?;
        if length.kind == Kind::Literal {
            self.duration(&node, "for")?;
        }
        Some(Act::Sleep(length))
    }

    fn http(&mut self, fields: &mut Fields) -> Act {
        let url = if let Some(node) = fields.take("url") {
            self.template(&node, "url")
        } else {
            self.wrong(&fields.range, "`http` needs `url`", "write `with: {url: \"https://example.org/\"}`");
            None
        };
        let http = Http {
            method: fields.take("method").and_then(|node| self.template(&node, "method")),
            headers: fields
                .take("headers")
                .map(|node| named(self.templates(node, "header", "Accept: text/plain")))
                .unwrap_or_default(),
            body: fields.take("body").map(|node| self.shape(node)),
            expect: match fields.take("expect") {
                None => Vec::new(),
                Some(node) => list(node).iter().filter_map(|node| self.whole(node, "expect", (100, 599))).collect(),
            },
            response_bytes_max: fields
                .take("response_bytes_max")
                .and_then(|node| self.size(&node, "response_bytes_max")),
            url: url.unwrap_or_else(|| Template::literal("", 0..0)),
        };
        Act::Http(Box::new(http))
    }

    fn needs(&mut self, node: Node) -> Vec<Need> {
        let mut needs: Vec<Need> = Vec::new();
        for node in list(node) {
            let need = if matches!(node.data, Data::Map(_)) { self.need(node) } else { self.bare_need(&node) };
            if let Some(need) = need {
                if needs.iter().any(|one| one.step == need.step) {
                    self.wrong(&need.range, format!("`{}` is needed a second time", need.step), "keep one of them");
                } else {
                    needs.push(need);
                }
            }
        }
        needs
    }

    fn bare_need(&mut self, node: &Node) -> Option<Need> {
        let step = self.text(node, "a step's name")?;
        Some(Need { step, index: 0, on: Condition::Ok, range: node.range.clone() })
    }

    fn need(&mut self, node: Node) -> Option<Need> {
        let mut fields = self.fields(node, "the need", "{step: build, on: any}")?;
        let on = fields.take("on").and_then(|node| self.word(&node, "on", &CONDITIONS)).unwrap_or_default();
        let step = fields.take("step");
        let range = fields.range.clone();
        fields.finish("a need", self);
        let Some(node) = step else {
            self.wrong(&range, "the need names no step", "write `{step: build, on: any}`");
            return None;
        };
        let step = self.text(&node, "step")?;
        Some(Need { step, index: 0, on, range: node.range })
    }

    fn for_each(&mut self, node: Node) -> Option<Shape> {
        let range = node.range.clone();
        let shape = self.shape(node);
        let good = matches!(&shape, Shape::List(_)) || matches!(&shape, Shape::Text(text) if text.kind == Kind::Value);
        // An expression with a mistake has been told of already.
        let told = matches!(&shape, Shape::Text(text) if has_expression(&text.text) && text.kind == Kind::Literal);
        if !good && !told {
            self.wrong(
                &range,
                "`for_each` must be a list",
                "write `[a, b]`, or one expression: `\"{{ steps.list.result }}\"`",
            );
        }
        good.then_some(shape)
    }

    fn env(&mut self, node: Node) -> Vec<(String, Template)> {
        let entries = self.templates(node, "env", "NAME: value");
        for (key, _) in &entries {
            let good = key.text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
                && key.text.starts_with(|c: char| !c.is_ascii_digit());
            if !good {
                self.wrong(&key.range, format!("`{}` cannot name a variable", key.text), "use letters, digits and `_`");
            } else if key.text.starts_with("BOWLINE_") {
                self.wrong(&key.range, format!("`{}` is set by Bowline itself", key.text), "choose another name");
            }
        }
        named(entries)
    }

    fn files(&mut self, node: Node) -> Vec<(String, Template)> {
        let mut entries = self.templates(node, "file", "data.json: \"{{ steps.list.result | tojson }}\"");
        for (key, template) in &mut entries {
            if !file_path_is_good(&key.text) {
                let help = format!("use a relative path without `..`, at most {FILE_PATH_BYTES_MAX} bytes");
                self.wrong(&key.range, format!("`{}` cannot name a file", key.text), help);
            }
            // A file is always text, to its last line end.
            if template.kind == Kind::Value {
                template.kind = Kind::Text;
            }
            let lower = key.text.to_lowercase();
            template.html = [".html", ".htm", ".xhtml", ".xml", ".svg"].iter().any(|end| lower.ends_with(end));
        }
        self.bounded(&entries.iter().map(|(key, _)| key.range.clone()).collect::<Vec<_>>(), "files");
        named(entries)
    }

    fn globs(&mut self, node: Node) -> Vec<String> {
        let items = list(node);
        self.bounded(&items.iter().map(|item| item.range.clone()).collect::<Vec<_>>(), "artifacts");
        items.iter().filter_map(|item| self.text(item, "an artifact's name")).collect()
    }

    pub(crate) fn bounded(&mut self, ranges: &[Range], what: &str) {
        if let Some(range) = ranges.get(ITEMS_MAX) {
            self.wrong(range, format!("more than {ITEMS_MAX} {what}"), "take some away");
        }
    }

    fn asks(&mut self, fields: &mut Fields) -> Asks {
        let requires = fields.take("requires").map(list).unwrap_or_default();
        self.bounded(&requires.iter().map(|node| node.range.clone()).collect::<Vec<_>>(), "capabilities");
        let mut timeouts = fields.take("timeouts").map(|node| self.timeouts(node)).unwrap_or_default();
        if let Some((key, node)) = fields.take_entry("timeout") {
            if timeouts.run.is_some() {
                self.wrong(&key.range, "`timeout` and `timeouts.run` are the same", "keep one of them");
            }
            timeouts.run = self.duration(&node, "timeout");
        }
        Asks {
            requires: requires.iter().filter_map(|node| self.parsed(node, "requires")).collect(),
            slots: fields.take("slots").and_then(|node| self.whole(&node, "slots", (1, i64::from(SLOTS_MAX)))),
            amounts: fields.take("amounts").map(|node| self.amounts(node)).unwrap_or_default(),
            resources: self.resources(fields),
            release_while_retrying: fields
                .take("release_while_retrying")
                .and_then(|node| self.truth(&node, "release_while_retrying"))
                .unwrap_or(false),
            placement: self.placement(fields),
            concurrency: fields.take("concurrency").and_then(|node| self.concurrency(node)),
            rate: fields.take("rate").and_then(|node| self.rate(node)),
            priority: fields
                .take("priority")
                .and_then(|node| self.whole(&node, "priority", (i64::from(i32::MIN), i64::from(i32::MAX))))
                .unwrap_or(0),
            timeouts,
            retry: fields.take("retry").and_then(|node| self.retry(node)).unwrap_or_default(),
            on_worker_loss: fields
                .take("on_worker_loss")
                .and_then(|node| self.word(&node, "on_worker_loss", &LOSSES))
                .unwrap_or_default(),
        }
    }

    fn placement(&mut self, fields: &mut Fields) -> Placement {
        let mut all = |name: &'static str| {
            let items = fields.take(name).map(list).unwrap_or_default();
            self.bounded(&items.iter().map(|node| node.range.clone()).collect::<Vec<_>>(), "capabilities");
            items.iter().filter_map(|node| self.parsed(node, name)).collect()
        };
        let (prefer, avoid, excludes) = (all("prefer"), all("avoid"), all("exclude"));
        let fill = fields.take("place").and_then(|node| self.word(&node, "place", &FILLS)).unwrap_or_default();
        Placement { fill, prefer, avoid, excludes }
    }

    fn amounts(&mut self, node: Node) -> std::collections::BTreeMap<Key, u64> {
        let entries = self.entries(node, "`amounts`", "memory: 2GiB").unwrap_or_default();
        self.bounded(&entries.iter().map(|(key, _)| key.range.clone()).collect::<Vec<_>>(), "amounts");
        let mut amounts = std::collections::BTreeMap::new();
        for (key, node) in entries {
            let amount = self.size(&node, &format!("amount `{}`", key.text));
            match Key::new(&key.text) {
                Ok(name) => amounts.extend(amount.map(|amount| (name, amount))),
                Err(error) => self.mistakes.add(key.range, error.to_string(), None),
            }
        }
        amounts
    }

    fn timeouts(&mut self, node: Node) -> Timeouts {
        let Some(mut fields) = self.fields(node, "`timeouts`", "run: 5m") else { return Timeouts::default() };
        let timeouts = Timeouts {
            queue: fields.take("queue").and_then(|node| self.duration(&node, "queue")),
            setup: fields.take("setup").and_then(|node| self.duration(&node, "setup")),
            run: fields.take("run").and_then(|node| self.duration(&node, "run")),
            total: fields.take("total").and_then(|node| self.duration(&node, "total")),
        };
        fields.finish("`timeouts`", self);
        timeouts
    }

    fn retry(&mut self, node: Node) -> Option<RetryPolicy> {
        const EXTRA: (i64, i64) = (0, 1_000_000);
        let default = RetryPolicy::default();
        if !matches!(node.data, Data::Map(_)) {
            return Some(RetryPolicy { extra: self.whole(&node, "retry", EXTRA)?, ..default });
        }
        let mut fields = self.fields(node, "`retry`", "extra: 2")?;
        let extra = fields.take("extra").and_then(|node| self.whole(&node, "extra", EXTRA)).unwrap_or(1);
        let backoff =
            fields.take("backoff").and_then(|node| self.duration(&node, "backoff")).unwrap_or(default.backoff);
        let backoff_max = fields.take("backoff_max").and_then(|node| self.duration(&node, "backoff_max"));
        fields.finish("`retry`", self);
        let backoff_max = backoff_max.unwrap_or(default.backoff_max).max(backoff);
        Some(RetryPolicy { extra, backoff, backoff_max })
    }
}

fn named(entries: Vec<(crate::yaml::Key, Template)>) -> Vec<(String, Template)> {
    entries.into_iter().map(|(key, template)| (key.text, template)).collect()
}

fn example(action: &str) -> &'static str {
    match action {
        "command" => "{argv: [echo, hello]}",
        "http" => "{url: \"https://example.org/\"}",
        _ => "{for: 5s}",
    }
}
