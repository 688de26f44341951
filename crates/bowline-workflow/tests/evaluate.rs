//! Expressions within their bounds, hostile values, inputs.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use bowline_core::id::{NodeIndex, RunId};
use bowline_core::input::{Evaluation, NewTask};
use bowline_core::run::{DueKind, NodeEnd};
use bowline_core::spec::{Action, Command, Condition};
use bowline_core::state::{JobError, Outcome};
use bowline_workflow::{Context, StepView, Style, Workflow, check};
use serde_json::{Value, json};

fn read(text: &str) -> Workflow {
    check("file.yaml", text).unwrap_or_else(|found| {
        panic!("{}", found.iter().map(|one| one.render("file.yaml", text, Style::Plain)).collect::<String>())
    })
}

fn seen(inputs: Value) -> Context {
    Context { run: RunId(12), inputs, steps: BTreeMap::new() }
}

fn task(evaluation: Evaluation) -> NewTask {
    match evaluation {
        Evaluation::Task(task) => *task,
        other => panic!("no task: {other:?}"),
    }
}

fn failed(evaluation: Evaluation) -> String {
    match evaluation {
        Evaluation::Failed(error) => error.message,
        other => panic!("it did not fail: {other:?}"),
    }
}

fn result_of(expression: &str, inputs: &Value) -> Evaluation {
    let text = format!(
        "name: x\ninputs: {{a: 1, b: 1, list: []}}\nsteps: {{s: {{action: noop}}}}\nresult: {}\n",
        serde_json::to_string(expression).unwrap()
    );
    read(&text).result(&seen(inputs.clone()))
}

fn value(expression: &str, inputs: &Value) -> Value {
    match result_of(expression, inputs) {
        Evaluation::Result(json) => serde_json::from_str(&json).unwrap(),
        other => panic!("{expression}: {other:?}"),
    }
}

#[test]
fn values_keep_their_types() {
    let inputs = json!({"a": 3, "b": "text", "list": [1, "two", null, {"k": 1.5}]});
    for (expression, expected) in [
        ("{{ inputs.list }}", json!([1, "two", null, {"k": 1.5}])),
        ("  {{ inputs.a }}\n", json!(3)),
        ("a: {{ inputs.a }}", json!("a: 3")),
        ("{{ inputs.list }}!", json!("[1,\"two\",null,{\"k\":1.5}]!")),
        ("{{ inputs.a * 2 + 1 }}", json!(7)),
        ("{{ inputs.a / 2 }}", json!(1.5)),
        ("{{ inputs.a > 2 and inputs.b == 'text' }}", json!(true)),
        ("{{ inputs.b ~ inputs.a }}", json!("text3")),
        ("{{ inputs.b + '!' }}", json!("text!")),
        ("{{ [1] + [2] }}", json!([1, 2])),
        ("{{ inputs.list[1:3] }}", json!(["two", null])),
        ("{{ inputs.b[:-1] }}", json!("tex")),
        ("{{ 'x' in inputs.b }}", json!(true)),
        ("{{ 'q' not in inputs.b }}", json!(true)),
        ("{{ range(1, 4) | sum }}", json!(6)),
        ("{{ inputs.list[3].nothing | default('d') }}", json!("d")),
        ("{{ run.name }}", json!("r12")),
        ("{% for x in inputs.list %}{{ loop.index }}{% if not loop.last %},{% endif %}{% endfor %}", json!("1,2,3,4")),
        ("{% set y = inputs.a %}{% if y == 3 %}three{% else %}other{% endif %}", json!("three")),
        ("{{ inputs.list | tojson }}", json!("[1,\"two\",null,{\"k\":1.5}]")),
        ("{{ 2097152 | size }}", json!("2.0MiB")),
        ("no expression", json!("no expression")),
    ] {
        assert_eq!(value(expression, &inputs), expected, "{expression}");
    }
}

#[test]
fn what_fails_loops_or_explodes_ends_with_its_cause() {
    let inputs = json!({"a": "x".repeat(1_000), "b": {}, "list": (0..1_000).collect::<Vec<_>>()});
    let loops = "{% for a in range(10000) %}{% for b in range(10000) %}{% for c in range(10000) %}{% endfor %}{% endfor %}{% endfor %}";
    let doubling = (0..60).fold("{% set s0 = inputs.a %}".to_owned(), |text, at| {
        text + &format!("{{% set s{} = s{at} ~ s{at} %}}", at + 1)
    });
    let nested = (0..60)
        .fold("{% set s0 = [1] %}".to_owned(), |text, at| text + &format!("{{% set s{} = [s{at}, s{at}] %}}", at + 1));
    for (expression, cause) in [
        (loops.to_owned(), "steps"),
        (doubling, "grows beyond"),
        (nested.clone() + "{{ s30 }}", "grows beyond"),
        (nested + "{{ s60 == s59 }}", "bytes and values"),
        ("{{ range(1000000000) }}".to_owned(), "more than 10000"),
        ("{{ inputs.a * 1000000000 }}".to_owned(), "cannot multiply"),
        ("{{ inputs.list * 1000000000 }}".to_owned(), "cannot multiply"),
        ("{{ inputs.a | replace('x', inputs.a) | replace('x', inputs.a) }}".to_owned(), "grows beyond"),
        ("{% for a in range(10000) %}{{ inputs.a }}{% endfor %}".to_owned(), "grows beyond"),
        ("{% for a in range(10000) %}".to_owned() + &"raw ".repeat(100) + "{% endfor %}", "grows beyond"),
        ("{{ inputs.list | join(inputs.a * 1) }}".to_owned(), "cannot multiply"),
        ("{{ inputs.b.missing }}".to_owned(), "not defined"),
        ("text {{ inputs.b.missing }}".to_owned(), "not defined"),
        ("{{ inputs.a / 0 }}".to_owned(), ""),
        ("{{ 1 / 0 }}".to_owned(), ""),
        ("{{ 9223372036854775807 + inputs.list[1] }}".to_owned(), "too large"),
        ("{{ inputs.list.0.x }}".to_owned(), "not defined"),
    ] {
        let shown: String = expression.chars().take(80).collect();
        let message = failed(result_of(&expression, &inputs));
        assert!(
            message.contains(cause) && message.starts_with("the run's result: `result`, line 4"),
            "{shown}: {message}"
        );
        assert!(message.len() <= 4_096);
    }
}

#[test]
fn no_way_out_of_the_sandbox() {
    for expression in [
        "{% include 'x' %}",
        "{% import 'x' as y %}",
        "{% macro a() %}{{ a() }}{% endmacro %}",
        "{{ env('HOME') }}",
        "{{ now() }}",
        "{{ debug() }}",
        "{{ namespace() }}",
        "{{ inputs.a.upper() }}",
        "{{ 'a' * 5 }}",
        "{{ __add(1, 2) }}",
        "{% set __x = 1 %}",
        "{{ 'x' | format(1) }}",
        "{% for x in [1] recursive %}{{ loop([x]) }}{% endfor %}",
        "{{ 1 < 2 < 3 }}",
        "{{ steps }}",
        "{% set inputs = 1 %}",
        "{% set x %}text{% endset %}",
        "{{ item }}",
        "{{ range(*inputs.list) }}",
        "{{ self }}",
    ] {
        let text = format!(
            "name: x\ninputs: {{a: 1, list: []}}\nsteps: {{s: {{action: noop}}}}\nresult: {}\n",
            serde_json::to_string(expression).unwrap()
        );
        assert!(check("file.yaml", &text).is_err(), "{expression}");
    }
}

const EACH: &str = r#"
name: each
inputs: {names: {type: list}}
steps:
  each:
    for_each: "{{ inputs.names }}"
    at_most: 3
    argv: [printf, "%s", "{{ item }}", "{{ index }}", "<{{ item }}>"]
    env: {NAME: "{{ item }}"}
    files: {page.html: "{{ item }}\n", plain.txt: "{{ item }}\n"}
    requires: [gpu, "os=linux"]
    retry: 2
    timeout: 5m
  same:
    for_each: [a, b, c]
    needs: {step: each, on: any}
    argv: [date]
  after:
    needs: [same, {step: each, on: fail}]
    env: {FAILED: "{{ steps.each.failed }}"}
    run: echo "$FAILED"
"#;

#[test]
fn hostile_values_pass_unchanged() {
    let workflow = read(EACH);
    let names =
        ["a b", "quote'\"", "new\nline", "$(rm -rf ~)", "`id`", "{{ inputs }}", "-rf", "", "ü\u{fffd}", "%s\\n", "<b>"];
    let made = task(workflow.evaluate(NodeIndex(0), &seen(json!({"names": names}))));
    assert_eq!(made.elements.len(), names.len());
    for (place, name) in names.iter().enumerate() {
        let work = &made.elements[place];
        let argv = ["printf", "%s", name, &place.to_string(), &format!("<{name}>")].map(str::to_owned);
        assert_eq!(work.action, Action::Command(Command::Argv(argv.to_vec())));
        assert_eq!(work.env["NAME"], *name);
        assert_eq!(work.files["plain.txt"], format!("{name}\n"));
    }
    assert_eq!(made.elements[10].files["page.html"], "&lt;b&gt;\n");
    let spec = &made.spec;
    assert_eq!((spec.array.as_ref().unwrap().at_most, spec.retry.extra, spec.requires.len()), (Some(3), 2, 2));
}

#[test]
fn arrays_in_all_sizes() {
    let workflow = read(EACH);
    assert_eq!(workflow.evaluate(NodeIndex(0), &seen(json!({"names": []}))), Evaluation::Nothing);
    let same = task(workflow.evaluate(NodeIndex(1), &seen(json!({"names": []}))));
    assert!(same.elements.is_empty(), "nothing differs between them");
    assert_eq!(same.spec.array.as_ref().unwrap().count, 3);
    let many: Vec<u32> = (0..10_001).collect();
    let message = failed(workflow.evaluate(NodeIndex(0), &seen(json!({"names": many}))));
    assert!(
        message.contains("more than 10000 elements") && message.contains("step `each`: `for_each`, line 6"),
        "{message}"
    );
    let message = failed(workflow.evaluate(NodeIndex(0), &seen(json!({"names": "text"}))));
    assert!(message.contains("must be a list"), "{message}");
    let message = failed(workflow.evaluate(NodeIndex(0), &seen(json!({"names": ["fine", "nul\0"]}))));
    assert!(message.contains("for element 1") && message.contains("NUL"), "{message}");
    let message = failed(workflow.evaluate(NodeIndex(0), &seen(json!({"names": ["x".repeat(200_000)]}))));
    assert!(message.contains("by `files`"), "{message}");
    let message = failed(workflow.evaluate(NodeIndex(0), &seen(json!({"names": [null]}))));
    assert!(message.contains("no value (null)"), "{message}");
}

#[test]
fn the_graph_has_edges_with_conditions() {
    let graph = read(EACH).graph();
    assert_eq!(graph.nodes.len(), 3);
    assert_eq!((graph.nodes[1].needs[0].from, graph.nodes[1].needs[0].on), (NodeIndex(0), Condition::Any));
    assert_eq!(graph.nodes[2].needs[1].on, Condition::Fail);
    assert_eq!(read(EACH).steps_read_by(DueKind::Node(NodeIndex(2))), [NodeIndex(0)]);
}

#[test]
fn failed_steps_can_be_read() {
    let workflow = read(
        "name: x\nsteps:\n  a: {argv: [a]}\n  b:\n    needs: {step: a, on: any}\n    argv: [echo, \"{{ steps.a.state }} {{ steps.a.exit_status }} {{ steps.a.error }}\"]\n",
    );
    let mut context = seen(json!({}));
    let error = JobError { exit_status: Some(3), signal: None, message: "exit status 3".into() };
    let view = StepView { end: NodeEnd::Failed, outcome: Some(Outcome::Error(error)), result: None, elements: None };
    context.steps.insert("a".parse().unwrap(), view);
    let made = task(workflow.evaluate(NodeIndex(1), &context));
    assert_eq!(
        made.spec.work.action,
        Action::Command(Command::Argv(vec!["echo".into(), "failed 3 exit status 3".into()]))
    );
}

#[test]
fn inputs_by_type() {
    let workflow = read(
        "name: x\ninputs:\n  s: text\n  i: 3\n  n: {type: number, default: 0.5}\n  b: {type: bool}\n  l: {type: list, default: []}\n  m: {type: map, default: {}}\nsteps: {a: {action: noop}}\n",
    );
    let given = |entries: &[(&str, Value)]| {
        entries.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect::<BTreeMap<_, _>>()
    };
    let filled =
        workflow.inputs(&given(&[("b", json!("true")), ("i", json!("-7")), ("l", json!("[1, \"x\"]"))])).unwrap();
    assert_eq!(filled, json!({"s": "text", "i": -7, "n": 0.5, "b": true, "l": [1, "x"], "m": {}}));
    let filled = workflow.inputs(&given(&[("b", json!(false)), ("s", json!(5)), ("m", json!("{\"k\":1}"))])).unwrap();
    assert_eq!((&filled["s"], &filled["m"]), (&json!("5"), &json!({"k": 1})));
    let errors = workflow.inputs(&given(&[("i", json!("1.5")), ("ll", json!(1)), ("m", json!("[]"))])).unwrap_err();
    let messages: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        messages,
        [
            "There is no input `ll`: did you mean `l`?",
            "The input `i` is \"1.5\", and must be a whole number such as `3`.",
            "The input `b` is missing and has no default: give it with `--input b=…`.",
            "The input `m` is \"[]\", and must be a map such as `{\"a\": 1}`.",
        ]
    );
    let large = workflow.inputs(&given(&[("b", json!(true)), ("s", json!("x".repeat(2 << 20)))])).unwrap_err();
    assert!(large[0].message.contains("larger than"));
}

#[test]
fn http_wait_and_sleep() {
    let workflow = read(
        "name: x\ninputs: {host: example.org}\nsteps:\n  get: {action: http, with: {url: \"https://{{ inputs.host }}/\", method: POST, headers: {A: \"{{ inputs.host }}\"}, body: {k: \"{{ inputs.host }}\"}, expect: [200, 404], response_bytes_max: 64KiB}}\n  hold: {action: wait}\n  nap: {action: sleep, with: {for: 1h30m}}\n  bad: {action: http, with: {url: \"{{ inputs.host }}\"}}\n",
    );
    let context = seen(json!({"host": "example.org"}));
    let Action::Http(http) = task(workflow.evaluate(NodeIndex(0), &context)).spec.work.action.clone() else {
        panic!("no http")
    };
    assert_eq!((http.url.as_str(), http.method.as_str()), ("https://example.org/", "POST"));
    assert_eq!(
        (http.body.as_deref(), http.expect, http.response_bytes_max),
        (Some("{\"k\":\"example.org\"}"), vec![200, 404], Some(65_536))
    );
    assert_eq!(task(workflow.evaluate(NodeIndex(1), &context)).spec.work.action, Action::Wait);
    assert!(matches!(task(workflow.evaluate(NodeIndex(2), &context)).spec.work.action, Action::Sleep(_)));
    assert!(failed(workflow.evaluate(NodeIndex(3), &context)).contains("must begin with `http"));
}

#[test]
fn the_same_input_gives_the_same_output() {
    let workflow = read(EACH);
    let context = seen(json!({"names": ["a", "b"]}));
    assert_eq!(workflow.evaluate(NodeIndex(0), &context), workflow.evaluate(NodeIndex(0), &context));
}

#[test]
fn steps_ask_for_resources_in_every_form() {
    let asked = |asks: &str| -> Value {
        let workflow = read(&format!("name: x\nsteps:\n  s:\n    argv: [s]\n{asks}"));
        let made = task(workflow.evaluate(NodeIndex(0), &seen(json!({}))));
        json!([made.spec.resources, made.spec.release_while_retrying])
    };
    let lock = |name: &str| json!({"mode": "exclusive", "name": name});
    let whole = read("name: x\nlock: [db, rig]\nlicense: {sim: 2}\nsteps: {s: {action: noop}}\n").graph();
    assert_eq!(
        json!(whole.asks),
        json!([lock("db"), lock("rig"), {"mode": "counted", "name": "sim", "amount": 2}]),
        "what stands at the top is the run's"
    );
    assert_eq!(asked("    lock: db\n"), json!([[lock("db")], false]));
    assert_eq!(
        asked("    lock: [a, b]\n    shared: c\n    license: {sim: 2}\n    release_while_retrying: true\n"),
        json!([
            [lock("a"), lock("b"), {"mode": "shared", "name": "c"}, {"mode": "counted", "name": "sim", "amount": 2}],
            true
        ])
    );
    assert_eq!(
        asked("    license: [sim, cc]\n    device: phones\n"),
        json!([
            [
                {"mode": "counted", "name": "sim", "amount": 1},
                {"mode": "counted", "name": "cc", "amount": 1},
                {"mode": "unit", "name": "phones"}
            ],
            false
        ])
    );
    assert_eq!(
        asked("    device: [{of: phones, with: {model: x}}, {of: phones}, {with: {os: 14}}]\n"),
        json!([
            [
                {"mode": "unit", "name": "phones", "with": {"model": "x"}},
                {"mode": "unit", "name": "phones"},
                {"mode": "unit", "with": {"os": "14"}}
            ],
            false
        ])
    );
}

#[test]
fn steps_say_how_many_of_them_and_how_often() {
    let said = |text: &str| -> Value {
        let workflow = read(&format!("name: x\nsteps:\n  s:\n    argv: [s]\n{text}"));
        let made = task(workflow.evaluate(NodeIndex(0), &seen(json!({}))));
        json!([made.spec.concurrency, made.spec.rate])
    };
    assert_eq!(said("    concurrency: deploy\n"), json!([{"key": "deploy", "rule": {"at_most": 1}}, null]));
    for (rule, made) in [
        ("at_most: 3", json!({"at_most": 3})),
        ("newest_wins: true", json!("newest_wins")),
        ("drop: true", json!("drop")),
    ] {
        let text = format!("    concurrency: {{key: deploy, {rule}}}\n");
        assert_eq!(said(&text), json!([{"key": "deploy", "rule": made}, null]));
    }
    let rate = json!({"key": "mails", "count": 10, "per": "1m"});
    assert_eq!(said("    rate: {key: mails, count: 10, per: 1m}\n"), json!([null, rate]));
}
