//! What a task does: from `command`, `shell`, or `action` and `with`, to the engine's form, and back.

use bowline_core::spec::{Action, Command, HttpRequest, Work};
use bowline_core::time::Span;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::decode::{from_parts, nearest};
use crate::problem::Mistake;
use crate::task::WorkDoc;

/// The actions that there are.
pub const ACTIONS: [&str; 5] = ["command", "http", "noop", "wait", "sleep"];

/// What may be said about what a task does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Said<'a> {
    pub(crate) command: Option<&'a Vec<String>>,
    pub(crate) shell: Option<&'a String>,
    pub(crate) action: Option<&'a String>,
    pub(crate) with: Option<&'a Value>,
}

impl Said<'_> {
    /// Whether nothing is said.
    pub(crate) fn is_nothing(&self) -> bool {
        self.command.is_none() && self.shell.is_none() && self.action.is_none() && self.with.is_none()
    }

    /// The action, or what is wrong, with paths below the task.
    pub(crate) fn resolve(&self) -> Result<Action, Box<Mistake>> {
        match (self.command, self.shell, self.action) {
            (Some(argv), None, None) => self.without_with().and_then(|()| program(argv, "command")),
            (None, Some(text), None) => self.without_with().and_then(|()| script(text, "shell")),
            (None, None, Some(name)) => action(name, self.with),
            (None, None, None) => Err(in_all("Nothing says what the task does. Give `command`, `shell` or `action`.")),
            _ => Err(in_all("Only one of `command`, `shell` and `action` can say what the task does.")),
        }
    }

    fn without_with(&self) -> Result<(), Box<Mistake>> {
        match self.with {
            None => Ok(()),
            Some(_) => Err(wrong("with", "`with` goes with `action` only. Leave it out.")),
        }
    }
}

fn wrong(path: impl Into<String>, message: impl Into<String>) -> Box<Mistake> {
    Box::new(Mistake::field(path, message))
}

/// A mistake of the task as a whole.
fn in_all(message: &str) -> Box<Mistake> {
    Box::new(Mistake { message: message.to_owned(), ..Mistake::default() })
}

fn program(argv: &[String], path: &str) -> Result<Action, Box<Mistake>> {
    if argv.first().is_none_or(String::is_empty) {
        return Err(wrong(path, format!("`{path}` is empty. Its first item is the program.")));
    }
    if let Some(at) = argv.iter().position(|argument| argument.contains('\0')) {
        return Err(wrong(
            format!("{path}[{at}]"),
            format!("`{path}[{at}]` holds a NUL byte, which no program can be given. Take it out."),
        ));
    }
    Ok(Action::Command(Command::Argv(argv.to_vec())))
}

fn script(text: &str, path: &str) -> Result<Action, Box<Mistake>> {
    if text.trim().is_empty() {
        return Err(wrong(path, format!("`{path}` is empty. Write the commands to run.")));
    }
    Ok(Action::Command(Command::Shell(text.to_owned())))
}

/// What the action `command` is told.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct CommandWith {
    #[serde(skip_serializing_if = "Option::is_none")]
    argv: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shell: Option<String>,
}

/// What the action `sleep` is told.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SleepWith {
    #[serde(alias = "duration")]
    r#for: Span,
}

/// What actions that need nothing are told.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

fn action(name: &str, with: Option<&Value>) -> Result<Action, Box<Mistake>> {
    match name {
        "command" => {
            let with: CommandWith = told(with)?;
            match (with.argv, with.shell) {
                (Some(argv), None) => program(&argv, "with.argv"),
                (None, Some(text)) => script(&text, "with.shell"),
                _ => Err(wrong("with", "The action `command` needs either `with.argv` or `with.shell`.")),
            }
        }
        "http" => http(told(with)?),
        "noop" => told::<Nothing>(with).map(|_| Action::Noop),
        "wait" => told::<Nothing>(with).map(|_| Action::Wait),
        "sleep" => told::<SleepWith>(with).map(|with| Action::Sleep(with.r#for)),
        other => {
            let suggestion = nearest(other, ACTIONS);
            let next = suggestion.map_or_else(
                || format!("There are: {}.", ACTIONS.join(", ")),
                |near| format!("Did you mean `{near}`?"),
            );
            let other: String = other.chars().take(64).collect();
            let mut mistake = wrong("action", format!("There is no action `{other}`. {next}"));
            mistake.suggestion = suggestion.map(str::to_owned);
            Err(mistake)
        }
    }
}

fn told<T: serde::de::DeserializeOwned>(with: Option<&Value>) -> Result<T, Box<Mistake>> {
    let empty = Value::Object(serde_json::Map::new());
    from_parts(with.unwrap_or(&empty)).map_err(|mut mistake| {
        let below = |path: &str| format!("with.{path}");
        if let Some(path) = &mistake.path {
            mistake.message = mistake.message.replacen(&format!("`{path}`"), &format!("`{}`", below(path)), 1);
        }
        mistake.path = Some(mistake.path.as_deref().map_or_else(|| "with".to_owned(), below));
        mistake
    })
}

fn http(request: HttpRequest) -> Result<Action, Box<Mistake>> {
    if !request.url.starts_with("http://") && !request.url.starts_with("https://") {
        return Err(wrong("with.url", "`with.url` must begin with `http://` or `https://`."));
    }
    let token =
        |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_!#$&+.^|~".contains(c));
    if !token(&request.method) {
        return Err(wrong("with.method", "`with.method` is no HTTP method. Write `GET`, `POST` or the like."));
    }
    if let Some(name) = request.headers.keys().find(|name| !token(name)) {
        let name: String = name.chars().take(64).collect();
        return Err(wrong(format!("with.headers.{name}"), format!("`{name}` cannot name an HTTP header.")));
    }
    if let Some((name, _)) =
        request.headers.iter().find(|(_, value)| value.chars().any(|c| c.is_control() && c != '\t'))
    {
        return Err(wrong(
            format!("with.headers.{name}"),
            format!("The value of the header `{name}` holds a control character. Take it out."),
        ));
    }
    Ok(Action::Http(request))
}

/// What a task does, as documents show it.
pub fn work_doc(work: &Work) -> WorkDoc {
    let mut doc = WorkDoc {
        env: work.env.clone(),
        dir: work.dir.clone(),
        files: work.files.clone(),
        artifacts: work.artifacts.clone(),
        output: work.output,
        split_output: work.split_output,
        secrets: work.secrets.clone(),
        log_limit: work.log_bytes_max,
        grace: work.grace,
        ..WorkDoc::default()
    };
    match &work.action {
        Action::Command(Command::Argv(argv)) => doc.command = Some(argv.clone()),
        Action::Command(Command::Shell(text)) => doc.shell = Some(text.clone()),
        Action::Http(request) => doc.with = serde_json::to_value(request).ok(),
        Action::Sleep(length) => doc.with = serde_json::to_value(SleepWith { r#for: *length }).ok(),
        Action::Noop | Action::Wait => {}
    }
    doc
}
