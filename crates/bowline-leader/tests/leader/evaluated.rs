//! What is due is evaluated beside the writer, from what is durable; and due again after a failure.

use std::collections::BTreeMap;
use std::sync::Arc;

use bowline_core::answer::Answer;
use bowline_core::id::RunId;
use bowline_core::input::{Request, StartRun, Strict};
use bowline_core::name::Namespace;
use bowline_core::run::RunState;
use bowline_store::{ReadStore as _, RunDetail};

use crate::gated::Failure;
use crate::house::House;

const NAP: &str = r#"
name: nap
inputs:
  length: {type: string, default: 20ms}
steps:
  first:
    action: sleep
    with: {for: "{{ inputs.length }}"}
  second:
    needs: first
    action: sleep
    with: {for: 1ms}
result:
  first: "{{ steps.first.state }}"
"#;

fn start(text: &str) -> Request {
    let workflow = bowline_workflow::check("nap.yaml", text).unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
    let inputs = workflow.inputs(&BTreeMap::new()).unwrap();
    Request::StartRun(StartRun {
        namespace: Namespace::default(),
        workflow: workflow.name().clone(),
        source: Arc::from(text),
        inputs: Arc::from(inputs.to_string()),
        graph: Arc::new(workflow.graph()),
        key: None,
        strict: Strict::No,
    })
}

async fn started(house: &House, text: &str) -> RunId {
    match house.ask(start(text)).await {
        Ok(Answer::RunStarted { run, .. }) => run,
        other => panic!("unexpected {other:?}"),
    }
}

fn run(house: &House, run: RunId) -> RunDetail {
    house.store.run(run).unwrap().unwrap()
}

async fn ended(house: &House, id: RunId) -> RunDetail {
    house.until("the run ends", |house| run(house, id).row.state.is_ended()).await;
    run(house, id)
}

#[tokio::test]
async fn a_run_goes_from_step_to_step_and_leaves_its_result() {
    let house = House::new().await;
    let id = started(&house, NAP).await;
    let ended = ended(&house, id).await;
    assert_eq!(ended.row.state, RunState::Succeeded, "{:?}", ended.row.outcome);
    assert_eq!(ended.row.result.as_deref(), Some(r#"{"first":"succeeded"}"#));
    // Two nodes and the result.
    assert_eq!(house.leader.stats().evaluations, 3);
    house.task.shutdown().await;
}

#[tokio::test]
async fn what_is_due_is_due_again_after_a_failure() {
    let house = House::new().await;
    let id = started(&house, NAP).await;
    // The batch that takes the first evaluation's task, or one soon after it.
    house.gate.fail(Failure::Before);
    house.until("it failed", |house| house.leader.stats().failures == 1).await;
    let ended = ended(&house, id).await;
    assert_eq!(ended.row.state, RunState::Succeeded, "{:?}", ended.row.outcome);
    house.task.shutdown().await;
}

#[tokio::test]
async fn an_expression_that_fails_fails_its_step() {
    let house = House::new().await;
    let text = NAP.replace("default: 20ms", "default: soon");
    let id = started(&house, &text).await;
    let ended = ended(&house, id).await;
    assert_eq!(ended.row.state, RunState::Failed);
    house.task.shutdown().await;
}
