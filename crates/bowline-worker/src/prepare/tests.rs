//! What a job gets.

use bowline_protocol::sample;

use super::*;

fn plan(folder: &Path, work: Work) -> Plan {
    let mut handover = sample::handover(sample::attempt(7, Some(3)));
    handover.work = serde_json::to_vec(&work).unwrap().into();
    Plan {
        handover: Arc::new(handover),
        work: Arc::new(work),
        folder: folder.join("job"),
        worker: "lab-3".to_owned(),
        server: "http://127.0.0.1:1".to_owned(),
        base_env: Arc::new(BTreeMap::from([("HOME".to_owned(), "/root".to_owned())])),
        secrets: None,
    }
}

fn argv(argv: &[&str]) -> Work {
    Work::new(Action::Command(Command::Argv(argv.iter().map(|&part| part.to_owned()).collect())))
}

fn variable(start: &Start, name: &str) -> Option<String> {
    let found = start.env.iter().find(|(known, _)| known == name);
    found.map(|(_, value)| value.to_string_lossy().into_owned())
}

#[test]
fn a_job_sees_a_clean_environment_and_what_is_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let mut work = argv(&["true"]);
    work.env.insert("A".to_owned(), "b c".to_owned());
    work.env.insert("BOWLINE_TASK_ID".to_owned(), "forged".to_owned());
    let start = plan(dir.path(), work).prepare().unwrap().unwrap();
    let expected = [
        ("PATH", Some(JOB_PATH_DEFAULT)),
        ("HOME", Some("/root")),
        ("A", Some("b c")),
        ("BOWLINE_TASK_ID", Some("7.3")),
        ("BOWLINE_ATTEMPT", Some("1")),
        ("BOWLINE_NAMESPACE", Some("default")),
        ("BOWLINE_WORKER", Some("lab-3")),
        ("BOWLINE_RUN_ID", Some("r12")),
        ("BOWLINE_STEP", Some("count")),
        ("BOWLINE_SERVER", Some("http://127.0.0.1:7420")),
        ("BOWLINE_TOKEN", Some("secret")),
        ("BOWLINE_ARRAY_INDEX", Some("3")),
        ("BOWLINE_RESOURCE_PHONES", Some("ph-1,ph-2")),
        ("BOWLINE_RESOURCE_LIC", Some("3")),
        ("BOWLINE_RESOURCE_DB", Some("db")),
        ("CARGO", None),
    ];
    for (name, value) in expected {
        assert_eq!(variable(&start, name).as_deref(), value, "{name}");
    }
    assert!(fs::read_dir(&start.cwd).unwrap().next().is_none());
    assert!(Path::new(&variable(&start, "BOWLINE_OUTPUT").unwrap()).is_file());
    assert!(Path::new(&variable(&start, "BOWLINE_ARTIFACTS").unwrap()).is_dir());
}

#[test]
fn shell_text_is_a_script_file_and_stops_at_the_first_error() {
    let dir = tempfile::tempdir().unwrap();
    let work = Work::new(Action::Command(Command::Shell("echo $(rm -rf ~)".to_owned())));
    let start = plan(dir.path(), work).prepare().unwrap().unwrap();
    assert_eq!(start.argv[..2], ["/bin/sh", "-e"]);
    assert_eq!(fs::read_to_string(&start.argv[2]).unwrap(), "echo $(rm -rf ~)");
}

#[test]
fn files_are_written_anew_within_the_working_folder_alone() {
    let dir = tempfile::tempdir().unwrap();
    let mut work = argv(&["true"]);
    work.files.insert("a/b.txt".to_owned(), "text".to_owned());
    let ready = plan(dir.path(), work.clone());
    for _ in 0..2 {
        let start = ready.prepare().unwrap().unwrap();
        assert_eq!(fs::read_to_string(start.cwd.join("a/b.txt")).unwrap(), "text");
    }
    for bad in ["../up", "/etc/x", "a//b"] {
        let mut work = argv(&["true"]);
        work.files.insert(bad.to_owned(), String::new());
        assert!(matches!(plan(dir.path(), work).prepare(), Err(PrepareError::BadPath(_))), "{bad}");
    }
    let shared = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(dir.path(), shared.path().join("a")).unwrap();
    work.dir = Some(shared.path().to_string_lossy().into_owned());
    assert!(matches!(plan(dir.path(), work).prepare(), Err(PrepareError::Link(_))));
}

#[test]
fn what_cannot_be_made_ready_says_so_in_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let mut elsewhere = argv(&["true"]);
    elsewhere.dir = Some("/no/such/folder".to_owned());
    let told = plan(dir.path(), elsewhere).prepare().unwrap_err().to_string();
    assert!(told.contains("/no/such/folder") && told.contains("--dir"), "{told}");
    assert!(matches!(plan(dir.path(), argv(&[])).prepare(), Err(PrepareError::NoCommand)));
    let mut variable = argv(&["true"]);
    variable.env.insert("A=B".to_owned(), String::new());
    assert!(matches!(plan(dir.path(), variable).prepare(), Err(PrepareError::BadVariable(_))));
}

#[test]
fn standard_error_never_spoils_a_result() {
    let mut work = argv(&["true"]);
    assert!(!splits_output(&work));
    work.output = Some(bowline_core::spec::OutputFormat::Json);
    assert!(splits_output(&work));
}
