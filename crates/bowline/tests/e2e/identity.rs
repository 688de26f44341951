//! Who acts under which identity: never two that act, nothing taken over while it may live elsewhere.

use std::path::PathBuf;

use bowline_api::NewTask;
use bowline_core::id::TaskRef;
use bowline_core::spec::Overlap;
use bowline_core::state::{AttemptEnd, StateKind};
use rustix::process::Signal;

use crate::harness::fleet::Fleet;
use crate::harness::parts::{Part, runtime, said};
use crate::harness::until;

const RELEASE: [&str; 4] = ["--slots", "1", "--on-term", "release"];

/// Another state folder with the same key: as when a machine is set up anew from a copy.
fn with_its_key(fleet: &Fleet, from: &str, to: &str) {
    let (from, to) = (fleet.room.work().join(from), fleet.room.work().join(to));
    std::fs::create_dir(&to).unwrap();
    for name in ["key", "server"] {
        std::fs::copy(from.join(name), to.join(name)).unwrap();
    }
}

#[test]
fn the_process_that_came_later_acts_and_the_one_that_stood_still_is_fenced_off() {
    let fleet = Fleet::new();
    let old = fleet.worker("lab", &RELEASE);
    let gate = fleet.gate("gate");
    let id = fleet.submit(&fleet.gated(&gate));
    until("the job has begun", || fleet.marks("begun") == 1);
    fleet.is(id, StateKind::Running);
    old.signal(Signal::STOP);
    fleet.is(id, StateKind::Ready);
    with_its_key(&fleet, "lab", "again");
    let new = fleet.start("again", &[&["--identity", "lab", "--state", "again"], &RELEASE[..]].concat());
    until("the second process has taken over", || fleet.show("lab").incarnation == 2);
    until("it has begun again", || fleet.marks("begun") == 2);
    old.signal(Signal::CONT);
    assert_eq!(old.ended(), Some(70), "fenced: {}", said(&fleet.room, "lab"));
    std::fs::write(&gate, "").unwrap();
    fleet.ends_as(id, StateKind::Succeeded);
    assert_eq!(fleet.marks("ended"), 1, "what was fenced off was stopped");
    assert_eq!(fleet.ends(id).last(), Some(&Some(AttemptEnd::Succeeded)));
    fleet.over(vec![new]);
}

/// A worker `lab` with a running job that must not run beside another one, its gate, and another folder with the worker's key.
fn has_begun_and_may_not_overlap(fleet: &Fleet) -> (Part, PathBuf, TaskRef) {
    let old = fleet.worker("lab", &RELEASE);
    let gate = fleet.gate("gate");
    let id = fleet.submit(&NewTask { overlap: Some(Overlap::Forbid), ..fleet.gated(&gate) });
    until("the job has begun", || fleet.marks("begun") == 1);
    fleet.is(id, StateKind::Running);
    with_its_key(fleet, "lab", "again");
    (old, gate, id)
}

#[test]
fn another_state_folder_waits_for_what_may_live_until_it_is_said_that_it_does_not() {
    let fleet = Fleet::new();
    let (old, gate, id) = has_begun_and_may_not_overlap(&fleet);
    fleet.destroy(old, "lab");
    let again = [&["--identity", "lab", "--state", "again"], &RELEASE[..]].concat();
    let waits = fleet.start("waits", &again);
    until("it is told what is in its way", || {
        said(&fleet.room, "waits").contains("live on in another state directory")
    });
    assert!(said(&fleet.room, "waits").contains(&format!("{id}#1")), "{}", said(&fleet.room, "waits"));
    assert_eq!((fleet.task(id).state, fleet.show("lab").incarnation), (StateKind::Running, 1));
    assert_eq!(waits.stop(), Some(0));
    let new = fleet.start("takes", &[&again[..], &["--left", "release"]].concat());
    until("it has begun again", || fleet.marks("begun") == 2);
    std::fs::write(&gate, "").unwrap();
    fleet.ends_as(id, StateKind::Succeeded);
    assert_eq!(fleet.ends(id), [Some(AttemptEnd::Released), Some(AttemptEnd::Succeeded)]);
    fleet.over(vec![new]);
}

#[test]
fn a_job_that_runs_goes_on_under_another_state_folder_that_reaches_its_supervisor() {
    let fleet = Fleet::new();
    let hand_over = ["--slots", "1", "--on-term", "handoff"];
    let old = fleet.worker("lab", &hand_over);
    let gate = fleet.gate("gate");
    let gated = fleet.gated(&gate);
    let script = format!(
        "i=0; while [ $i -lt 30 ]; do echo line $i; i=$((i+1)); sleep 0.02; done\n{}echo moved >\"$BOWLINE_ARTIFACTS/file\"\n\
         echo \"who=$BOWLINE_WORKER\" >\"$BOWLINE_OUTPUT\"\necho last line\n",
        gated.shell.as_deref().unwrap()
    );
    let task = NewTask { shell: Some(script), overlap: Some(Overlap::Forbid), ..gated };
    let id = fleet.submit(&task);
    fleet.is(id, StateKind::Running);
    let log = || fleet.log(id);
    until("it has said something", || log().lines().count() > 3);
    old.kill();
    // Its disk is at another place now, where it has no name yet; what runs has the old one still.
    let (was, is) = (fleet.room.work().join("lab"), fleet.room.work().join("moved"));
    std::fs::rename(&was, &is).unwrap();
    std::os::unix::fs::symlink(&is, &was).unwrap();
    std::fs::remove_file(is.join("id")).unwrap();
    let new = fleet.start("moved", &[&["--identity", "lab", "--state", "moved"], &hand_over[..]].concat());
    until("it has taken over", || fleet.is_connected("lab") && fleet.show("lab").incarnation == 2);
    until("it is told what was left", || {
        let told = said(&fleet.room, "moved");
        told.contains("Adopted") && told.contains(&format!("{id}"))
    });
    let told = said(&fleet.room, "moved");
    assert!(!told.contains("live on in another state directory"), "nothing is in its way: {told}");
    assert_eq!((fleet.task(id).state, fleet.show("lab").attempts.len()), (StateKind::Running, 1));
    std::fs::write(&gate, "").unwrap();
    let ended = fleet.ends_as(id, StateKind::Succeeded);
    assert_eq!(ended.result.unwrap()["who"], "lab");
    assert_eq!(fleet.ends(id), [Some(AttemptEnd::Succeeded)]);
    assert_eq!((fleet.marks("begun"), fleet.marks("ended")), (1, 1));
    let ends = fleet.history(id).iter().filter(|what| *what == "succeeded").count();
    assert_eq!(ends, 1, "its result arrives once");
    let lines = (0..30).map(|line| format!("line {line}")).chain(["last line".to_owned()]).collect::<Vec<_>>();
    until("its output is whole", || log().ends_with("last line\n"));
    assert_eq!(log().lines().collect::<Vec<_>>(), lines);
    let files = runtime().block_on(fleet.client.artifacts(id)).unwrap().items;
    assert_eq!(files.iter().map(|file| file.name.as_str()).collect::<Vec<_>>(), ["file"]);
    assert_eq!(new.stop(), Some(0));
    fleet.room.stop_supervisor("lab");
    fleet.room.stop_supervisor("moved");
    fleet.over(vec![]);
}

#[test]
fn another_state_folder_gets_in_when_what_ran_in_the_first_has_ended_there() {
    let fleet = Fleet::new();
    let (old, gate, id) = has_begun_and_may_not_overlap(&fleet);
    let new = fleet.start("again", &[&["--identity", "lab", "--state", "again"], &RELEASE[..]].concat());
    until("it is told what is in its way", || {
        said(&fleet.room, "again").contains("live on in another state directory")
    });
    assert_eq!((fleet.task(id).state, fleet.show("lab").incarnation), (StateKind::Running, 1));
    std::fs::write(&gate, "").unwrap();
    // It ends where it ran, and only then is the first one sent away.
    fleet.ends_as(id, StateKind::Succeeded);
    assert_eq!(old.ended(), Some(70), "fenced: {}", said(&fleet.room, "lab"));
    until("the newcomer has the identity", || fleet.is_connected("lab") && fleet.show("lab").incarnation == 2);
    assert_eq!(fleet.ends(id), [Some(AttemptEnd::Succeeded)]);
    let more = fleet.submit(&fleet.gated(&gate));
    fleet.ends_as(more, StateKind::Succeeded);
    assert_eq!((fleet.marks("begun"), fleet.marks("ended")), (2, 2));
    fleet.over(vec![new]);
}

#[test]
fn what_another_state_folder_left_fails_where_its_successor_says_so() {
    let fleet = Fleet::new();
    let (old, gate, id) = has_begun_and_may_not_overlap(&fleet);
    fleet.destroy(old, "lab");
    // It waits unless it is told otherwise, and says so either way.
    let args = [&["--identity", "lab", "--state", "again"], &RELEASE[..]].concat();
    let waits = fleet.start("waits", &[&args[..], &["--left", "wait"]].concat());
    until("it is told what is in its way", || {
        said(&fleet.room, "waits").contains("live on in another state directory")
    });
    assert_eq!((fleet.task(id).state, fleet.show("lab").incarnation), (StateKind::Running, 1));
    assert_eq!(waits.stop(), Some(0));
    let new = fleet.start("takes", &[&args[..], &["--left", "fail"]].concat());
    fleet.ends_as(id, StateKind::Failed);
    assert_eq!(fleet.marks("begun"), 1, "it is not run again");
    assert_eq!((fleet.ends(id).len(), fleet.show("lab").incarnation), (1, 2));
    let more = fleet.submit(&fleet.gated(&gate));
    std::fs::write(&gate, "").unwrap();
    fleet.ends_as(more, StateKind::Succeeded);
    fleet.over(vec![new]);
}

#[test]
fn a_pool_gives_out_its_identities_by_turns_and_its_token_opens_nothing_else() {
    let fleet = Fleet::new();
    let at = ["--server", &fleet.server.url, "--token-file", fleet.server.token_file.to_str().unwrap()];
    fleet.room.good(&[&at[..], &["token", "create", "--enrol", "--pool", "lab", "--out", "lab.token"]].concat());
    let token = fleet.room.work().join("lab.token");
    let start = |state: &str, who: [&str; 2]| {
        let server = ["worker", "start", "--server", &fleet.server.url, "--token-file", token.to_str().unwrap()];
        let mut command = fleet.room.command(&[&server[..], &who, &["--state", state], &RELEASE[..]].concat());
        command.stdout(std::process::Stdio::null());
        Part::start(&fleet.room, state, command)
    };
    let pool = ["--pool", "lab"];
    let first = start("one", pool);
    until("the first has an identity", || fleet.is_connected("lab-1"));
    let second = start("two", pool);
    until("the second has another", || fleet.is_connected("lab-2"));
    assert_eq!(fleet.show("lab-1").pool.as_deref(), Some("lab"));
    let name =
        NewTask { shell: Some("echo \"who=$BOWLINE_WORKER\" >\"$BOWLINE_OUTPUT\"".to_owned()), ..NewTask::default() };
    let who = fleet.ends_as(fleet.submit(&name), StateKind::Succeeded).result.unwrap()["who"].clone();
    assert!(who == "lab-1" || who == "lab-2", "{who}");
    assert_eq!(first.stop(), Some(0));
    until("it has left", || !fleet.is_connected("lab-1"));
    let third = start("three", pool);
    until("the third has the one that is free", || fleet.is_connected("lab-1"));
    assert_eq!(fleet.show("lab-1").incarnation, 2);
    let stranger = start("four", ["--identity", "stranger"]);
    assert_ne!(stranger.ended(), Some(0));
    assert!(said(&fleet.room, "four").contains("pool lab alone"), "{}", said(&fleet.room, "four"));
    assert!(runtime().block_on(fleet.client.worker("stranger")).is_err());
    // The folder is of the pool, whatever identity it was given.
    assert_eq!(second.stop(), Some(0));
    for other in ["lab-2", "lab"] {
        assert_eq!(start("two", ["--identity", other]).ended(), Some(5), "{}", said(&fleet.room, "two"));
    }
    assert!(said(&fleet.room, "two").contains("start it with `--pool lab`"), "{}", said(&fleet.room, "two"));
    assert!(runtime().block_on(fleet.client.worker("lab")).is_err());
    let second = start("two", pool);
    until("it has its identity again, and says so", || {
        fleet.is_connected("lab-2") && said(&fleet.room, "two").contains("worker `lab-2` of pool `lab`, for http")
    });
    fleet.over(vec![second, third]);
}

#[test]
fn who_finds_the_state_folder_in_use_says_at_once_whom_it_waits_for() {
    let fleet = Fleet::new();
    let first = fleet.worker("lab", &RELEASE);
    let next = fleet.start("next", &[&["--identity", "lab", "--state", "lab"], &RELEASE[..]].concat());
    let pid = first.pid().as_raw_nonzero();
    until("it says so", || said(&fleet.room, "next").contains(&format!("waiting for process {pid} to leave")));
    assert_eq!(first.stop(), Some(0));
    until("it has taken over", || fleet.is_connected("lab") && fleet.show("lab").incarnation == 2);
    fleet.over(vec![next]);
}
