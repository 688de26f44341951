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

fn prepared(plan: &Plan) -> Result<Option<Start>, PrepareError> {
    plan.prepare(&Spares::open(plan.folder.with_file_name("spare")))
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
    let start = prepared(&plan(dir.path(), work)).unwrap().unwrap();
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
    let start = prepared(&plan(dir.path(), work)).unwrap().unwrap();
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
        let start = prepared(&ready).unwrap().unwrap();
        assert_eq!(fs::read_to_string(start.cwd.join("a/b.txt")).unwrap(), "text");
    }
    for bad in ["../up", "/etc/x", "a//b"] {
        let mut work = argv(&["true"]);
        work.files.insert(bad.to_owned(), String::new());
        assert!(matches!(prepared(&plan(dir.path(), work)), Err(PrepareError::BadPath(_))), "{bad}");
    }
    let shared = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(dir.path(), shared.path().join("a")).unwrap();
    work.dir = Some(shared.path().to_string_lossy().into_owned());
    assert!(matches!(prepared(&plan(dir.path(), work)), Err(PrepareError::Link(_))));
}

#[test]
fn what_cannot_be_made_ready_says_so_in_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let mut elsewhere = argv(&["true"]);
    elsewhere.dir = Some("/no/such/folder".to_owned());
    let told = prepared(&plan(dir.path(), elsewhere)).unwrap_err().to_string();
    assert!(told.contains("/no/such/folder") && told.contains("--dir"), "{told}");
    assert!(matches!(prepared(&plan(dir.path(), argv(&[]))), Err(PrepareError::NoCommand)));
    let mut variable = argv(&["true"]);
    variable.env.insert("A=B".to_owned(), String::new());
    assert!(matches!(prepared(&plan(dir.path(), variable)), Err(PrepareError::BadVariable(_))));
}

#[test]
fn standard_error_never_spoils_a_result() {
    let mut work = argv(&["true"]);
    assert!(!splits_output(&work));
    work.output = Some(bowline_core::spec::OutputFormat::Json);
    assert!(splits_output(&work));
}

#[test]
fn a_folder_that_was_used_is_as_good_as_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let spares = Spares::open(dir.path().join("spare"));
    let mut work = Work::new(Action::Command(Command::Shell("echo first".to_owned())));
    work.split_output = true;
    let first = plan(dir.path(), work);
    first.prepare(&spares).unwrap();
    fs::write(log_file(&first.folder, LogStream::Output), "what the first one wrote").unwrap();
    fs::write(first.output_file(), "1").unwrap();
    assert_eq!(spares.put(&first.folder), spares::Fate::Kept);
    let mut second = plan(dir.path(), Work::new(Action::Command(Command::Shell("e".to_owned()))));
    second.folder = dir.path().join("second");
    let start = second.prepare(&spares).unwrap().unwrap();
    assert!(!dir.path().join("spare/1").exists(), "it is the second one's now");
    assert_eq!(fs::read(log_file(&second.folder, LogStream::Output)).unwrap(), b"");
    assert_eq!(fs::read(second.output_file()).unwrap(), b"");
    assert_eq!(fs::read(&start.argv[2]).unwrap(), b"e");
    assert!(second.work_dir().is_dir() && second.artifacts_dir().is_dir());
}
