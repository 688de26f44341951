//! What a task does, from files: scripts, lines, JSON.

use std::path::Path;

use anyhow::Context;
use bowline_api::{NewElement, NewTask, Submit};

use super::script;

/// The variable in which an element finds its line.
const LINE_VARIABLE: &str = "BOWLINE_LINE";
/// What stands for the line in the command.
const PLACEHOLDER: &str = "{}";

/// Runs a script that its own interpreter reads from a file of the job's: `$1` is the script's text,
/// then its interpreter, as many words as `$2` says, then its arguments.
const RUN_SCRIPT: &str = "set -e
file=$(mktemp \"${TMPDIR:-/tmp}/bowline-script.XXXXXXXX\")
trap 'rm -f \"$file\"' EXIT
printf %s \"$1\" >\"$file\"
shift
program=$1
option=$2
shift 2
set +e
if [ -n \"$option\" ]; then \"$program\" \"$option\" \"$file\" \"$@\"; else \"$program\" \"$file\" \"$@\"; fi
exit $?
";

/// Makes the task run a script.
pub(super) fn script(task: &mut NewTask, path: &Path, text: &str, arguments: &[String]) {
    let name = path.file_name().map_or_else(|| "script".to_owned(), |name| name.to_string_lossy().into_owned());
    let interpreter = script::interpreter(text);
    if interpreter.is_none() && arguments.is_empty() {
        task.shell = Some(text.to_owned());
    } else {
        let mut words = interpreter.unwrap_or_else(|| vec!["/bin/sh".to_owned()]).into_iter();
        let program = words.next().unwrap_or_default();
        let option = words.next().unwrap_or_default();
        let head = [
            "/bin/sh".to_owned(),
            "-c".to_owned(),
            RUN_SCRIPT.to_owned(),
            name.clone(),
            text.to_owned(),
            program,
            option,
        ];
        task.command = Some(head.into_iter().chain(arguments.iter().cloned()).collect());
    }
    task.name.get_or_insert(name);
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
pub(super) fn from_json(text: &str) -> anyhow::Result<Vec<NewTask>> {
    let start = text.trim_start();
    let tasks: Vec<NewTask> = if start.starts_with('[') {
        serde_json::from_str(text)?
    } else {
        let value: serde_json::Value = serde_json::from_str(text).context("it is no JSON")?;
        if value.get("tasks").is_some() {
            // Read from the text again, so that a mistake is told with its place.
            serde_json::from_str::<Submit>(text)?.tasks
        } else {
            vec![serde_json::from_str(text)?]
        }
    };
    anyhow::ensure!(!tasks.is_empty(), "its list is empty");
    Ok(tasks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_script_is_shell_text() {
        let mut task = NewTask::default();
        script(&mut task, Path::new("dir/build.sh"), "echo hi\n", &[]);
        assert_eq!(task.shell.as_deref(), Some("echo hi\n"));
        assert_eq!(task.name.as_deref(), Some("build.sh"));
    }

    #[test]
    fn a_script_with_an_interpreter_or_arguments_becomes_a_command() {
        let mut task = NewTask { name: Some("kept".to_owned()), ..NewTask::default() };
        script(&mut task, Path::new("x.py"), "#!/usr/bin/env python3\nprint(1)\n", &["a b".to_owned()]);
        let command = task.command.unwrap();
        assert_eq!(command[3..], ["x.py", "#!/usr/bin/env python3\nprint(1)\n", "/usr/bin/env", "python3", "a b"]);
        assert_eq!(task.name.as_deref(), Some("kept"));
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
        assert_eq!(from_json(r#"{"command":["true"]}"#).unwrap().len(), 1);
        assert_eq!(from_json(r#"[{"command":["true"]},{"action":"noop"}]"#).unwrap().len(), 2);
        assert_eq!(from_json(r#"{"tasks":[{"command":["true"]}]}"#).unwrap().len(), 1);
        let error = from_json("{\"tasks\":[\n{\"comand\":[\"true\"]}]}").unwrap_err();
        assert!(error.to_string().contains("line 2"), "{error}");
        assert!(from_json("[]").is_err());
    }
}
