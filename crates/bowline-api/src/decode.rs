//! From bytes to documents, with the exact place of what is wrong.

use serde::Deserializer;
use serde::de::DeserializeOwned;
use serde_path_to_error::{Path, Segment};

use crate::problem::Mistake;

/// Longest part of what was sent that a message repeats, in characters.
const QUOTED_CHARS_MAX: usize = 80;

/// Reads a JSON document, which is an object. A mistake says at which field it is, and at which line and column.
pub fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Box<Mistake>> {
    no_list(bytes)?;
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let document = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let mut mistake = mistake(error.path(), &without_place(error.inner()));
        mistake.line = u32::try_from(error.inner().line()).ok().filter(|line| *line > 0);
        mistake.column = u32::try_from(error.inner().column()).ok();
        Box::new(mistake)
    })?;
    deserializer.end().map_err(|error| {
        Box::new(Mistake {
            message: format!("After the document there is something more: {}.", without_place(&error)),
            line: u32::try_from(error.line()).ok(),
            column: u32::try_from(error.column()).ok(),
            ..Mistake::default()
        })
    })?;
    Ok(document)
}

/// A list would be read as the fields of a document in their order, an empty one as a document that says nothing.
fn no_list(bytes: &[u8]) -> Result<(), Box<Mistake>> {
    match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'[') => Err(Box::new(mistake_of_whole("it is a list, and must be an object: `{…}`"))),
        _ => Ok(()),
    }
}

fn mistake_of_whole(problem: &str) -> Mistake {
    Mistake { message: format!("The document cannot be read: {problem}."), ..Mistake::default() }
}

/// Reads a document from any other form: a part of one that was read already, or a query.
pub fn from_parts<'de, T: DeserializeOwned, D: Deserializer<'de>>(deserializer: D) -> Result<T, Box<Mistake>>
where
    D::Error: std::fmt::Display,
{
    serde_path_to_error::deserialize(deserializer)
        .map_err(|error| Box::new(mistake(error.path(), &error.inner().to_string())))
}

/// `serde_json` repeats the place at the end of its message; documents have fields for it.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.clone(), |(message, _)| message.to_owned())
}

fn mistake(path: &Path, problem: &str) -> Mistake {
    let place = shown(path);
    if let Some((field, known)) = unknown_field(problem) {
        return unknown(place.as_deref(), field, &known);
    }
    let problem = quoted(problem);
    let message = match &place {
        Some(place) => format!("`{place}`: {problem}."),
        None => return mistake_of_whole(&problem),
    };
    Mistake { path: place, message, ..Mistake::default() }
}

/// What is wrong with a field that nobody knows, and which one may be meant.
fn unknown(place: Option<&str>, field: &str, known: &[&str]) -> Mistake {
    let quoted_field = quoted(field);
    let path = match place {
        Some(place) if place.ends_with(field) => place.to_owned(),
        Some(place) => format!("{place}.{quoted_field}"),
        None => quoted_field,
    };
    let suggestion = nearest(field, known.iter().copied());
    let next = match (suggestion, known.is_empty()) {
        (Some(near), _) => format!("Did you mean `{near}`?"),
        (None, true) => "No field is known there.".to_owned(),
        (None, false) => format!("Known there: {}.", known.join(", ")),
    };
    Mistake {
        message: format!("There is no field `{path}`. {next}"),
        path: Some(path),
        suggestion: suggestion.map(str::to_owned),
        ..Mistake::default()
    }
}

/// Takes serde's sentence about an unknown field apart: the field, and those that are known.
fn unknown_field(problem: &str) -> Option<(&str, Vec<&str>)> {
    let rest = problem.strip_prefix("unknown field `")?;
    let (field, known) = rest.rsplit_once("`, expected ").or_else(|| rest.rsplit_once("`, there are no fields"))?;
    Some((field, known.split('`').skip(1).step_by(2).collect()))
}

/// The known name nearest to what was written, where one is near.
pub fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let written = written.get(..64).unwrap_or(written).to_lowercase();
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&written, name), name))
        .filter(|(far, name)| *far <= name.len().max(written.len()).div_ceil(3).min(3))
        .min_by_key(|(far, _)| *far)
        .map(|(_, name)| name)
}

/// The path as people write it: `tasks[3].timeouts.run`. `None`: the document as a whole.
fn shown(path: &Path) -> Option<String> {
    let mut text = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => text.extend(["[", &index.to_string(), "]"]),
            Segment::Map { key } | Segment::Enum { variant: key } => {
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(&quoted(key));
            }
            Segment::Unknown => {}
        }
    }
    (!text.is_empty()).then_some(text)
}

fn quoted(text: &str) -> String {
    let clean = text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c });
    let mut short: String = clean.take(QUOTED_CHARS_MAX * 4).collect();
    if text.chars().count() > QUOTED_CHARS_MAX * 4 {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::new_task::{NewTask, Submit};

    fn wrong<T: DeserializeOwned + std::fmt::Debug>(json: &str) -> Mistake {
        *from_json::<T>(json.as_bytes()).unwrap_err()
    }

    #[test]
    fn an_unknown_field_is_named_with_the_nearest_known_one() {
        let mistake = wrong::<Submit>(r#"{"tasks":[{"shell":"true"},{"shell":"true","timeouts":{"rum":"5s"}}]}"#);
        assert_eq!(mistake.path.as_deref(), Some("tasks[1].timeouts.rum"));
        assert_eq!(mistake.suggestion.as_deref(), Some("run"));
        assert_eq!(mistake.message, "There is no field `tasks[1].timeouts.rum`. Did you mean `run`?");
    }

    #[test]
    fn a_list_is_no_document() {
        for list in ["[]", " [null, null]", "\n[\"true\"]"] {
            let said =
                [wrong::<crate::PauseRequest>(list), wrong::<crate::ResourceChange>(list)].map(|one| one.message);
            assert!(said.iter().all(|said| said.contains("it is a list, and must be an object")), "{said:?}");
        }
    }

    #[test]
    fn an_unknown_field_at_the_top_is_named() {
        let mistake = wrong::<NewTask>(r#"{"comand":["true"]}"#);
        assert_eq!((mistake.path.as_deref(), mistake.suggestion.as_deref()), (Some("comand"), Some("command")));
        let mistake = wrong::<NewTask>(r#"{"qqqqqqqq":1}"#);
        assert_eq!(mistake.suggestion, None);
        assert!(mistake.message.contains("Known there: name, labels"), "{}", mistake.message);
    }

    #[test]
    fn a_wrong_type_is_named_with_its_place() {
        for (json, path, part) in [
            (r#"{"slots":"many"}"#, "slots", "invalid type"),
            (r#"{"slots":-1}"#, "slots", "invalid value"),
            (r#"{"env":{"A":1}}"#, "env.A", "invalid type"),
            (r#"{"requires":["a","=b"]}"#, "requires[1]", "cannot name"),
            (r#"{"after":["1","2:soon"]}"#, "after[1]", "names no dependency"),
            (r#"{"after":[{"task":"x"}]}"#, "after[0].task", "no task id"),
            (r#"{"array":"5-1"}"#, "array", "describes no array"),
            (r#"{"delay":"5 parsecs"}"#, "delay", "no duration"),
            (r#"{"amounts":{"memory":"2 many"}}"#, "amounts.memory", "no size"),
            (r#"{"at":"tomorrow"}"#, "at", ""),
            (r#"{"retry":{"extra":1.5}}"#, "retry.extra", "invalid type"),
        ] {
            let mistake = wrong::<NewTask>(json);
            assert_eq!(mistake.path.as_deref(), Some(path), "{json}");
            assert!(mistake.message.contains(part), "{json}: {}", mistake.message);
            assert!(!mistake.message.contains(" at line "), "{}", mistake.message);
        }
    }

    #[test]
    fn what_is_no_json_is_named_with_line_and_column() {
        let mistake = wrong::<NewTask>("{\n  \"name\": }");
        assert_eq!((mistake.line, mistake.column), (Some(2), Some(11)));
        assert!(wrong::<NewTask>("{} {}").message.contains("something more"));
        assert!(wrong::<NewTask>("").message.contains("EOF"));
    }

    #[test]
    fn the_nearest_name_is_near() {
        assert_eq!(nearest("lable", ["name", "label"]), Some("label"));
        assert_eq!(nearest("zzz", ["name", "label"]), None);
    }
}
