//! A job's result: what it wrote into `BOWLINE_OUTPUT`, else its standard output where its task says how to
//! read that.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use bowline_core::spec::{OutputFormat, RESULT_BYTES_MAX};
use bowline_protocol::LogStream;
use serde_json::Value;

use crate::prepare::{Plan, log_file};

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub(super) enum OutputError {
    #[error("reading {what} failed: {source}")]
    Io { what: &'static str, source: io::Error },
    #[error(
        "{what} is larger than a result may be ({RESULT_BYTES_MAX} bytes): leave it as an artifact, in the folder BOWLINE_ARTIFACTS"
    )]
    TooLarge { what: &'static str },
    #[error("standard output is not one JSON document, as the task's `output: json` asks for: {0}")]
    NotJson(serde_json::Error),
    #[error("line {line} of BOWLINE_OUTPUT is neither `key=value` nor part of a JSON document: `{text}`")]
    NotKeyValue { line: usize, text: String },
}

/// The result as JSON, if there is one.
pub(super) fn read(plan: &Plan, notes: &mut Vec<String>) -> Result<Option<String>, OutputError> {
    let written = read_bounded(&plan.output_file(), "BOWLINE_OUTPUT")?;
    let output = || read_bounded(&log_file(&plan.folder, LogStream::Output), "standard output");
    result(&written, plan.work.output, output, notes)
}

/// From what was written into `BOWLINE_OUTPUT`; where that is nothing, from standard output.
pub(super) fn result(
    written: &[u8],
    format: Option<OutputFormat>,
    output: impl FnOnce() -> Result<Vec<u8>, OutputError>,
    notes: &mut Vec<String>,
) -> Result<Option<String>, OutputError> {
    let json = if written.iter().all(u8::is_ascii_whitespace) {
        let Some(format) = format else { return Ok(None) };
        from_output(&output()?, format, notes)?
    } else {
        from_file(written, notes)?
    };
    if json.len() > RESULT_BYTES_MAX { Err(OutputError::TooLarge { what: "the result" }) } else { Ok(Some(json)) }
}

fn read_bounded(path: &Path, what: &'static str) -> Result<Vec<u8>, OutputError> {
    let failed = |source| OutputError::Io { what, source };
    let file = match File::open(path) {
        Ok(file) => file,
        // A job may remove what is its own.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut bytes = Vec::new();
    file.take(RESULT_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > RESULT_BYTES_MAX { Err(OutputError::TooLarge { what }) } else { Ok(bytes) }
}

fn text(bytes: &[u8], what: &str, notes: &mut Vec<String>) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(error) => {
            let at = error.valid_up_to();
            notes.push(format!(
                "{what} is not valid UTF-8 (first at byte {at}); what is not was replaced by \u{fffd} in the result"
            ));
            String::from_utf8_lossy(bytes).into_owned()
        }
    }
}

fn from_output(output: &[u8], format: OutputFormat, notes: &mut Vec<String>) -> Result<String, OutputError> {
    let text = text(output, "standard output", notes);
    let value = match format {
        OutputFormat::Json => return document(&text).map_err(OutputError::NotJson),
        OutputFormat::Lines => text.lines().map(Value::from).collect(),
        OutputFormat::Nul => {
            let mut strings: Vec<&str> = text.split('\0').collect();
            // What follows the last NUL is a string only where something follows it.
            if strings.last() == Some(&"") {
                strings.pop();
            }
            strings.into_iter().map(Value::from).collect()
        }
        OutputFormat::Text => {
            let text = text.strip_suffix('\n').map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text));
            Value::from(text)
        }
    };
    Ok(value.to_string())
}

/// A JSON document as it was written, but for the space between its parts: what reads it as numbers of its own would round those
/// that are long.
fn document(text: &str) -> Result<String, serde_json::Error> {
    serde_json::from_str::<Value>(text)?;
    let (mut is_in_string, mut is_escaped) = (false, false);
    let is_kept = |c: &char| {
        let is_space = !is_in_string && c.is_ascii_whitespace();
        is_in_string ^= *c == '"' && !is_escaped;
        is_escaped = *c == '\\' && !is_escaped;
        !is_space
    };
    Ok(text.chars().filter(is_kept).collect())
}

fn from_file(written: &[u8], notes: &mut Vec<String>) -> Result<String, OutputError> {
    let text = text(written, "BOWLINE_OUTPUT", notes);
    if let Ok(json) = document(&text) {
        return Ok(json);
    }
    let mut object = serde_json::Map::new();
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        match line.split_once('=') {
            Some((key, value)) if is_key(key.trim()) => {
                object.insert(key.trim().to_owned(), Value::from(value));
            }
            _ => {
                let text = line.chars().take(80).collect();
                return Err(OutputError::NotKeyValue { line: at + 1, text });
            }
        }
    }
    Ok(Value::Object(object).to_string())
}

fn is_key(key: &str) -> bool {
    !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || "_-.".contains(c))
}
