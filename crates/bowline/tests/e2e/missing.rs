//! What a server does not have though it was told of it: asked for, sent again, and there before the task ends.

use std::path::Path;

use bowline_api::{NewTask, PageQuery};
use bowline_client::Client;
use bowline_core::id::TaskRef;
use bowline_core::state::StateKind;

use crate::artifacts::{bytes, names, shell, submit};
use crate::harness::net::Relay;
use crate::harness::parts::{Part, ServerPart, is_connected, runtime, said, worker};
use crate::harness::worked::{Work, waiting_in_outbox};
use crate::harness::{Room, until};

/// What the job of the first test leaves, by name.
const LEFT: [(&str, &str); 3] = [("a.txt", "of the folder\n"), ("early", "moved\n"), ("sub/late", "at the end\n")];

fn connected(room: &Room, client: &Client, url: &str, token: &Path) -> Part {
    let part = worker(room, "lab", (url, token), &[], &["--on-term", "handoff"]);
    until("the worker is connected", || is_connected(client, "lab"));
    part
}

fn words(client: &Client, id: TaskRef) -> Vec<String> {
    let page = runtime().block_on(client.history(id, &PageQuery::default())).unwrap();
    page.items.into_iter().map(|line| line.what).collect()
}

fn text(client: &Client, id: TaskRef, name: &str) -> String {
    String::from_utf8(runtime().block_on(bytes(client, id, name))).unwrap()
}

#[test]
fn files_that_the_server_lost_before_it_took_the_result_are_sent_again_and_there_at_the_end() {
    let room = Room::new();
    let mut server = ServerPart::start(&room, "127.0.0.1:0", &[]);
    let listen = server.address().to_owned();
    let client = server.client();
    // It enrols on a way of its own, so that uploads have no connection of before.
    assert_eq!(connected(&room, &client, &server.url, &server.token_file).stop(), Some(0));
    for is_worker_killed_too in [false, true] {
        let relay = Relay::to(&listen);
        let part = connected(&room, &client, &relay.url(), &server.token_file);
        let gate = room.work().join(format!("gate-{is_worker_killed_too}"));
        let script = format!(
            "until test -e '{gate}'; do sleep 0.05; done\necho moved >e; mv e \"$BOWLINE_ARTIFACTS/early\"\n\
             mkdir \"$BOWLINE_ARTIFACTS/sub\"; echo at the end >\"$BOWLINE_ARTIFACTS/sub/late\"\n\
             echo of the folder >a.txt\n",
            gate = gate.display()
        );
        let task = NewTask { artifacts: vec!["*.txt".to_owned()], ..shell(&script) };
        let id = runtime().block_on(submit(&client, &task));
        until("the job runs", || runtime().block_on(client.task(id)).unwrap().state == StateKind::Running);
        // What the worker says does not arrive any more; its uploads, on connections of their own, do.
        relay.stall_open();
        std::fs::write(&gate, "").unwrap();
        until("its files are uploaded, and its end waits to be taken", || waiting_in_outbox(&room, "lab") == 4);
        let part = if is_worker_killed_too {
            part.kill();
            None
        } else {
            Some(part)
        };
        server.part.kill();
        std::fs::remove_dir_all(room.work().join("data/blobs")).unwrap();
        server = ServerPart::start(&room, &listen, &[]);
        relay.reset();
        let again = || worker(&room, "lab", (&relay.url(), &server.token_file), &[], &["--on-term", "handoff"]);
        let part = part.unwrap_or_else(again);
        let ended = runtime().block_on(client.wait_task(id, None)).unwrap();
        assert_eq!((ended.state, ended.attempt), (StateKind::Succeeded, 1));
        // Not later than its end.
        assert_eq!(runtime().block_on(names(&client, id)), LEFT.map(|(name, _)| name));
        for (name, content) in LEFT {
            assert_eq!(text(&client, id, name), content, "{name}");
        }
        assert!(said(&room, "server").contains("asked for again"), "it had missed them");
        let words = words(&client, id);
        assert_eq!(words.iter().filter(|word| *word == "artifact").count(), 3, "each once: {words:?}");
        assert!(!words.contains(&"artifact_undelivered".to_owned()), "{words:?}");
        until("all is taken", || waiting_in_outbox(&room, "lab") == 0);
        assert_eq!(part.stop(), Some(0));
    }
    Work::of(&server).over(&room, server);
    room.stop_supervisor("lab");
}

#[test]
fn a_server_from_a_backup_of_before_the_upload_gets_the_files_and_the_log_of_what_still_runs() {
    let room = Room::new();
    let server = ServerPart::start(&room, "127.0.0.1:0", &[]);
    let listen = server.address().to_owned();
    let work = Work::of(&server);
    let part = connected(&room, &work.client, &server.url, &server.token_file);
    let gates = ["first", "second"].map(|name| room.work().join(name));
    let script = format!(
        "echo begun\nuntil test -e '{}'; do sleep 0.05; done\necho moved >e; mv e \"$BOWLINE_ARTIFACTS/early\"\n\
         echo between\nuntil test -e '{}'; do sleep 0.05; done\necho late >\"$BOWLINE_ARTIFACTS/late\"\necho ended\n",
        gates[0].display(),
        gates[1].display()
    );
    let id = work.one(shell(&script));
    work.until_state(id, StateKind::Running);
    until("its log has begun", || work.log(&room, id) == "begun\n");
    let file = room.work().join("backup.tar");
    let file = file.to_str().unwrap();
    work.good(&room, &["server", "backup", file]);
    // All of this is after the backup, and acknowledged.
    std::fs::write(&gates[0], "").unwrap();
    until("a file is there", || runtime().block_on(names(&work.client, id)) == ["early"]);
    until("and more of the log", || work.log(&room, id) == "begun\nbetween\n");
    until("the worker keeps nothing of it", || waiting_in_outbox(&room, "lab") == 0);
    assert_eq!(server.part.stop(), Some(0));
    // Its machine is gone; the backup had neither logs nor artifacts.
    let other = room.work().join("other");
    room.good(&["server", "restore", file, "--data", other.to_str().unwrap()]);
    let server = ServerPart::start_in(&room, "other", &listen);
    let work = Work::of(&server);
    work.until_connected("lab");
    assert_eq!(runtime().block_on(names(&work.client, id)), [""; 0]);
    std::fs::write(&gates[1], "").unwrap();
    let ended = runtime().block_on(work.client.wait_task(id, None)).unwrap();
    assert_eq!((ended.state, ended.attempt), (StateKind::Succeeded, 1));
    assert_eq!(runtime().block_on(names(&work.client, id)), ["early", "late"]);
    assert_eq!(["early", "late"].map(|name| text(&work.client, id, name)), ["moved\n", "late\n"]);
    until("its log is whole", || work.log(&room, id) == "begun\nbetween\nended\n");
    until("the worker has nothing left of it", || {
        std::fs::read_dir(room.work().join("lab/jobs")).unwrap().next().is_none()
    });
    assert_eq!(part.stop(), Some(0));
    work.over(&room, server);
    room.stop_supervisor("lab");
}
