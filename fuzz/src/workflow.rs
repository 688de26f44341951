//! Workflow files and their expressions: read, checked, and evaluated a step or two.

use std::collections::BTreeMap;

use bowline_core::id::RunId;
use bowline_core::input::Evaluation;
use bowline_core::run::{DueKind, NodeEnd};
use bowline_core::spec::RESULT_BYTES_MAX;
use bowline_workflow::{Context, StepView, Style, Workflow, check as read};
use serde_json::{Value, json};

/// Most mistakes that are told of one file.
const MISTAKES_MAX: usize = 100;
/// Longest sentence about why an evaluation failed, in bytes.
const WHY_BYTES_MAX: usize = 4 << 10;
/// Steps that are evaluated.
const STEPS_MAX: usize = 4;

/// Reads text as a workflow file; what is one is evaluated.
pub fn file(text: &str) {
    match read("fuzz.yaml", text) {
        Ok(workflow) => evaluate(&workflow),
        Err(mistakes) => {
            assert!(!mistakes.is_empty() && mistakes.len() <= MISTAKES_MAX, "{} mistakes", mistakes.len());
            for mistake in mistakes {
                assert!(mistake.line >= 1 && mistake.column >= 1 && mistake.length >= 1, "{mistake:?}");
                assert!(mistake.line <= text.lines().count().max(1) + 1, "{mistake:?} lies behind the text");
                assert!(!mistake.message.is_empty() && mistake.render("fuzz.yaml", text, Style::Plain).ends_with('\n'));
            }
        }
    }
}

/// Puts text where a workflow may have expressions.
pub fn expression(text: &str) {
    let text = Value::from(text);
    let file = json!({
        "name": "fuzz",
        "inputs": {"a": 1, "list": [1, "two", null]},
        "steps": {
            "first": {"action": "noop"},
            "second": {"needs": ["first"], "for_each": [1, {"k": "v"}], "shell": text, "env": {"E": text}},
        },
        "result": text,
    });
    // JSON is YAML, and no text needs to be escaped in a way of its own.
    self::file(&file.to_string());
}

fn evaluate(workflow: &Workflow) {
    let graph = workflow.graph();
    let inputs = workflow.inputs(&BTreeMap::new()).unwrap_or_else(|_| json!({"a": 1, "b": "text", "list": [1, "x"]}));
    let result = json!({"a": [1, "x", null, {"b": 1.5e300}], "n": -7, "text": "<&\"'\u{fffd}\n", "list": ["1", "2"]});
    let view = StepView { end: NodeEnd::Succeeded, outcome: None, result: Some(result), elements: None };
    let steps = graph.nodes.iter().map(|node| (node.name.clone(), view.clone())).collect();
    let context = Context { run: RunId(12), inputs, steps };
    for at in 0..graph.nodes.len().min(STEPS_MAX) {
        let node = bowline_core::id::NodeIndex(u32::try_from(at).expect("few steps"));
        drop(workflow.steps_read_by(DueKind::Node(node)));
        let evaluation = workflow.evaluate(node, &context);
        assert_eq!(evaluation, workflow.evaluate(node, &context), "an evaluation gives the same again");
        bounded(&evaluation);
    }
    drop(workflow.steps_read_by(DueKind::Result));
    bounded(&workflow.result(&context));
}

fn bounded(evaluation: &Evaluation) {
    match evaluation {
        Evaluation::Task(task) => assert!(task.elements.len() <= bowline_workflow::FOR_EACH_ELEMENTS_MAX),
        Evaluation::Nothing => {}
        Evaluation::Result(json) => {
            assert!(json.len() <= RESULT_BYTES_MAX, "a result of {} bytes", json.len());
            serde_json::from_str::<Value>(json).expect("a result is JSON");
        }
        Evaluation::Failed(error) => {
            assert!(!error.message.is_empty() && error.message.len() <= WHY_BYTES_MAX, "{} bytes", error.message.len());
        }
    }
}
