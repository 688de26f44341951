//! The interface as its pages promise it: help, JSON, exit statuses, and what a job sees.

use serde_json::Value;

use crate::harness::{Room, until};
use crate::web::Web;

/// The commands of a group, as its help lists them.
fn subcommands(help: &str) -> Vec<String> {
    help.lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_command_has_help_with_examples() {
    let room = Room::new();
    let mut leaves = 0;
    let mut left = vec![Vec::<String>::new()];
    while let Some(path) = left.pop() {
        let mut args = path.clone();
        args.push("--help".to_owned());
        let help = room.good(&args);
        let inner = subcommands(&help);
        if inner.is_empty() {
            leaves += 1;
            assert!(help.contains("Examples:") && help.contains("\n  bowline "), "{path:?} has no examples:\n{help}");
        }
        left.extend(inner.into_iter().map(|name| [&path[..], &[name]].concat()));
    }
    assert!(leaves > 40, "{leaves}");
    for shell in ["bash", "zsh", "fish"] {
        let script = room.good(&["completions", shell]);
        assert!(script.contains("bowline") && script.contains("submit"), "{shell}: {script}");
    }
    assert_eq!(room.run(&["completions", "nonsense"]).status, Some(2));
}

#[test]
fn json_is_one_document_on_every_command_that_ends() {
    let room = Room::new();
    let up = room.up(&["--slots", "2"]);
    room.write("w.yaml", "name: w\nsteps:\n  a: {argv: [echo, hi], output: text}\nresult: '{{ steps.a.result }}'\n");
    // What streams is one document a line.
    for line in room.good(&["run", "w.yaml", "--json"]).lines() {
        assert!(serde_json::from_str::<Value>(line).is_ok_and(|event| event.is_object()), "{line}");
    }
    let run = room.json(&["runs", "show", "r1", "--json"]);
    assert_eq!((&run["state"], run["result"].as_str()), (&Value::from("succeeded"), Some("hi")), "{run}");
    let id = room.json(&["submit", "--json", "--", "true"])["id"].as_str().unwrap().to_owned();
    assert_eq!(room.json(&["wait", &id, "--json"])["state"], "succeeded");
    for line in [
        "status",
        "task list",
        "task show ID",
        "task explain ID",
        "explain ID",
        "task history ID",
        "task artifacts ID",
        "submit -- true",
        "submit --wait -- true",
        "submit --dry-run -- true",
        "retry ID",
        "wait ID",
        "task wait ID",
        "cancel --all --yes --state ready",
        "task pause --all --yes --state ready",
        "runs list",
        "runs show r1",
        "runs explain r1",
        "wait r1",
        "workflow check w.yaml",
        "workflow list",
        "workflow show w",
        "worker list",
        "worker pause WORKER",
        "worker show WORKER",
        "worker resume WORKER",
        "token list",
        "token create --enrol",
        "doctor",
        "version",
        "server check",
        "task delete ID",
    ] {
        let worker = room.json(&["worker", "list", "--json"])[0]["name"].as_str().unwrap().to_owned();
        let line = line.replace("ID", &id).replace("WORKER", &worker);
        let mut args: Vec<&str> = line.split(' ').collect();
        let place = args.iter().position(|word| *word == "--").unwrap_or(args.len());
        args.insert(place, "--json");
        let document = room.json(&args);
        assert!(document.is_object() || document.is_array(), "{line}: {document}");
    }
    // What fails says so as its status does; standard output holds no half document.
    for (args, status) in [
        (&["task", "show", "999999", "--json"][..], 3),
        (&["runs", "show", "r999", "--json"], 3),
        (&["worker", "show", "nobody", "--json"], 3),
        (&["workflow", "show", "nothing", "--json"], 3),
        (&["submit", "--priority", "high", "--json", "--", "true"], 2),
        (&["submit", "--json"], 2),
        (&["run", "nowhere.yaml", "--json"], 2),
        (&["run", "w.yaml", "--input", "nope=1", "--json"], 2),
    ] {
        let ran = room.run(args);
        assert_eq!(ran.status, Some(status), "{args:?}: {}{}", ran.stdout, ran.stderr);
        assert!(
            ran.stdout.is_empty() || serde_json::from_str::<Value>(&ran.stdout).is_ok(),
            "{args:?}: {}",
            ran.stdout
        );
        assert!(!ran.stderr.is_empty() || !ran.stdout.is_empty(), "{args:?} says nothing");
    }
    assert_eq!(up.stop(), Some(0));
}

#[test]
fn exit_statuses_tell_one_end_from_another() {
    let room = Room::new();
    let up = room.up(&["--slots", "4"]);
    let sh = |script: &str| room.run(&["submit", "--wait", "--quiet", "--", "sh", "-c", script]).status;
    assert_eq!(sh("true"), Some(0));
    assert_eq!(sh("exit 3"), Some(3));
    assert_eq!(sh("kill -TERM $$"), Some(143));
    assert_eq!(sh("kill -SEGV $$"), Some(139));
    // Where Bowline itself could not, or ended it.
    let ran = room.run(&["submit", "--wait", "--timeout", "200ms", "--", "sleep", "600"]);
    assert_eq!(ran.status, Some(125), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("200ms") || ran.stderr.contains("timeout") || ran.stderr.contains("limit"),
        "{}",
        ran.stderr
    );
    // The waiting ran out, and the task goes on.
    let id = room.good(&["submit", "--quiet", "--", "sleep", "600"]).trim().to_owned();
    assert_eq!(room.run(&["wait", &id, "--timeout", "100ms"]).status, Some(124));
    assert_eq!(room.run(&["submit", "--wait", "--wait-timeout", "100ms", "--", "sleep", "600"]).status, Some(124));
    assert_eq!(room.run(&["wait", "999999"]).status, Some(3));
    // Two: good only if both are.
    let good = room.good(&["submit", "--quiet", "--", "true"]).trim().to_owned();
    let bad = room.good(&["submit", "--quiet", "--", "sh", "-c", "exit 9"]).trim().to_owned();
    assert_eq!(room.run(&["wait", &bad]).status, Some(9));
    assert_eq!(room.run(&["wait", &good, &bad]).status, Some(1));
    room.good(&["cancel", &id]);
    room.write("bad.yaml", "name: bad\nsteps:\n  a: {run: exit 4}\n");
    assert_eq!(room.run(&["run", "bad.yaml"]).status, Some(1));
    assert_eq!(room.run(&["retry", "999999"]).status, Some(3));
    assert_eq!(room.run(&["cancel", &good]).status, Some(5));
    room.good(&["submit", "--quiet", "--requires", "never", "--", "true"]);
    assert_eq!(room.run(&["cancel", "--all", "--state", "ready"]).status, Some(2), "no terminal, and no --yes");
    room.good(&["cancel", "--all", "--state", "ready", "--yes"]);
    assert_eq!(room.run(&["submit", "--server", "http://127.0.0.1:1", "--", "true"]).status, Some(4));
    assert_eq!(up.stop(), Some(0));
}

#[test]
fn a_job_sees_a_clean_environment_and_leaves_results_and_files() {
    let room = Room::new();
    let mut command = room.command(&["version"]);
    command.env("SECRET_OF_THE_USER", "x");
    let up = room.up(&["--slots", "2"]);
    let web = Web::of(&up);
    let id = web.submit(r#"{"command":["env","-0"],"env":{"OWN":"a b\n$(x)"},"output":"nul"}"#);
    let result = web.ended(&id)["result"].clone();
    let pairs: Vec<(String, String)> = result
        .as_array()
        .unwrap_or_else(|| panic!("{result}"))
        .iter()
        .filter_map(|pair| pair.as_str()?.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let value = |name: &str| pairs.iter().find(|pair| pair.0 == name).map(|pair| pair.1.as_str());
    for name in pairs.iter().map(|pair| pair.0.as_str()) {
        let expected =
            ["PATH", "HOME", "LANG", "TZ", "OWN", "TMPDIR", "PWD"].contains(&name) || name.starts_with("BOWLINE_");
        assert!(expected, "{name} is not a job's: {pairs:?}");
    }
    assert_eq!(value("BOWLINE_TEST_ROOM"), None, "{pairs:?}");
    assert_eq!(value("OWN"), Some("a b\n$(x)"));
    assert_eq!(value("BOWLINE_TASK_ID"), Some(id.as_str()));
    assert_eq!((value("BOWLINE_ATTEMPT"), value("BOWLINE_NAMESPACE")), (Some("1"), Some("default")));
    assert_eq!(value("BOWLINE_SERVER"), Some(up.url.as_str()));
    for name in ["PATH", "HOME", "BOWLINE_WORKER", "BOWLINE_OUTPUT", "BOWLINE_ARTIFACTS"] {
        assert!(value(name).is_some_and(|value| !value.is_empty()), "{name}: {pairs:?}");
    }
    // Its folder is its own, and empty; its group is its own.
    let id = web.submit(r#"{"shell":"ls -A | grep -v '^\\.bowline' || true; ps -o pgid= -p $$ | tr -d ' ' >/dev/null","output":"text"}"#);
    assert_eq!(web.ended(&id)["result"], "", "the folder is not empty");
    // key=value lines, JSON, and neither.
    let id = web.submit(r#"{"shell":"echo a=1 >>$BOWLINE_OUTPUT; echo b=x=y >>$BOWLINE_OUTPUT"}"#);
    assert_eq!(web.ended(&id)["result"], serde_json::json!({"a": "1", "b": "x=y"}));
    let id = web.submit(r#"{"shell":"echo '{\"a\":[1,null]}' >$BOWLINE_OUTPUT"}"#);
    assert_eq!(web.ended(&id)["result"], serde_json::json!({"a": [1, null]}));
    let id = web.submit(r#"{"command":["true"]}"#);
    assert_eq!(web.ended(&id)["result"], Value::Null);
    let id = web.submit(r#"{"command":["echo","no json"],"output":"json"}"#);
    let task = web.ended(&id);
    assert_eq!((&task["state"], &task["outcome"]["kind"]), (&Value::from("failed"), &Value::from("error")), "{task}");
    // Files: from its folder by glob, and those it puts into BOWLINE_ARTIFACTS.
    let script = "echo one >a.txt; echo two >b.dat; mkdir -p \"$BOWLINE_ARTIFACTS/sub\"; printf 'x\\0y' >\"$BOWLINE_ARTIFACTS/sub/c d\"";
    let id = web.submit(&serde_json::json!({"shell": script, "artifacts": ["*.txt"]}).to_string());
    assert_eq!(web.ended(&id)["state"], "succeeded");
    let kept = web.get(&format!("/api/v1/tasks/{id}/artifacts")).json();
    let mut names: Vec<&str> =
        kept["items"].as_array().unwrap().iter().filter_map(|file| file["name"].as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["a.txt", "sub/c d"], "{kept}");
    assert_eq!(web.get(&format!("/api/v1/tasks/{id}/artifacts/sub/c%20d")).body, b"x\0y");
    // Files that are sent along, standard input, a script with its option lines.
    room.write("in.txt", "from here\n");
    let sent = room.good(&["submit", "--wait", "--quiet", "--send", "in.txt", "--", "cat", "in.txt"]);
    assert_eq!(sent, "from here\n");
    assert_eq!(room.good(&["submit", "--wait", "--quiet", "--stdin", "in.txt", "--", "cat"]), "from here\n");
    let dir = room.work().to_string_lossy().into_owned();
    assert_eq!(room.good(&["submit", "--wait", "--quiet", "--dir", &dir, "--", "cat", "in.txt"]), "from here\n");
    // Arguments arrive as they are.
    let hostile = ["", " ", "a\nb", "$(touch hacked)", "'\"", "--json", "{}", "é\u{1f980}"];
    let args = [&["submit", "--wait", "--quiet", "--", "printf", "%s\\0"][..], &hostile].concat();
    assert_eq!(room.good(&args), hostile.map(|one| format!("{one}\0")).concat());
    assert!(!room.work().join("hacked").exists());
    assert_eq!(up.stop(), Some(0));
}

#[test]
fn nothing_of_a_job_is_left_when_it_has_ended() {
    let room = Room::new();
    let up = room.up(&["--slots", "2"]);
    let mark = room.work().join("left-behind").to_string_lossy().into_owned();
    std::fs::write(&mark, "").unwrap();
    // A process that it leaves in the background, one in another session, and one that ignores TERM.
    let script = format!(
        "tail -f '{mark}' & setsid tail -f '{mark}' & sh -c 'trap \"\" TERM; tail -f {mark}; true' & echo begun; wait"
    );
    let body = serde_json::json!({"shell": script, "grace": "200ms"}).to_string();
    let web = Web::of(&up);
    let count = || room.processes().iter().filter(|(_, line)| line.starts_with("tail")).count();
    let id = web.submit(&body);
    until("its processes run", || count() == 3);
    assert_eq!(web.post(&format!("/api/v1/tasks/{id}/cancel"), "").status, 200);
    let task = web.ended(&id);
    assert_eq!(task["state"], "cancelled", "{task}");
    assert_eq!(count(), 0, "{:?}", room.processes());
    // One that ends well and leaves something.
    let id =
        web.submit(&serde_json::json!({"shell": format!("tail -f '{mark}' & true"), "grace": "200ms"}).to_string());
    assert_eq!(web.ended(&id)["state"], "succeeded");
    assert_eq!(count(), 0, "{:?}", room.processes());
    assert_eq!(up.stop(), Some(0));
}

#[test]
fn elements_of_an_array_are_listed_and_a_list_is_watched() {
    let room = Room::new();
    let up = room.up(&["--slots", "2"]);
    let array =
        room.good(&["submit", "--quiet", "--array", "10-40:10", "--", "sh", "-c", "test $BOWLINE_ARRAY_INDEX != 20"]);
    let array = array.trim();
    assert_eq!(room.run(&["wait", array]).status, Some(1));
    let ids = |args: &[&str]| -> Vec<String> {
        let list = room.json(&[&["task", "elements", array, "--json"], args].concat());
        list.as_array().unwrap().iter().map(|task| task["id"].as_str().unwrap().to_owned()).collect()
    };
    let all: Vec<String> = [10, 20, 30, 40].iter().map(|index| format!("{array}.{index}")).collect();
    assert_eq!(ids(&[]), all);
    assert_eq!(ids(&["--limit", "3"]), all[..3]);
    assert_eq!(ids(&["--state", "failed"]), all[1..2]);
    let single = room.good(&["submit", "--quiet", "--delay", "1h", "--", "true"]);
    let none = room.run(&["task", "elements", single.trim()]);
    assert_eq!(none.status, Some(2), "{none:?}");
    // A watched list is there at once, and there again when something has happened.
    let watch = room.command(&["task", "list", "--watch", "--json", "--state", "scheduled"]);
    let mut watch = { watch }.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(watch.stdout.take().unwrap()));
    let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(next().as_array().unwrap().len(), 1);
    room.good(&["cancel", single.trim()]);
    assert_eq!(next().as_array().unwrap().len(), 0);
    rustix::process::kill_process(rustix::process::Pid::from_child(&watch), rustix::process::Signal::INT).unwrap();
    assert_eq!(watch.wait().unwrap().code(), Some(130), "Ctrl-C");
    assert_eq!(up.stop(), Some(0));
}

#[test]
fn values_that_nobody_can_mean_are_wrong_usage() {
    let room = Room::new();
    let up = room.up(&[]);
    let long = "n".repeat(257);
    for args in [
        &["task", "list", "--limit", "0"][..],
        &["runs", "list", "--limit", "0"],
        &["submit", "--idempotency-key", "", "--", "true"],
        &["submit", "--idempotency-key", "with space", "--", "true"],
        &["submit", "--timeout", "4000d", "--", "true"],
        &["submit", "--delay", "99999999999d", "--", "true"],
        &["submit", "--name", &long, "--", "true"],
        &["worker", "drain"],
        &["worker", "drain", "a", "--all"],
        &["worker", "drain", "a", "--mode", "handoff", "--within", "1h"],
        &["namespace", "pause"],
        &["task", "resolve", "1"],
        &["task", "resolve", "1", "--success", "--failure", "x"],
    ] {
        let ran = room.run(args);
        assert_eq!(ran.status, Some(2), "{args:?} {ran:?}");
        assert!(ran.stdout.is_empty(), "{args:?} {ran:?}");
    }
    room.good(&["submit", "--name", &long[1..], "--timeout", "3650d", "--", "true"]);
    // The limit of waiting is told as that.
    let waits = room.good(&["submit", "--quiet", "--delay", "1h", "--", "true"]);
    let late = room.run(&["wait", waits.trim(), "--timeout", "200ms"]);
    assert_eq!(late.status, Some(124), "{late:?}");
    assert!(late.stderr.contains("Not ended within the time given"), "{late:?}");
    assert_eq!(up.stop(), Some(0));
}

#[test]
fn who_says_too_little_is_told_what_would_do() {
    let room = Room::new();
    let up = room.up(&[]);
    let says = |args: &[&str], status: i32, all: &[&str]| {
        let ran = room.run(args);
        assert_eq!(ran.status, Some(status), "{args:?} {ran:?}");
        for said in all {
            assert!(ran.stderr.contains(said), "{args:?} {said}: {ran:?}");
        }
    };
    for verb in ["drain", "undrain", "pause", "resume", "forget"] {
        says(&["worker", verb], 2, &["names", "--selector", "--pool", "--all"]);
    }
    says(&["task", "resolve", "1"], 2, &["--success", "--failure"]);
    let missing = room.work().join("nowhere");
    let file = missing.join("x.tar");
    let no_folder = format!("`{}`", missing.display());
    says(&["server", "backup", file.to_str().unwrap()], 1, &[&no_folder, "No such file or directory"]);
    let said = room.good(&["namespace", "pause", "nosuch"]);
    assert!(said.starts_with("nosuch paused; it has no tasks yet"), "{said}");
    assert_eq!(up.stop(), Some(0));
}
