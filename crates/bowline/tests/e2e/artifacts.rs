//! Artifacts: delivered while the job runs or at its end, before its end is known; going on after every cut;
//! stored once, checked when read, recorded where they cannot be kept, collected when nobody names them.

use std::path::PathBuf;
use std::time::Duration;

use bowline_api::NewTask;
use bowline_client::{Client, Write};
use bowline_core::id::TaskRef;
use bowline_core::state::{Phase, StateKind};

use crate::harness::net::{Relay, Way};
use crate::harness::parts::{Part, ServerPart, is_connected, runtime, worker};
use crate::harness::{Room, until};

pub(crate) fn shell(text: &str) -> NewTask {
    NewTask { shell: Some(text.to_owned()), ..NewTask::default() }
}

pub(crate) async fn submit(client: &Client, task: &NewTask) -> TaskRef {
    client.submit(task, &Write::default()).await.unwrap().id.unwrap()
}

pub(crate) async fn names(client: &Client, task: TaskRef) -> Vec<String> {
    let items = client.artifacts(task).await.unwrap().items;
    items.into_iter().map(|artifact| artifact.name).collect()
}

pub(crate) async fn bytes(client: &Client, task: TaskRef, name: &str) -> Vec<u8> {
    let mut stream = client.artifact(task, name, None).await.unwrap();
    let mut all = Vec::new();
    while let Some(piece) = stream.next().await.unwrap() {
        all.extend_from_slice(&piece);
    }
    all
}

fn one_worker(room: &Room, server: &ServerPart, url: &str, more: &[&str]) -> Part {
    let part = worker(room, "lab", (url, &server.token_file), &[], more);
    until("the worker is connected", || is_connected(&server.client(), "lab"));
    part
}

fn leave(room: &Room, server: ServerPart, worker: Part) {
    assert_eq!(worker.stop(), Some(0));
    assert_eq!(server.part.stop(), Some(0));
    room.stop_supervisor("lab");
}

/// The whole blobs in a server's store.
fn blobs(room: &Room) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in std::fs::read_dir(room.work().join("data/blobs")).unwrap().flatten() {
        if folder.file_name().len() == 2 {
            let files = std::fs::read_dir(folder.path()).unwrap().flatten().map(|file| file.path());
            found.extend(files.filter(|path| path.extension().is_none()));
        }
    }
    found
}

#[test]
fn artifacts_come_while_the_job_runs_and_at_its_end_once_for_the_same_bytes_and_never_damaged() {
    let room = Room::new();
    let server = ServerPart::start(&room, "127.0.0.1:0", &[]);
    let worker = one_worker(&room, &server, &server.url, &[]);
    let (client, rt) = (server.client(), runtime());
    let gate = room.work().join("gate");
    let script = format!(
        "head -c 3000000 /dev/zero | tr '\\0' z >large; mv large \"$BOWLINE_ARTIFACTS/early\"\n\
         mkdir \"$BOWLINE_ARTIFACTS/sub\"; echo text >\"$BOWLINE_ARTIFACTS/sub/late file\"; echo kept >a.txt\n\
         until test -e {gate}; do sleep 0.05; done\n",
        gate = gate.display()
    );
    let task = NewTask { artifacts: vec!["*.txt".to_owned()], ..shell(&script) };
    let first = rt.block_on(submit(&client, &task));
    until("what was moved into the folder is there, while the job runs", || {
        rt.block_on(async { names(&client, first).await }) == ["early"]
    });
    assert_eq!(rt.block_on(client.task(first)).unwrap().state, StateKind::Running);
    std::fs::write(&gate, b"").unwrap();
    let ended = rt.block_on(client.wait_task(first, None)).unwrap();
    assert_eq!(ended.state, StateKind::Succeeded);
    // All of them are there when the end is.
    assert_eq!(rt.block_on(names(&client, first)), ["a.txt", "early", "sub/late file"]);
    assert_eq!(rt.block_on(bytes(&client, first, "early")), vec![b'z'; 3_000_000]);
    let second = rt.block_on(async {
        let second = submit(&client, &task).await;
        assert_eq!(client.wait_task(second, None).await.unwrap().state, StateKind::Succeeded);
        second
    });
    assert_eq!(rt.block_on(names(&client, second)).len(), 3);
    assert_eq!(blobs(&room).len(), 3, "the same bytes are stored once");
    let token = server.token_file.to_str().unwrap();
    let at = ["--server", &server.url, "--token-file", token];
    let id = first.to_string();
    let args = [&["task", "artifacts", &id, "--out", "out"][..], &at].concat();
    room.good(&args);
    assert_eq!(std::fs::read_to_string(room.work().join("out/sub/late file")).unwrap(), "text\n");
    // A byte flips on the server's disk.
    let large = blobs(&room).into_iter().find(|path| path.metadata().unwrap().len() == 3_000_000).unwrap();
    let mut flipped = std::fs::read(&large).unwrap();
    flipped[2_900_000] ^= 1;
    std::fs::write(&large, flipped).unwrap();
    let ran = room.run(&args);
    assert_ne!(ran.status, Some(0));
    let hex = large.file_name().unwrap().to_str().unwrap();
    let ran = room.run(&args);
    assert!(ran.stderr.contains(hex) && ran.stderr.contains("damaged"), "{}", ran.stderr);
    // The same bytes come again, and are whole for both.
    rt.block_on(async {
        let third = submit(&client, &task).await;
        client.wait_task(third, None).await.unwrap();
    });
    room.good(&args);
    leave(&room, server, worker);
}

#[test]
fn an_upload_goes_on_through_cuts_and_restarts_of_either_side() {
    const BYTES: usize = 40_000_000;
    let room = Room::new();
    let server = ServerPart::start(&room, "127.0.0.1:0", &[]);
    let listen = server.address().to_owned();
    let relay = Relay::to(&listen);
    let first = one_worker(&room, &server, &relay.url(), &[]);
    let (client, rt) = (server.client().with_patience(Duration::from_mins(1)), runtime());
    relay.cut_after(Way::Up, 9_000_000);
    let script = format!(
        "seq 1 100000000 | head -c {BYTES} >\"$BOWLINE_ARTIFACTS/large\"; (cksum <\"$BOWLINE_ARTIFACTS/large\") >\"$BOWLINE_OUTPUT.x\"; echo made"
    );
    let task = rt.block_on(submit(&client, &shell(&script)));
    until("it is being uploaded, and said to be", || {
        rt.block_on(client.task(task)).is_ok_and(|task| task.phase == Some(Phase::Uploading)) || relay.cuts() > 0
    });
    until("the first cut was made", || relay.cuts() == 1);
    relay.cut_after(Way::Up, 9_000_000);
    until("the second cut was made", || relay.cuts() == 2);
    let come = || {
        let incoming = std::fs::read_dir(room.work().join("data/blobs/incoming")).unwrap().flatten();
        incoming.filter_map(|file| file.metadata().ok()).map(|metadata| metadata.len()).max().unwrap_or(0)
    };
    assert!(come() > 0, "what has come stays");
    relay.cut_after(Way::Up, 6_000_000);
    first.kill();
    server.part.kill();
    let kept = come();
    let server = ServerPart::start(&room, &listen, &[]);
    assert!(come() == kept && kept > 0, "it stays across a restart");
    let second = worker(&room, "lab", (&relay.url(), &server.token_file), &[], &[]);
    let ended = rt.block_on(client.wait_task(task, None)).unwrap();
    assert_eq!((ended.state, ended.attempt, ended.phase), (StateKind::Succeeded, 1, None));
    let whole = rt.block_on(bytes(&client, task, "large"));
    let expected: Vec<u8> = (1..).flat_map(|number: u32| format!("{number}\n").into_bytes()).take(BYTES).collect();
    assert!(whole == expected, "{} bytes came", whole.len());
    leave(&room, server, second);
}

#[test]
fn many_small_files_go_together_and_each_of_them_comes_whatever_is_cut() {
    const FILES: usize = 700;
    let room = Room::new();
    let server = ServerPart::start(&room, "127.0.0.1:0", &[]);
    let relay = Relay::to(server.address());
    let worker = one_worker(&room, &server, &relay.url(), &[]);
    let (client, rt) = (server.client(), runtime());
    let script = format!(
        "cd \"$BOWLINE_ARTIFACTS\" && for n in $(seq {FILES}); do (echo $n; seq 1000) >$n; done; \
         cp 7 same; : >empty; head -c 100000 /dev/zero >large"
    );
    // The second one's connections are cut in the middle of what goes together.
    for cut in [None, Some(1_000_000)] {
        if let Some(bytes) = cut {
            relay.cut_after(Way::Up, bytes);
        }
        let task = rt.block_on(submit(&client, &shell(&script)));
        assert_eq!(rt.block_on(client.wait_task(task, None)).unwrap().state, StateKind::Succeeded);
        assert_eq!(rt.block_on(names(&client, task)).len(), FILES + 3);
        let (token, id) = (server.token_file.to_str().unwrap(), task.to_string());
        room.good(&["task", "artifacts", &id, "--out", &id, "--server", &server.url, "--token-file", token]);
        let out = room.work().join(&id);
        let numbers = (1..=1000).fold(String::new(), |text, number| text + &format!("{number}\n"));
        for number in 1..=FILES {
            let text = std::fs::read_to_string(out.join(number.to_string())).unwrap();
            assert_eq!(text, format!("{number}\n{numbers}"));
        }
        assert_eq!(std::fs::read(out.join("same")).unwrap(), std::fs::read(out.join("7")).unwrap());
        assert_eq!(std::fs::read(out.join("empty")).unwrap(), b"");
        assert_eq!(std::fs::read(out.join("large")).unwrap(), vec![0; 100_000]);
        let taken = blobs(&room);
        assert_eq!(taken.len(), FILES + 2, "the same bytes are stored once");
        for blob in taken {
            std::fs::remove_file(blob).unwrap();
        }
    }
    assert_eq!(relay.cuts(), 1);
    leave(&room, server, worker);
}

#[test]
fn what_cannot_be_kept_is_recorded_and_holds_nothing_back() {
    let room = Room::new();
    let server = ServerPart::start_with(&room, "127.0.0.1:0", &[], &["--artifact-max", "1MiB"]);
    let worker = one_worker(&room, &server, &server.url, &[]);
    let (client, rt) = (server.client(), runtime());
    let script = "head -c 2000000 /dev/zero >\"$BOWLINE_ARTIFACTS/huge\"; echo s >\"$BOWLINE_ARTIFACTS/small\"";
    rt.block_on(async {
        let task = submit(&client, &shell(script)).await;
        assert_eq!(client.wait_task(task, None).await.unwrap().state, StateKind::Succeeded);
        assert_eq!(names(&client, task).await, ["small"]);
        let history = client.history(task, &bowline_api::PageQuery::default()).await.unwrap().items;
        let told = history.iter().find(|line| line.what == "artifact_undelivered").unwrap();
        assert!(told.reason.contains("huge") && told.reason.contains("1048576 bytes"), "{}", told.reason);
    });
    leave(&room, server, worker);
}

#[test]
fn blobs_are_collected_when_nobody_names_them_and_never_before() {
    let room = Room::new();
    let keep = ["--keep-blobs", "1s"];
    let server = ServerPart::start_with(&room, "127.0.0.1:0", &[], &keep);
    let listen = server.address().to_owned();
    let worker = one_worker(&room, &server, &server.url, &[]);
    let (client, rt) = (server.client().with_patience(Duration::from_mins(1)), runtime());
    let make = |what: &str| {
        rt.block_on(async {
            let task = submit(&client, &shell(&format!("echo {what} >\"$BOWLINE_ARTIFACTS/file\""))).await;
            assert_eq!(client.wait_task(task, None).await.unwrap().state, StateKind::Succeeded);
            task
        })
    };
    let delete = |task: TaskRef| {
        let verb = bowline_api::TaskVerbName::Delete;
        rt.block_on(client.task_verb(task, verb, None)).unwrap();
    };
    let (shared, same, other) = (make("shared"), make("shared"), make("other"));
    assert_eq!(blobs(&room).len(), 2);
    // Uploaded and never named; half uploaded: as a crash leaves them.
    let orphan = |folder: &str, text: &str| {
        let hex = bowline_digest(text);
        let folder = room.work().join("data/blobs").join(if folder.is_empty() { &hex[..2] } else { folder });
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(&hex), text).unwrap();
        folder.join(hex)
    };
    let orphans = [orphan("", "nobody names this"), orphan("incoming", "half")];
    delete(same);
    // Killed at any moment, and back.
    server.part.kill();
    let server = ServerPart::start_with(&room, &listen, &[], &keep);
    until("what nobody names is collected", || orphans.iter().all(|path| !path.exists()));
    assert_eq!(blobs(&room).len(), 2, "what is named stays, also where one of two names is gone");
    assert_eq!(rt.block_on(bytes(&client, shared, "file")), b"shared\n");
    delete(shared);
    until("the last name is gone, and the blob with it", || blobs(&room).len() == 1);
    assert_eq!(rt.block_on(bytes(&client, other, "file")), b"other\n");
    leave(&room, server, worker);
}

fn bowline_digest(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex().to_string()
}

/// Where the blob of one artifact lies.
fn blob_of(room: &Room, client: &Client, task: TaskRef, name: &str) -> PathBuf {
    let items = runtime().block_on(client.artifacts(task)).unwrap().items;
    let digest = &items.iter().find(|artifact| artifact.name == name).unwrap().digest;
    room.work().join("data/blobs").join(&digest[..2]).join(digest)
}

#[test]
fn what_is_damaged_or_gone_is_named_by_a_check_and_keeps_nothing_else_from_being_fetched() {
    let room = Room::new();
    let server = ServerPart::start(&room, "127.0.0.1:0", &[]);
    let url = server.url.clone();
    let part = one_worker(&room, &server, &url, &[]);
    let client = server.client();
    let odd = "a b%20?#&\n\té+";
    let task = shell(
        "cd $BOWLINE_ARTIFACTS; for i in bad gone good; do echo $i > $i; done; printf odd > \"$(printf 'a b%%20?#&\\n\\té+')\"",
    );
    let id = runtime().block_on(submit(&client, &task));
    until("it has ended", || runtime().block_on(client.task(id)).unwrap().state == StateKind::Succeeded);
    let (id_text, data, out) = (id.to_string(), room.work().join("data"), room.work().join("out"));
    let check = || room.run(&["server", "check", "--data", data.to_str().unwrap()]);
    let fetch = || {
        let with = ["--server", &url, "--token-file", server.token_file.to_str().unwrap()];
        let args = ["task", "artifacts", &id_text, "--out", out.to_str().unwrap()];
        room.run(&[&args[..], &with].concat())
    };
    assert_eq!(check().status, Some(0), "{:?}", check());
    assert_eq!(fetch().status, Some(0), "{:?}", fetch());
    assert_eq!(std::fs::read_to_string(out.join(odd)).unwrap(), "odd");
    std::fs::remove_dir_all(&out).unwrap();
    std::fs::write(blob_of(&room, &client, id, "bad"), "bed\n").unwrap();
    std::fs::remove_file(blob_of(&room, &client, id, "gone")).unwrap();
    for _ in 0..2 {
        // Once before it was read and put aside, and once after.
        let checked = check();
        assert_eq!(checked.status, Some(1), "{checked:?}");
        for (name, what) in [("bad", "damaged"), ("gone", "gone")] {
            let line = checked.stdout.lines().find(|line| line.contains(&format!("`{name}` of task {id}, attempt 1 ")));
            assert!(line.is_some_and(|line| line.ends_with(&format!("are {what}."))), "{checked:?}");
        }
        assert_eq!(checked.stdout.lines().count(), 2, "{checked:?}");
        let fetched = fetch();
        assert_eq!(fetched.status, Some(1), "{fetched:?}");
        assert!(fetched.stderr.contains("`bad`") && fetched.stderr.contains("`gone`"), "{fetched:?}");
        assert_eq!(std::fs::read_to_string(out.join("good")).unwrap(), "good\n");
        assert_eq!(std::fs::read_to_string(out.join(odd)).unwrap(), "odd");
        assert!(!out.join("bad").exists() && !out.join("gone").exists());
    }
    leave(&room, server, part);
}
