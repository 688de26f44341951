//! Results and artifacts of jobs that are over.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use bowline_core::spec::{Action, Command, OutputFormat};
use bowline_protocol::{limits, sample};

use super::*;
use crate::prepare::spares::Spares;

struct Job {
    _dir: tempfile::TempDir,
    plan: Plan,
}

/// A job that wrote this to standard output and this into `BOWLINE_OUTPUT`.
fn job(format: Option<OutputFormat>, stdout: &[u8], output: &[u8]) -> Job {
    let dir = tempfile::tempdir().unwrap();
    let mut work = Work::new(Action::Command(Command::Argv(vec!["x".to_owned()])));
    work.output = format;
    work.artifacts = vec!["*.txt".to_owned(), "deep/**/*.bin".to_owned()];
    let plan = Plan {
        handover: Arc::new(sample::handover(sample::attempt(1, None))),
        work: Arc::new(work),
        folder: dir.path().join("job"),
        worker: String::new(),
        server: String::new(),
        base_env: Arc::new(BTreeMap::new()),
        secrets: None,
    };
    plan.prepare(&Spares::open(dir.path().join("spare"))).unwrap();
    fs::write(log_file(&plan.folder, LogStream::Output), stdout).unwrap();
    fs::write(plan.output_file(), output).unwrap();
    Job { _dir: dir, plan }
}

fn result(format: Option<OutputFormat>, stdout: &[u8], output: &[u8]) -> Result<Option<String>, String> {
    let (collected, _) = collect(&job(format, stdout, output).plan, JobEnd::Success);
    match collected.how {
        JobEnd::Success => Ok(collected.result),
        JobEnd::Error(error) => Err(error.message),
        other => panic!("unexpected {other:?}"),
    }
}

#[expect(clippy::unnecessary_wraps, reason = "to be compared with what `result` gives")]
fn json(text: &str) -> Result<Option<String>, String> {
    Ok(Some(text.to_owned()))
}

#[test]
fn standard_output_becomes_the_result_as_the_task_says() {
    use OutputFormat::{Json, Lines, Nul, Text};
    assert_eq!(result(None, b"noise", b""), Ok(None));
    assert_eq!(result(Some(Json), b" {\"a\": [1]}\n", b""), json("{\"a\":[1]}"));
    assert_eq!(result(Some(Lines), b"a\nb c\r\n\n", b""), json("[\"a\",\"b c\",\"\"]"));
    assert_eq!(result(Some(Lines), b"", b""), json("[]"));
    assert_eq!(result(Some(Nul), b"a\nb\0$(x)\0", b""), json("[\"a\\nb\",\"$(x)\"]"));
    assert_eq!(result(Some(Nul), b"", b""), json("[]"));
    assert_eq!(result(Some(Text), b"a\nb\n", b""), json("\"a\\nb\""));
}

#[test]
fn the_output_file_holds_json_or_lines_of_key_and_value_and_goes_first() {
    assert_eq!(result(None, b"", b"{\"n\": 3}"), json("{\"n\":3}"));
    assert_eq!(result(None, b"", b"n=3\n\nname=a=b \n"), json("{\"n\":\"3\",\"name\":\"a=b \"}"));
    assert_eq!(result(Some(OutputFormat::Text), b"x", b"n=3\n"), json("{\"n\":\"3\"}"));
}

#[test]
fn json_is_kept_as_it_was_written_but_for_the_space_in_it() {
    let written =
        "{ \"id\": 1999666666666666266666666666666666,\n\t\"far\": 6e88, \"text\": \" \\\" a \\\\\" , \"b\": [ ] }";
    let kept = "{\"id\":1999666666666666266666666666666666,\"far\":6e88,\"text\":\" \\\" a \\\\\",\"b\":[]}";
    assert_eq!(result(None, b"", written.as_bytes()), json(kept));
    assert_eq!(result(Some(OutputFormat::Json), written.as_bytes(), b""), json(kept));
}

#[test]
fn an_output_that_cannot_be_used_fails_the_job_with_a_sentence() {
    let not_json = result(Some(OutputFormat::Json), b"{", b"").unwrap_err();
    assert!(not_json.contains("not one JSON document"), "{not_json}");
    let not_lines = result(None, b"", b"a=1\nhello\n").unwrap_err();
    assert!(not_lines.contains("line 2") && not_lines.contains("hello"), "{not_lines}");
    let large = vec![b'x'; bowline_core::spec::RESULT_BYTES_MAX + 1];
    let too_large = result(Some(OutputFormat::Text), &large, b"").unwrap_err();
    assert!(too_large.contains("larger than a result may be"), "{too_large}");
}

#[test]
fn invalid_utf8_is_replaced_and_noted() {
    let job = job(Some(OutputFormat::Lines), b"a\xffb\n", b"");
    let (collected, _) = collect(&job.plan, JobEnd::Success);
    assert_eq!(collected.result.as_deref(), Some("[\"a\u{fffd}b\"]"));
    let noted = fs::read_to_string(log_file(&job.plan.folder, LogStream::Error)).unwrap();
    assert!(noted.contains("not valid UTF-8 (first at byte 1)"), "{noted}");
}

#[test]
fn a_failed_job_keeps_its_own_failure() {
    let failed = JobEnd::Error(JobError { exit_status: Some(3), ..JobError::default() });
    let (collected, _) = collect(&job(Some(OutputFormat::Json), b"{", b"").plan, failed.clone());
    assert_eq!((collected.how, collected.result), (failed, None));
}

#[test]
fn artifacts_come_from_their_folder_and_by_globs_and_links_are_not_followed() {
    let job = job(None, b"", b"");
    let (work, kept) = (job.plan.work_dir(), job.plan.artifacts_dir());
    fs::create_dir_all(work.join("deep/er")).unwrap();
    fs::create_dir_all(kept.join("sub")).unwrap();
    fs::write(work.join("a.txt"), "a").unwrap();
    fs::write(work.join("a.log"), "not asked for").unwrap();
    fs::write(work.join("deep/er/b.bin"), "b").unwrap();
    fs::write(work.join("deep/not.txt"), "not asked for").unwrap();
    fs::write(kept.join("sub/c"), "c").unwrap();
    fs::write(kept.join("two words\nand more"), "d").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", kept.join("link")).unwrap();
    let (_, files) = collect(&job.plan, JobEnd::Success);
    let names: Vec<_> = files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["a.txt", "deep/er/b.bin", "sub/c", "two words\nand more"]);
    assert_eq!(files[0].1, work.join("a.txt"));
}

#[test]
fn what_is_too_many_is_noted_and_never_holds_back_the_end() {
    let job = job(None, b"", b"");
    let kept = job.plan.artifacts_dir();
    for number in 0..limits::ARTIFACTS_MAX + 5 {
        fs::write(kept.join(format!("n{number:04}")), "x").unwrap();
    }
    let (collected, files) = collect(&job.plan, JobEnd::Success);
    assert_eq!((collected.how, files.len()), (JobEnd::Success, limits::ARTIFACTS_MAX));
    let noted = fs::read_to_string(log_file(&job.plan.folder, LogStream::Output)).unwrap();
    assert!(noted.contains("of 1005 artifacts only the first 1000 are kept"), "{noted}");
}

#[test]
fn a_command_that_is_not_found_names_the_ways_out() {
    let work = Work::new(Action::Command(Command::Argv(vec!["./census.sh".to_owned()])));
    let failed = StartFailed { key: String::new(), step: Step::Exec, errno: 2 };
    let error = start_failure(&work, &failed);
    assert_eq!(error.exit_status, Some(127));
    for way in ["./census.sh", "--dir", "--send", "--script"] {
        assert!(error.message.contains(way), "{}", error.message);
    }
}

#[test]
fn an_exit_says_how() {
    let exited = |exit, stopped| Exited {
        key: String::new(),
        exit,
        stopped,
        started_at: Duration::ZERO,
        ended_at: Duration::ZERO,
        leftovers: 0,
        recorded: true,
    };
    assert_eq!(job_end(&exited(Exit::Code(0), None)), JobEnd::Success);
    assert_eq!(job_end(&exited(Exit::Signal(15), Some(StopReason::RunLimit))), JobEnd::Timeout(TimeoutKind::Run));
    let JobEnd::Error(error) = job_end(&exited(Exit::Signal(9), None)) else { panic!("no error") };
    assert!(error.message.contains("SIGKILL") && error.signal == Some(9));
}
