//! The exit status that a task's end stands for.

use serde_json::json;

use super::*;

fn task(state: &str, outcome: &serde_json::Value) -> Task {
    let at = "2026-01-01T00:00:00Z";
    serde_json::from_value(json!({
        "id": "1", "namespace": "default", "name": null, "labels": {}, "state": state, "since": at, "phase": null,
        "round": 1, "attempt": 1, "action": "command", "worker": null, "priority": 0, "ticket": 1,
        "created_by": "x", "submitted_at": at, "ready_at": null, "started_at": null, "ended_at": null,
        "outcome": outcome, "requires": [], "slots": 1, "amounts": {}, "resources": [], "depends_on": [],
        "timeouts": {}, "retry": {}, "failures": 0, "losses": 0, "on_worker_loss": "rerun", "overlap": null,
        "lost_after": null, "stop_after": null, "run": null, "step": null, "result": null,
    }))
    .unwrap()
}

#[test]
fn a_task_ends_with_its_commands_status() {
    let of = |state, outcome| status_of(&task(state, &outcome));
    assert_eq!(of("succeeded", json!({"kind": "succeeded"})), Exit::GOOD);
    assert_eq!(of("failed", json!({"kind": "error", "exit_status": 7})), Exit(7));
    assert_eq!(of("failed", json!({"kind": "error", "signal": 9})), Exit(137));
    assert_eq!(of("failed", json!({"kind": "error", "exit_status": 0})), Exit::BOWLINE);
    assert_eq!(of("failed", json!({"kind": "timeout", "which": "run"})), Exit::BOWLINE);
    assert_eq!(of("cancelled", json!({"kind": "cancelled"})), Exit::BOWLINE);
    assert_eq!(of("skipped", json!(null)), Exit::BOWLINE);
}
