//! A run's inputs: given values checked against what the workflow declares.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::diagnostic::nearest;
use crate::model::{Input, InputKind};

/// Largest inputs of one run, as JSON, in bytes. 1 MiB.
pub(crate) const INPUT_BYTES_MAX: usize = 1 << 20;

/// An input that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct InputError {
    /// Which.
    pub name: String,
    /// A whole sentence: what is wrong, and what to do.
    pub message: String,
}

impl InputKind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Int => "int",
            Self::Number => "number",
            Self::Bool => "bool",
            Self::List => "list",
            Self::Map => "map",
        }
    }

    pub(crate) fn example(self) -> &'static str {
        match self {
            Self::String => "a text",
            Self::Int => "a whole number such as `3`",
            Self::Number => "a number such as `0.5`",
            Self::Bool => "`true` or `false`",
            Self::List => "a list such as `[\"a\", \"b\"]`",
            Self::Map => "a map such as `{\"a\": 1}`",
        }
    }
}

/// Whether a value is of a type.
pub(crate) fn fits(kind: InputKind, value: &Value) -> bool {
    match kind {
        InputKind::String => value.is_string(),
        InputKind::Int => value.is_i64(),
        InputKind::Number => value.is_number(),
        InputKind::Bool => value.is_boolean(),
        InputKind::List => value.is_array(),
        InputKind::Map => value.is_object(),
    }
}

/// The value as the declared type; a text is read as that type.
fn read(kind: InputKind, value: &Value) -> Option<Value> {
    if fits(kind, value) {
        return Some(value.clone());
    }
    match (kind, value) {
        (InputKind::String, Value::Number(_) | Value::Bool(_)) => Some(Value::String(value.to_string())),
        (InputKind::String, _) => None,
        (InputKind::Bool, Value::String(text)) => match text.as_str() {
            "true" | "yes" | "1" => Some(true.into()),
            "false" | "no" | "0" => Some(false.into()),
            _ => None,
        },
        (_, Value::String(text)) => serde_json::from_str(text).ok().filter(|value| fits(kind, value)),
        _ => None,
    }
}

/// The inputs of a run as one object.
pub(crate) fn fill(declared: &[Input], given: &BTreeMap<String, Value>) -> Result<Value, Vec<InputError>> {
    let mut errors = Vec::new();
    let mut filled = serde_json::Map::new();
    for name in given.keys().filter(|name| !declared.iter().any(|input| input.name == **name)) {
        errors.push(InputError { name: name.clone(), message: unknown(declared, name) });
    }
    for input in declared {
        let value = match (given.get(&input.name), &input.default) {
            (Some(value), _) => read(input.kind, value).ok_or_else(|| {
                let shown: String = value.to_string().chars().take(100).collect();
                format!("The input `{}` is {shown}, and must be {}.", input.name, input.kind.example())
            }),
            (None, Some(default)) => Ok(default.clone()),
            (None, None) => {
                Err(format!("The input `{0}` is missing and has no default: give it with `--input {0}=…`.", input.name))
            }
        };
        match value {
            Ok(value) => drop(filled.insert(input.name.clone(), value)),
            Err(message) => errors.push(InputError { name: input.name.clone(), message }),
        }
    }
    let filled = Value::Object(filled);
    if errors.is_empty() && filled.to_string().len() > INPUT_BYTES_MAX {
        let message = format!("The inputs are larger than {INPUT_BYTES_MAX} bytes: hand over a file's name instead.");
        errors.push(InputError { name: String::new(), message });
    }
    if errors.is_empty() { Ok(filled) } else { Err(errors) }
}

fn unknown(declared: &[Input], name: &str) -> String {
    let known: Vec<&str> = declared.iter().map(|input| input.name.as_str()).collect();
    match (nearest(name, known.iter().copied()), known.is_empty()) {
        (Some(near), _) => format!("There is no input `{name}`: did you mean `{near}`?"),
        (None, true) => format!("There is no input `{name}`: this workflow takes none."),
        (None, false) => format!("There is no input `{name}`: this workflow takes {}.", known.join(", ")),
    }
}
