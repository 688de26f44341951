//! Runs, over the API: mistakes of a file, a run from start to end, and what is known of its workflow.

use bowline_client::Write;
use bowline_client::api::{NewRun, PageQuery, StepState};
use bowline_core::id::RunId;
use serde_json::Map;

use crate::support::{House, soon};

fn run(workflow: &str) -> NewRun {
    NewRun {
        workflow: workflow.to_owned(),
        file: Some("nap.yaml".to_owned()),
        inputs: Map::new(),
        resources: Vec::new(),
        strict: None,
    }
}

const NAP: &str = "name: nap\nsteps:\n  first:\n    action: sleep\n    with: {for: 10ms}\n  second:\n    needs: [first]\n    action: sleep\n    with: {for: 10ms}\n";

#[tokio::test]
async fn a_run_goes_to_its_end_and_its_workflow_is_known() {
    let house = House::new().await;
    let client = house.client();
    let write = Write { key: Some("once".to_owned()), dry_run: false, strict: false };
    let started = client.start_run(&run(NAP), &write).await.unwrap();
    let again = client.start_run(&run(NAP), &write).await.unwrap();
    assert_eq!((&again.id, again.replayed), (&started.id, true));
    let id = RunId::parse(&started.id.unwrap()).unwrap();
    let ended = soon(client.wait_run(id, None)).await.unwrap();
    assert_eq!(ended.state, "succeeded", "{ended:?}");
    assert!(ended.steps.iter().all(|step| step.state == StepState::Succeeded), "{ended:?}");
    assert_eq!(ended.progress.map(|progress| (progress.total, progress.succeeded)), Some((2, 2)));
    let known = client.workflows(&PageQuery::default()).await.unwrap();
    assert_eq!(known.items.len(), 1);
    assert_eq!(client.workflow("nap").await.unwrap().source.as_deref(), Some(NAP));
    house.server.shutdown().await;
}

#[tokio::test]
async fn all_mistakes_of_a_file_come_back_with_their_places() {
    let house = House::new().await;
    let wrong = "name: nap\nsteps:\n  first:\n    action: slep\n    nedes: [second]\n";
    let error = house.client().start_run(&run(wrong), &Write::default()).await.unwrap_err();
    let error = error.api().unwrap();
    assert_eq!((error.status, error.code.as_str()), (400, "invalid"));
    assert!(error.mistakes.len() >= 2, "{error:?}");
    assert!(error.mistakes.iter().all(|mistake| mistake.line.is_some() && mistake.rendered.is_some()), "{error:?}");
    house.server.shutdown().await;
}
