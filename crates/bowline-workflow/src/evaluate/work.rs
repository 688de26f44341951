//! A step's work: its templates compiled once, filled in for each element.

use std::collections::BTreeMap;

use bowline_core::spec::{Action, Command, HttpRequest, SPEC_BYTES_MAX, Work};
use bowline_core::time::{Span, parse_duration};
use minijinja::Value;
use minijinja::value::ValueKind;

use super::Trouble;
use super::scope::{Scope, kind};
use crate::expr::render::text_of;
use crate::expr::{Program, Template};
use crate::model::{Act, Http, Shape, Step};

/// Longest argument or variable of the environment that Linux takes, in bytes, its name included.
const ARGUMENT_BYTES_MAX: usize = 128 * 1024 - 1;

/// A field's template, ready to run.
struct Part<'a> {
    field: String,
    /// The variable's name, the file's path, the header's name.
    key: &'a str,
    template: &'a Template,
    program: Program<'a>,
}

impl<'a> Part<'a> {
    fn new(field: String, key: &'a str, template: &'a Template) -> Result<Self, Trouble> {
        let program =
            Program::new(template).map_err(|failure| Trouble::from_failure(&field, &template.range, failure))?;
        Ok(Self { field, key, template, program })
    }

    fn named(what: &str, entries: &'a [(String, Template)]) -> Result<Vec<Self>, Trouble> {
        entries.iter().map(|(key, template)| Self::new(format!("{what}.{key}"), key, template)).collect()
    }

    fn trouble(&self, cause: impl Into<String>) -> Trouble {
        Trouble::new(&self.field, Some(&self.template.range), cause)
    }

    /// The text: a text as it is, a number or truth value as written, a list or map as JSON.
    fn text(&self, scope: &mut Scope) -> Result<String, Trouble> {
        let value = scope.run(&self.program, self.template, &self.field)?;
        if value.is_none() {
            return Err(self.trouble("it has no value (null): give one with `| default(\"…\", true)`"));
        }
        text_of(&value).map_err(|error| self.trouble(error.detail().unwrap_or("it is no text").to_owned()))
    }

    /// A text that the kernel takes as an argument or variable.
    fn argument(&self, scope: &mut Scope) -> Result<String, Trouble> {
        let text = self.text(scope)?;
        if text.contains('\0') {
            return Err(self.trouble("it holds a NUL byte, which no argument and no variable can"));
        }
        if text.len() + self.key.len() + 1 > ARGUMENT_BYTES_MAX {
            let cause = format!(
                "it is larger than {ARGUMENT_BYTES_MAX} bytes, which no program can be given: hand it over by `files`"
            );
            return Err(self.trouble(cause));
        }
        Ok(text)
    }
}

enum Deed<'a> {
    Fixed(Action),
    Argv(Vec<Part<'a>>),
    Sleep(Box<Part<'a>>),
    Http(Box<Request<'a>>),
}

struct Request<'a> {
    http: &'a Http,
    url: Part<'a>,
    method: Option<Part<'a>>,
    headers: Vec<Part<'a>>,
}

/// A step's templates, compiled.
pub(super) struct Recipe<'a> {
    step: &'a Step,
    deed: Deed<'a>,
    env: Vec<Part<'a>>,
    files: Vec<Part<'a>>,
    dir: Option<Part<'a>>,
}

impl<'a> Recipe<'a> {
    pub(super) fn new(step: &'a Step) -> Result<Self, Trouble> {
        let deed = match &step.act {
            Act::Shell(text) => Deed::Fixed(Action::Command(Command::Shell(text.clone()))),
            Act::Noop => Deed::Fixed(Action::Noop),
            Act::Wait => Deed::Fixed(Action::Wait),
            Act::Argv(argv) => Deed::Argv(
                argv.iter()
                    .enumerate()
                    .map(|(at, template)| Part::new(format!("argv[{at}]"), "", template))
                    .collect::<Result<_, _>>()?,
            ),
            Act::Sleep(length) => Deed::Sleep(Box::new(Part::new("with.for".to_owned(), "", length)?)),
            Act::Http(http) => Deed::Http(Box::new(Request {
                http,
                url: Part::new("with.url".to_owned(), "", &http.url)?,
                method: http.method.as_ref().map(|one| Part::new("with.method".to_owned(), "", one)).transpose()?,
                headers: Part::named("with.headers", &http.headers)?,
            })),
        };
        Ok(Self {
            step,
            deed,
            env: Part::named("env", &step.env)?,
            files: Part::named("files", &step.files)?,
            dir: step.dir.as_ref().map(|dir| Part::new("dir".to_owned(), "", dir)).transpose()?,
        })
    }

    /// The work, for one element where there are some.
    pub(super) fn work(&self, scope: &mut Scope, element: Option<(usize, &Value)>) -> Result<Work, Trouble> {
        if let Some((index, item)) = element {
            scope.set_element(index, item);
        }
        let made = self.fill(scope);
        let work = made.map_err(|mut trouble| {
            if let Some((index, _)) = element {
                trouble.cause = format!("for element {index}: {}", trouble.cause);
            }
            trouble
        })?;
        if bytes(&work) > SPEC_BYTES_MAX {
            let cause = format!("the step holds more than {SPEC_BYTES_MAX} bytes of text");
            return Err(Trouble::new("files", None, cause));
        }
        Ok(work)
    }

    fn fill(&self, scope: &mut Scope) -> Result<Work, Trouble> {
        let mut env = BTreeMap::new();
        for part in &self.env {
            env.insert(part.key.to_owned(), part.argument(scope)?);
        }
        let mut files = BTreeMap::new();
        for part in &self.files {
            files.insert(part.key.to_owned(), part.text(scope)?);
        }
        Ok(Work {
            action: self.action(scope)?,
            env,
            dir: self.dir.as_ref().map(|dir| dir.argument(scope)).transpose()?,
            files,
            artifacts: self.step.artifacts.clone(),
            output: self.step.output,
            split_output: self.step.split_output,
            grace: self.step.grace,
            secrets: BTreeMap::new(),
            log_bytes_max: None,
        })
    }

    fn action(&self, scope: &mut Scope) -> Result<Action, Trouble> {
        Ok(match &self.deed {
            Deed::Fixed(action) => action.clone(),
            Deed::Argv(parts) => {
                let argv: Vec<String> = parts.iter().map(|part| part.argument(scope)).collect::<Result<_, _>>()?;
                if argv.first().is_none_or(String::is_empty) {
                    return Err(parts[0].trouble("the program has no name"));
                }
                Action::Command(Command::Argv(argv))
            }
            Deed::Sleep(part) => {
                let text = part.text(scope)?;
                Action::Sleep(Span(parse_duration(&text).map_err(|error| part.trouble(error.to_string()))?))
            }
            Deed::Http(request) => {
                let Request { http, url, method, headers } = request.as_ref();
                let mut named = BTreeMap::new();
                for part in headers {
                    named.insert(part.key.to_owned(), part.text(scope)?);
                }
                let address = url.text(scope)?;
                if !address.starts_with("http://") && !address.starts_with("https://") {
                    return Err(url.trouble("it must begin with `http://` or `https://`"));
                }
                Action::Http(HttpRequest {
                    url: address,
                    method: method.as_ref().map_or(Ok("GET".to_owned()), |part| part.text(scope))?,
                    headers: named,
                    body: http.body.as_ref().map(|body| body_text(scope, body)).transpose()?,
                    expect: http.expect.clone(),
                    response_bytes_max: http.response_bytes_max,
                })
            }
        })
    }
}

/// A text as it is; anything else as JSON.
fn body_text(scope: &mut Scope, body: &Shape) -> Result<String, Trouble> {
    if let Shape::Text(template) = body {
        let value = scope.value(template, "with.body")?;
        if value.kind() == ValueKind::Undefined {
            return Err(Trouble::new("with.body", Some(&template.range), format!("it is {}", kind(&value))));
        }
        return text_of(&value).map_err(|error| {
            Trouble::new("with.body", Some(&template.range), error.detail().unwrap_or("it is no text").to_owned())
        });
    }
    Ok(scope.shape(body, "with.body")?.to_string())
}

/// About as many bytes as the work takes as JSON.
pub(super) fn bytes(work: &Work) -> usize {
    let named = |entries: &BTreeMap<String, String>| -> usize {
        entries.iter().map(|(key, value)| key.len() + value.len() + 6).sum()
    };
    let action = match &work.action {
        Action::Command(Command::Argv(argv)) => argv.iter().map(|one| one.len() + 3).sum(),
        Action::Command(Command::Shell(text)) => text.len(),
        Action::Http(http) => http.url.len() + named(&http.headers) + http.body.as_ref().map_or(0, String::len),
        Action::Noop | Action::Wait | Action::Sleep(_) => 0,
    };
    action + named(&work.env) + named(&work.files) + 256
}
