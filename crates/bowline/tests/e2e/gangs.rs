//! Gangs: claimed together, with locks, barriers and values among their members, through deaths of members and of the
//! server.

use bowline_core::id::TaskRef;
use bowline_core::state::{AttemptEnd, StateKind};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::fleet::Fleet;
use crate::harness::parts::ServerPart;
use crate::harness::{Room, until};

fn fleet() -> Fleet {
    let room = Room::new();
    let server = ServerPart::start(&room, "127.0.0.1:0", &[]);
    let client = server.client();
    Fleet { room, server, client }
}

/// A member whose script has `gang` for `bowline gang`, and marks what happened by `mark`.
fn member(fleet: &Fleet, name: &str, script: &str) -> Value {
    let bowline = env!("CARGO_BIN_EXE_bowline");
    let marks = fleet.room.work().join("marks");
    let head = format!("gang() {{ {bowline} gang \"$@\"; }}; mark() {{ echo \"$@\" >>{}; }};", marks.display());
    json!({"name": name, "command": ["sh", "-c", format!("{head} {script}")]})
}

fn submit(fleet: &Fleet, members: &[Value], gang: &Value) -> Vec<TaskRef> {
    let file = fleet.room.write("gang.json", &json!({"tasks": members, "gang": gang}).to_string());
    let token = fleet.server.token_file.to_str().unwrap().to_owned();
    let said = fleet.room.good(&[
        "--server",
        &fleet.server.url,
        "--token-file",
        &token,
        "submit",
        "--quiet",
        "--gang",
        file.to_str().unwrap(),
    ]);
    said.lines().map(|id| id.trim().parse().unwrap()).collect()
}

fn marks(fleet: &Fleet) -> Vec<String> {
    let marks = std::fs::read_to_string(fleet.room.work().join("marks")).unwrap_or_default();
    marks.lines().map(str::to_owned).collect()
}

fn marked(fleet: &Fleet, mark: &str) {
    until(&format!("`{mark}` is marked"), || marks(fleet).iter().any(|one| one == mark));
}

/// Waits for its gate, which is opened by making this file.
fn gate(fleet: &Fleet, name: &str) -> String {
    format!("until test -e {}; do sleep 0.02; done;", fleet.gate(name).display())
}

#[test]
fn members_meet_at_barriers_and_tell_each_other_values() {
    let fleet = fleet();
    let worker = fleet.worker("lab", &["--slots", "2"]);
    let leader = member(&fleet, "leader", "gang set addr here:1; gang barrier ready; mark leader through");
    let other = member(&fleet, "other", "mark value $(gang wait addr); gang barrier ready; mark other through");
    let ids = submit(&fleet, &[leader, other], &json!({}));
    for id in &ids {
        fleet.ends_as(*id, StateKind::Succeeded);
    }
    let marks = marks(&fleet);
    assert_eq!(marks[0], "value here:1");
    assert!(marks.contains(&"leader through".to_owned()) && marks.contains(&"other through".to_owned()), "{marks:?}");
    fleet.over(vec![worker]);
}

#[test]
fn a_barrier_tells_of_a_member_that_died_and_its_lock_goes_to_the_next() {
    let fleet = fleet();
    let worker = fleet.worker("lab", &["--slots", "2"]);
    let dies = format!("gang lock m; mark has it; {} kill -9 $$", gate(&fleet, "die"));
    let lives = "until gang peers --json | grep -q running; do sleep 0.02; done; \
                 while ! grep -q 'has it' $MARKS; do sleep 0.02; done; \
                 gang lock m && mark next has it; gang barrier end; mark status $?";
    let lives = lives.replace("$MARKS", fleet.room.work().join("marks").to_str().unwrap());
    let members = [member(&fleet, "dies", &dies), member(&fleet, "lives", &lives)];
    let ids = submit(&fleet, &members, &json!({"on_lost": "continue"}));
    marked(&fleet, "has it");
    fleet.is(ids[1], StateKind::Running);
    assert!(!marks(&fleet).contains(&"next has it".to_owned()));
    std::fs::write(fleet.gate("die"), "").unwrap();
    fleet.ends_as(ids[0], StateKind::Failed);
    marked(&fleet, "next has it");
    fleet.ends_as(ids[1], StateKind::Succeeded);
    assert!(marks(&fleet).contains(&"status 5".to_owned()), "{:?}", marks(&fleet));
    assert!(fleet.log(ids[1]).contains("`dies`"), "{}", fleet.log(ids[1]));
    fleet.over(vec![worker]);
}

#[test]
fn waiting_for_a_lock_goes_on_when_the_server_is_killed() {
    let mut fleet = fleet();
    let worker = fleet.worker("lab", &["--slots", "2"]);
    let holds = format!("gang lock m; mark holds; {} gang unlock m", gate(&fleet, "give"));
    let marks_file = fleet.room.work().join("marks");
    let waits = format!(
        "while ! grep -q holds {}; do sleep 0.02; done; mark waits; gang lock m -- true; mark has had it",
        marks_file.display()
    );
    let ids = submit(&fleet, &[member(&fleet, "holds", &holds), member(&fleet, "waits", &waits)], &json!({}));
    marked(&fleet, "waits");
    let old = fleet.server.part.pid().as_raw_pid();
    fleet.server.part.signal(Signal::KILL);
    until("the server is gone", || fleet.room.processes().iter().all(|(pid, _)| *pid != old));
    let address = fleet.server.address().to_owned();
    let fresh = ServerPart::start(&fleet.room, &address, &[]);
    std::mem::replace(&mut fleet.server, fresh).part.kill();
    fleet.client = fleet.server.client();
    assert!(!marks(&fleet).contains(&"has had it".to_owned()), "who had the lock has it still");
    std::fs::write(fleet.gate("give"), "").unwrap();
    for id in &ids {
        fleet.ends_as(*id, StateKind::Succeeded);
    }
    assert!(marks(&fleet).contains(&"has had it".to_owned()));
    fleet.over(vec![worker]);
}

#[test]
fn distinct_members_and_two_gangs_that_each_need_both_workers() {
    let fleet = fleet();
    let one = fleet.worker("one", &["--slots", "1"]);
    let script = "mark $BOWLINE_TASK_ID on $BOWLINE_WORKER; gang barrier all";
    let members = [member(&fleet, "a", script), member(&fleet, "b", script)];
    let distinct = json!({"distinct": true});
    let first = submit(&fleet, &members, &distinct);
    let second = submit(&fleet, &members, &distinct);
    assert!(fleet.reasons(first[0]).iter().any(|reason| reason == "gang"), "{:?}", fleet.reasons(first[0]));
    let two = fleet.worker("two", &["--slots", "1"]);
    for id in first.iter().chain(&second) {
        fleet.ends_as(*id, StateKind::Succeeded);
    }
    let marks = marks(&fleet);
    let on = |id: &TaskRef| marks.iter().find(|mark| mark.starts_with(&format!("{id} on"))).unwrap().clone();
    let worker = |id: &TaskRef| on(id).rsplit(' ').next().unwrap().to_owned();
    assert_ne!(worker(&first[0]), worker(&first[1]));
    assert_ne!(worker(&second[0]), worker(&second[1]));
    fleet.over(vec![one, two]);
}

#[test]
fn all_run_again_together_when_a_member_is_lost() {
    let fleet = Fleet::new();
    let doomed = fleet.worker("doomed", &["--slots", "1"]);
    let two = fleet.worker("two", &["--slots", "1"]);
    let script = format!(
        "gang barrier all; mark begun $BOWLINE_TASK_ID on $BOWLINE_WORKER; {} mark done $BOWLINE_TASK_ID",
        gate(&fleet, "go")
    );
    // With nothing said about a loss.
    let ids = submit(&fleet, &[member(&fleet, "a", &script), member(&fleet, "b", &script)], &json!({"distinct": true}));
    let begun = |id: &TaskRef, worker: Option<&str>| {
        let head = format!("begun {id} on {}", worker.unwrap_or_default());
        marks(&fleet).iter().filter(|mark| mark.starts_with(&head)).count()
    };
    until("both have begun", || ids.iter().all(|id| begun(id, None) == 1));
    let lost = ids.iter().position(|id| begun(id, Some("doomed")) == 1).unwrap();
    fleet.destroy(doomed, "doomed");
    let three = fleet.worker("three", &["--slots", "1"]);
    until("both have begun again", || ids.iter().all(|id| begun(id, None) == 2));
    assert_eq!(begun(&ids[1 - lost], Some("doomed")), 0);
    std::fs::write(fleet.gate("go"), "").unwrap();
    for id in &ids {
        fleet.ends_as(*id, StateKind::Succeeded);
    }
    let ends = |id: TaskRef| fleet.ends(id);
    assert_eq!(ends(ids[lost]), [Some(AttemptEnd::Lost), Some(AttemptEnd::Succeeded)]);
    assert_eq!(ends(ids[1 - lost]), [Some(AttemptEnd::Released), Some(AttemptEnd::Succeeded)], "unharmed");
    assert_eq!(marks(&fleet).iter().filter(|mark| mark.starts_with("done")).count(), 2);
    fleet.over(vec![two, three]);
}
