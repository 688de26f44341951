//! A server that has no room for logs: whatever they come to, each result is recorded as it was, at once; and once there is
//! room, the logs are there as a whole.

use bowline_core::id::TaskRef;
use bowline_core::state::StateKind;

use crate::harness::parts::{ServerPart, is_connected, runtime, said, worker};
use crate::harness::small::SmallDisk;
use crate::harness::{Room, until};

/// More than the small disk holds beside what fills it.
const LINES: usize = 20_000;

#[test]
fn without_room_for_logs_every_result_is_recorded_as_it_was_and_the_logs_follow() {
    let room = Room::new();
    let data = room.work().join("data");
    std::fs::create_dir(&data).unwrap();
    // Logs alone are on the small disk: the store, and whatever is acknowledged, has room.
    let Some(disk) = SmallDisk::mount(&data.join("logs"), 8) else {
        return anstream::eprintln!("nothing can be mounted here: not tried");
    };
    let server = ServerPart::start(&room, "127.0.0.1:0", &[]);
    let client = server.client();
    let part = worker(&room, "w", (&server.url, &server.token_file), &[], &["--slots", "2"]);
    until("the worker is connected", || is_connected(&client, "w"));
    disk.fill();
    let token = server.token_file.to_str().unwrap();
    let submit = |script: &str| -> TaskRef {
        let args = ["submit", "--server", &server.url, "--token-file", token, "--quiet", "--", "sh", "-c", script];
        room.good(&args).trim().parse().unwrap()
    };
    let well = submit(&format!("seq 1 {LINES}; echo answer=42 >\"$BOWLINE_OUTPUT\""));
    let badly = submit(&format!("seq 1 {LINES}; exit 7"));
    let task = |id: TaskRef| runtime().block_on(client.task(id)).unwrap();
    until("both have ended", || [well, badly].iter().all(|id| task(*id).state.is_ended()));
    let (well_ended, badly_ended) = (task(well), task(badly));
    assert_eq!(well_ended.state, StateKind::Succeeded, "{well_ended:#?}");
    assert_eq!(badly_ended.state, StateKind::Failed, "{badly_ended:#?}");
    let shown =
        |id: TaskRef| room.good(&["task", "show", &id.to_string(), "--server", &server.url, "--token-file", token]);
    assert!(shown(well).contains("{\"answer\":\"42\"}"), "{}", shown(well));
    assert!(shown(badly).contains("exit status 7"), "{}", shown(badly));
    for id in [well, badly] {
        let attempts = runtime().block_on(client.attempts(id)).unwrap().items;
        assert_eq!(attempts.len(), 1, "{attempts:#?}");
    }
    assert!(is_connected(&client, "w"), "the worker is not to blame: {}", said(&room, "w"));
    disk.free();
    let whole = (1..=LINES).fold(String::new(), |text, line| text + &format!("{line}\n"));
    for id in [well, badly] {
        until("its log is there as a whole", || {
            let args = ["logs", &id.to_string(), "--server", &server.url, "--token-file", token];
            room.run(&args).stdout == whole
        });
    }
    assert_eq!(part.stop(), Some(0), "{}", said(&room, "w"));
    assert_eq!(server.part.stop(), Some(0));
    room.wait_empty();
    // Before the folder in which it is mounted.
    drop(disk);
}
