//! What people write in one word: sizes, spans, ids, names, arrays, dependencies, requirements. What is taken is shown so that it
//! is taken again, and means the same.

use std::fmt::Display;
use std::str::FromStr;

use bowline_api::decode::nearest;
use bowline_api::{After, Array, EventId};
use bowline_blob::Digest;
use bowline_core::id::{RunId, TaskRef};
use bowline_core::name::{Key, Namespace, PoolName, StepName, WorkerName, WorkflowName};
use bowline_core::size::{format_size, parse_size};
use bowline_core::spec::Requirement;
use bowline_core::state::StateKind;
use bowline_core::time::{Span, format_duration, parse_duration};
use bowline_protocol::call::ProtocolVersion;

/// Longest sentence about a word that cannot be used, in bytes and beyond the word itself.
const WHY_BYTES_MAX: usize = 1 << 10;

/// Reads text as every kind of word.
pub fn check(text: &str) {
    shown::<TaskRef>(text);
    let is_task = text.parse::<TaskRef>().is_ok();
    assert!(!is_task || text.bytes().all(|byte| byte == b'.' || byte.is_ascii_digit()), "`{text}` is taken for a task");
    shown::<Span>(text);
    shown::<Digest>(text);
    drop(text.parse::<Requirement>());
    shown::<After>(text);
    shown::<Array>(text);
    shown::<EventId>(text);
    shown::<WorkerName>(text);
    shown::<PoolName>(text);
    shown::<Namespace>(text);
    shown::<Key>(text);
    shown::<StepName>(text);
    shown::<WorkflowName>(text);
    if let Some(run) = RunId::parse(text) {
        assert_eq!(RunId::parse(&format!("r{run}")), Some(run));
        assert!(text[1..].bytes().all(|byte| byte.is_ascii_digit()), "`{text}` is taken for `r{run}`");
    }
    if let Some(version) = ProtocolVersion::parse(text) {
        assert_eq!(ProtocolVersion::parse(&version.to_string()), Some(version));
    }
    if let Ok(size) = parse_size(text) {
        assert!(!format_size(size).is_empty());
        assert_eq!(parse_size(&size.to_string()), Ok(size));
    }
    if let Ok(length) = parse_duration(text) {
        let written = format_duration(length);
        let again = parse_duration(&written).expect("a duration that was written");
        assert_eq!(format_duration(again), written, "`{text}` is {length:?}");
    }
    let names = StateKind::ALL.map(StateKind::name);
    assert!(nearest(text, names).is_none_or(|name| names.contains(&name)));
}

fn shown<T>(text: &str)
where
    T: FromStr<Err: Display> + Display + PartialEq + std::fmt::Debug,
{
    match text.parse::<T>() {
        Ok(word) => {
            let written = word.to_string();
            let again = written.parse::<T>().unwrap_or_else(|why| panic!("`{text}` is shown as `{written}`: {why}"));
            assert_eq!(again, word, "`{text}` is shown as `{written}`");
        }
        Err(why) => {
            let why = why.to_string();
            assert!(
                !why.is_empty() && why.len() <= text.len() * 4 + WHY_BYTES_MAX,
                "a sentence of {} bytes",
                why.len()
            );
        }
    }
}
