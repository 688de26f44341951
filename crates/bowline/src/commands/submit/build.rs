//! What a task does, from files: scripts, lines, JSON.

use std::path::Path;

use anyhow::Context;
use bowline_api::{NewElement, NewTask, Submit};
use bowline_workflow::{Diagnostic, Style};

use super::script;

/// The variable in which an element finds its line.
const LINE_VARIABLE: &str = "BOWLINE_LINE";
/// What stands for the line in the command.
const PLACEHOLDER: &str = "{}";

/// Where a script lies in the job's folder.
const SCRIPT_FOLDER: &str = ".bowline-script";
/// Where standard input lies in the job's folder.
const STDIN_FILE: &str = ".bowline-stdin";
/// Runs a command with that file as its standard input.
const WITH_STDIN: &str = "file=$1; shift; exec \"$@\" <\"$file\"";

/// Runs a script of the job's own folder in another folder.
const SCRIPT_ELSEWHERE: &str = r#"dir=$1 script=$PWD/$2 program=$3 option=$4
shift 4
cd -- "$dir" || exit 126
if [ -n "$option" ]; then exec "$program" "$option" "$script" "$@"; else exec "$program" "$script" "$@"; fi"#;

/// Makes the task run a script, by its own interpreter, from a file of the job's folder.
pub(super) fn script(task: &mut NewTask, path: &Path, text: &str, arguments: &[String]) {
    let name = path.file_name().map_or_else(|| "script".to_owned(), |name| name.to_string_lossy().into_owned());
    let place = format!("{SCRIPT_FOLDER}/{name}");
    let mut words = script::interpreter(text).unwrap_or_else(|| vec!["/bin/sh".to_owned()]);
    if let Some(dir) = task.dir.take() {
        // The script stays in the job's own folder: in another one it could meet its like.
        let program = words.remove(0);
        let option = words.pop().unwrap_or_default();
        let head = ["/bin/sh", "-c", SCRIPT_ELSEWHERE, &name, &dir, &place, &program, &option].map(str::to_owned);
        words = head.into();
    } else {
        words.push(place.clone());
    }
    words.extend(arguments.iter().cloned());
    task.files.insert(place, text.to_owned());
    task.command = Some(words);
    task.name.get_or_insert(name);
}

/// Makes a file the command's standard input.
pub(super) fn stdin(task: &mut NewTask, text: String) {
    let command = task.command.take().unwrap_or_default();
    let head = ["/bin/sh", "-c", WITH_STDIN, "stdin", STDIN_FILE].map(str::to_owned);
    task.command = Some(head.into_iter().chain(command).collect());
    task.files.insert(STDIN_FILE.to_owned(), text);
}

/// Takes a file along, into the job's folder, under its own name.
pub(super) fn send(task: &mut NewTask, path: &Path, text: String) -> anyhow::Result<()> {
    let name = path.file_name().context("it has no name")?.to_string_lossy().into_owned();
    anyhow::ensure!(!task.files.contains_key(&name), "another file of that name is taken along already");
    task.files.insert(name, text);
    Ok(())
}

/// Makes one element of each line that is not empty.
pub(super) fn each_line(task: &mut NewTask, text: &str) -> anyhow::Result<()> {
    let command = task.command.clone();
    task.elements = text
        .lines()
        .filter(|line| !line.is_empty())
        .map(|line| NewElement {
            command: command.as_ref().map(|words| words.iter().map(|word| word.replace(PLACEHOLDER, line)).collect()),
            shell: task.shell.clone(),
            env: [(LINE_VARIABLE.to_owned(), line.to_owned())].into(),
            ..NewElement::default()
        })
        .collect();
    anyhow::ensure!(!task.elements.is_empty(), "every one of its lines is empty");
    // Each element says itself what it does.
    task.command = None;
    task.shell = None;
    Ok(())
}

/// Tasks as the REST interface takes them.
pub(super) fn from_json(text: &str) -> anyhow::Result<Submit> {
    let start = text.trim_start();
    let one = |task: NewTask| Submit { tasks: vec![task], strict: None, gang: None };
    let submit: Submit = if start.starts_with('[') {
        Submit { tasks: serde_json::from_str(text)?, strict: None, gang: None }
    } else {
        let value: serde_json::Value = serde_json::from_str(text).context("it is no JSON")?;
        if value.get("tasks").is_some() {
            // Read from the text again, so that a mistake is told with its place.
            serde_json::from_str::<Submit>(text)?
        } else {
            one(serde_json::from_str(text)?)
        }
    };
    anyhow::ensure!(!submit.tasks.is_empty(), "its list is empty");
    Ok(submit)
}

/// The same as JSON or as YAML.
pub(super) fn from_file(name: &str, text: &str) -> anyhow::Result<Submit> {
    // What is JSON is told its mistakes as JSON, with their places.
    if text.trim_start().starts_with(['{', '[']) {
        return from_json(text);
    }
    let told = |found: Vec<Diagnostic>| {
        let all: String = found.iter().map(|one| one.render(name, text, Style::Plain)).collect();
        anyhow::anyhow!("{}", all.trim_end())
    };
    from_json(&bowline_workflow::data(text).map_err(told)?.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_goes_along_as_a_file_and_its_own_interpreter_runs_it() {
        let mut task = NewTask::default();
        script(&mut task, Path::new("dir/build.sh"), "echo hi\n", &[]);
        assert_eq!(task.command.as_deref().unwrap(), ["/bin/sh", ".bowline-script/build.sh"]);
        assert_eq!(task.files[".bowline-script/build.sh"], "echo hi\n");
        assert_eq!(task.name.as_deref(), Some("build.sh"));
        let mut task = NewTask { name: Some("kept".to_owned()), ..NewTask::default() };
        script(&mut task, Path::new("x.py"), "#!/usr/bin/env python3\nprint(1)\n", &["a b".to_owned()]);
        assert_eq!(task.command.unwrap(), ["/usr/bin/env", "python3", ".bowline-script/x.py", "a b"]);
        assert_eq!(task.name.as_deref(), Some("kept"));
        let mut task = NewTask { dir: Some("/src".to_owned()), ..NewTask::default() };
        script(&mut task, Path::new("x.sh"), "pwd\n", &["a".to_owned()]);
        assert_eq!(task.command.unwrap()[4..], ["/src", ".bowline-script/x.sh", "/bin/sh", "", "a"]);
        assert_eq!(task.dir, None);
    }

    #[test]
    fn members_of_a_gang_are_read_as_yaml_and_as_json() {
        let yaml = "gang: {distinct: true}\ntasks:\n  - name: leader\n    command: [sh, -c, \"echo '{{ x }}'\"]\n    slots: 2\n  \
                    - command: [\"true\"]\n";
        let json = r#"{"gang": {"distinct": true}, "tasks": [
            {"name": "leader", "command": ["sh", "-c", "echo '{{ x }}'"], "slots": 2}, {"command": ["true"]}]}"#;
        assert_eq!(from_file("g.yaml", yaml).unwrap(), from_file("g.json", json).unwrap());
        assert_eq!(from_file("g.yaml", "- command: [a]\n- command: [b]\n").unwrap().tasks.len(), 2);
        let broken = from_file("g.yaml", "tasks:\n  - command: [a\n").unwrap_err().to_string();
        assert!(broken.contains("g.yaml"), "{broken}");
        let unknown = from_file("g.yaml", "tasks:\n  - comand: [a]\n").unwrap_err().to_string();
        assert!(unknown.contains("comand"), "{unknown}");
    }

    #[test]
    fn standard_input_and_sent_files_go_along() {
        let mut task = NewTask { command: Some(vec!["wc".to_owned(), "-l".to_owned()]), ..NewTask::default() };
        stdin(&mut task, "a\nb\n".to_owned());
        send(&mut task, Path::new("/data/x.txt"), "x".to_owned()).unwrap();
        assert!(send(&mut task, Path::new("other/x.txt"), "y".to_owned()).is_err());
        assert_eq!(task.command.unwrap()[4..], [".bowline-stdin", "wc", "-l"]);
        assert_eq!(task.files["x.txt"], "x");
    }

    #[test]
    fn every_line_makes_an_element() {
        let mut task = NewTask { command: Some(vec!["ping".to_owned(), "--host={}".to_owned()]), ..NewTask::default() };
        each_line(&mut task, "a b\n\n$(c)\n").unwrap();
        assert_eq!(task.elements.len(), 2);
        assert_eq!(task.elements[1].command.as_ref().unwrap()[1], "--host=$(c)");
        assert_eq!(task.elements[0].env["BOWLINE_LINE"], "a b");
        assert!(task.command.is_none());
        assert!(each_line(&mut task, "\n\n").is_err());
    }

    #[test]
    fn json_is_read_in_its_three_forms_and_mistakes_have_a_place() {
        assert_eq!(from_json(r#"{"command":["true"]}"#).unwrap().tasks.len(), 1);
        assert_eq!(from_json(r#"[{"command":["true"]},{"action":"noop"}]"#).unwrap().tasks.len(), 2);
        assert_eq!(from_json(r#"{"tasks":[{"command":["true"]}],"strict":true}"#).unwrap().strict, Some(true));
        let error = from_json("{\"tasks\":[\n{\"comand\":[\"true\"]}]}").unwrap_err();
        assert!(error.to_string().contains("line 2"), "{error}");
        assert!(from_json("[]").is_err());
    }
}
