//! What needs no server.

use crate::harness::Room;

#[test]
fn help_and_version_end_well_and_wrong_usage_with_2() {
    let room = Room::new();
    assert!(room.good(&["--help"]).contains("bowline up"));
    assert!(room.good(&["submit", "--help"]).contains("Examples:"));
    assert!(room.good(&["--version"]).contains(env!("CARGO_PKG_VERSION")));
    let ran = room.run(&["sbumit"]);
    assert_eq!(ran.status, Some(2));
    assert!(ran.stderr.contains("submit"), "{}", ran.stderr);
    assert_eq!(room.run(&["cancel"]).status, Some(2));
    assert_eq!(room.run(&["logs", "x12"]).status, Some(2));
}

#[test]
fn a_server_that_is_not_there_is_4_and_says_what_to_do() {
    let room = Room::new();
    let ran = room.run(&["status", "--server", "http://127.0.0.1:1"]);
    assert_eq!(ran.status, Some(4), "{}", ran.stderr);
    assert!(ran.stderr.contains("127.0.0.1:1") && ran.stderr.contains("bowline up"), "{}", ran.stderr);
}

#[test]
fn a_workflow_with_mistakes_shows_all_of_them_with_their_places() {
    let room = Room::new();
    room.write(
        "bad.yaml",
        "name: bad\nsteps:\n  one:\n    rum: echo hi\n  two:\n    run: echo two\n    needs: [nowhere]\n",
    );
    let ran = room.run(&["workflow", "check", "bad.yaml"]);
    assert_eq!(ran.status, Some(2), "{}", ran.stderr);
    for part in ["bad.yaml:4:", "rum", "bad.yaml:7:", "nowhere", "mistakes"] {
        assert!(ran.stderr.contains(part), "`{part}` is missing in\n{}", ran.stderr);
    }
    let ran = room.run(&["workflow", "check", "bad.yaml", "--json"]);
    assert_eq!(ran.status, Some(2));
    let found: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert!(found["mistakes"].as_array().unwrap().len() >= 2, "{found}");
    // `run` starts nothing.
    let ran = room.run(&["run", "bad.yaml"]);
    assert_eq!(ran.status, Some(2), "{}", ran.stderr);
    assert_eq!(std::fs::read_dir(room.path().join("tmp")).unwrap().count(), 0);
}

#[test]
fn doctor_says_where_every_setting_comes_from() {
    let room = Room::new();
    std::fs::create_dir_all(room.path().join("home/.config/bowline")).unwrap();
    let file = room.path().join("home/.config/bowline/bowline.toml");
    std::fs::write(&file, "slots = 3\n").unwrap();
    let mut command = room.command(&["doctor", "--json", "--namespace", "lab"]);
    command.env("BOWLINE_SERVER", "http://127.0.0.1:1");
    let ran = crate::harness::finish(
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap(),
        "doctor",
    );
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    let from = |key: &str| {
        let settings = report["settings"].as_array().unwrap();
        settings.iter().find(|setting| setting["key"] == key).unwrap()["from"].as_str().unwrap().to_owned()
    };
    assert_eq!(from("server"), "BOWLINE_SERVER");
    assert_eq!(from("namespace"), "command line");
    assert_eq!(from("slots"), file.to_string_lossy());
    assert_eq!(from("listen"), "default");
    std::fs::write(&file, "slosts = 3\n").unwrap();
    let ran = room.run(&["doctor"]);
    assert_eq!(ran.status, Some(2));
    assert!(ran.stderr.contains("did you mean `slots`?"), "{}", ran.stderr);
}

#[test]
fn completions_are_printed_for_every_shell() {
    let room = Room::new();
    for shell in ["bash", "zsh", "fish"] {
        assert!(room.good(&["completions", shell]).contains("submit"), "{shell}");
    }
}
