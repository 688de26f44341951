//! The examples in the repository check clean, and the census goes through a simulated run.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use bowline_core::id::{NodeIndex, RunId};
use bowline_core::input::{Evaluation, NewTask};
use bowline_core::run::{DueKind, NodeEnd};
use bowline_core::spec::{Action, Command, OutputFormat};
use bowline_core::state::{JobError, Outcome, StateKind};
use bowline_workflow::{Context, ElementView, StepView, Style, Workflow, check};
use serde_json::{Value, json};

fn read(name: &str) -> Workflow {
    let path = format!("{}/../../examples/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap();
    check(name, &text).unwrap_or_else(|found| {
        panic!("{}", found.iter().map(|one| one.render(name, &text, Style::Plain)).collect::<String>())
    })
}

fn task(evaluation: Evaluation) -> NewTask {
    match evaluation {
        Evaluation::Task(task) => *task,
        other => panic!("no task: {other:?}"),
    }
}

fn context(workflow: &Workflow, given: &[(&str, Value)]) -> Context {
    let given: BTreeMap<String, Value> =
        given.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    Context { run: RunId(7), inputs: workflow.inputs(&given).unwrap(), steps: BTreeMap::new() }
}

fn put(context: &mut Context, step: &str, view: StepView) {
    context.steps.insert(step.parse().unwrap(), view);
}

fn single(result: Value) -> StepView {
    StepView { end: NodeEnd::Succeeded, outcome: Some(Outcome::Succeeded), result: Some(result), elements: None }
}

fn array(results: Vec<Option<Value>>) -> StepView {
    let elements: Vec<ElementView> = results
        .into_iter()
        .enumerate()
        .map(|(index, result)| ElementView {
            index: u32::try_from(index).unwrap(),
            state: if result.is_some() { StateKind::Succeeded } else { StateKind::Failed },
            outcome: Some(match result {
                Some(_) => Outcome::Succeeded,
                None => {
                    Outcome::Error(JobError { exit_status: Some(3), signal: None, message: "exit status 3 <b>".into() })
                }
            }),
            result,
        })
        .collect();
    StepView { end: NodeEnd::Succeeded, outcome: Some(Outcome::Succeeded), result: None, elements: Some(elements) }
}

fn counted(numbers: [u64; 5], biggest: &str) -> Value {
    let mut row: Vec<String> = numbers.iter().map(|number| format!("{number:020}")).collect();
    row.push(biggest.to_owned());
    json!(row)
}

#[test]
fn all_examples_check_clean() {
    for entry in std::fs::read_dir(format!("{}/../../examples", env!("CARGO_MANIFEST_DIR"))).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.rsplit_once('.').is_some_and(|(_, end)| end == "yaml") {
            assert!(!read(&name).graph().nodes.is_empty(), "{name}");
        }
    }
}

#[test]
fn the_census_goes_through() {
    let census = read("census.yaml");
    let mut seen = context(&census, &[("root", json!("/srv/a \"b\""))]);
    let list = task(census.evaluate(NodeIndex(0), &seen));
    assert_eq!(list.spec.work.env["ROOT"], "/srv/a \"b\"");
    assert_eq!(list.spec.work.output, Some(OutputFormat::Nul));

    let names = ["", "plain", "two words", "new\nline", "$(rm -rf ~)", "<script>'\"&"];
    put(&mut seen, "list", single(json!(names)));
    assert_eq!(census.steps_read_by(DueKind::Node(NodeIndex(1))), [NodeIndex(0)]);
    let count = task(census.evaluate(NodeIndex(1), &seen));
    assert_eq!(count.spec.array.as_ref().unwrap().count, 6);
    for (place, name) in names.iter().enumerate() {
        assert_eq!(count.elements[place].env["NAME"], *name);
        assert_eq!(count.elements[place].env["PLACE"], place.to_string());
        let Action::Command(Command::Shell(text)) = &count.elements[place].action else { panic!("no script") };
        assert!(!text.contains("{{"));
    }

    let results = vec![
        Some(counted([1, 5, 10, 0, 10], "a")),
        Some(counted([2, 0, 9_000, 0, 8_000], "x/y")),
        Some(counted([0, 0, 0, 0, 0], "")),
        Some(counted([3, 1, 100, 2, 70], "</td><img src=x>")),
        None,
        Some(counted([1, 0, 7, 0, 7], "q\"\n")),
    ];
    put(&mut seen, "count", array(results));
    assert_eq!(census.steps_read_by(DueKind::Node(NodeIndex(2))), [NodeIndex(0), NodeIndex(1)]);
    let report = task(census.evaluate(NodeIndex(2), &seen));
    let files = &report.spec.work.files;
    let whole: Value = serde_json::from_str(&files["census.json"]).unwrap();
    assert_eq!(whole["bytes"], 9_117);
    assert_eq!(whole["failed"], 1);
    assert_eq!(whole["entries"][3]["name"], "new\nline");
    assert_eq!(whole["entries"][5]["biggest"]["path"], "q\"\n");
    assert_eq!(whole["entries"][4]["error"], "exit status 3 <b>");
    let html = &files["census.html"];
    assert!(!html.contains("<script") && !html.contains("<img") && !html.contains("<b>"), "{html}");
    assert!(html.contains("&lt;script&gt;&#39;&quot;&amp;") && html.contains("$(rm -rf ~)"));
    assert!(html.find("plain") < html.find("two words"), "the largest comes first");

    let totals: Value = serde_json::from_str(&files["totals.json"]).unwrap();
    assert_eq!(
        totals,
        json!({"root": "/srv/a \"b\"", "files": 7, "folders": 6, "bytes": 9117, "unreadable": 2, "tasks": 6, "failed": 1})
    );
    put(&mut seen, "report", single(totals.clone()));
    let Evaluation::Result(result) = census.result(&seen) else { panic!("no result") };
    assert_eq!(serde_json::from_str::<Value>(&result).unwrap(), totals);
    let files: Vec<_> = census.result_artifacts();
    assert_eq!(files, [(NodeIndex(2), "census.html".to_owned()), (NodeIndex(2), "census.json".to_owned())]);
}

#[test]
fn a_census_of_many_folders_is_still_rendered() {
    let census = read("census.yaml");
    let mut seen = context(&census, &[]);
    let names: Vec<String> = (0..5_000).map(|at| format!("folder number {at}")).collect();
    put(&mut seen, "list", single(json!(names)));
    put(
        &mut seen,
        "count",
        array((0..5_000).map(|at| Some(counted([at, 2, at * 1_000, 0, 9], "some/file.txt"))).collect()),
    );
    let report = task(census.evaluate(NodeIndex(2), &seen));
    let whole: Value = serde_json::from_str(&report.spec.work.files["census.json"]).unwrap();
    assert_eq!(whole["entries"].as_array().unwrap().len(), 5_000);
    assert!(report.spec.work.files["census.html"].contains("the 1000 largest of 5000"));
}
