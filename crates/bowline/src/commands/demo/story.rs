//! What the demo tells, line by line, with the time at which each thing happened.

use std::io;

use serde::Serialize;
use serde_json::Value;
use tokio::time::Instant;

use super::stage::Stage;
use crate::output::{Output, clean};

/// Bold, dim, red, green, and back. They are taken out where the answer goes to no terminal.
pub(super) const BOLD: &str = "\u{1b}[1m";
pub(super) const DIM: &str = "\u{1b}[2m";
pub(super) const RED: &str = "\u{1b}[31m";
pub(super) const GREEN: &str = "\u{1b}[32m";
pub(super) const PLAIN: &str = "\u{1b}[0m";

/// Tells.
#[derive(Debug)]
pub(super) struct Story {
    out: Output,
    began: Instant,
}

impl Story {
    /// Begins now.
    pub(super) fn new(out: Output) -> Self {
        Self { out, began: Instant::now() }
    }

    /// Seconds since the beginning.
    pub(super) fn seconds(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    /// What this is about.
    pub(super) fn opening(&self, root: &str, stage: &Stage) -> io::Result<()> {
        let (folder, slots) = (stage.path().display().to_string(), stage.slots);
        if self.out.is_json() {
            return self.out.item(
                &serde_json::json!({"event": "demo", "at_seconds": 0.0, "root": root, "folder": folder, "slots": slots}),
            );
        }
        self.out
            .line(format!("{BOLD}The census of {}, while everything that runs it is killed.{PLAIN}", clean(root)))?;
        self.out.line(format!(
            "{DIM}Server, worker and supervisor of its own, {slots} jobs at a time, all in {folder}; Ctrl-C stops it.{PLAIN}"
        ))
    }

    /// One thing that happened; `more` is for programs.
    pub(super) fn tell(&self, event: &str, sentence: &str, more: &impl Serialize) -> io::Result<()> {
        if !self.out.is_json() {
            let shown = match event {
                "killed" => highlighted(sentence),
                _ => clean(sentence),
            };
            return self.out.line(format!("{DIM}{:5.1} s{PLAIN}  {shown}", self.seconds()));
        }
        let mut line = serde_json::json!({"event": event, "at_seconds": rounded(self.seconds()), "sentence": sentence});
        if let (Value::Object(line), Ok(Value::Object(more))) = (&mut line, serde_json::to_value(more)) {
            line.extend(more);
        }
        self.out.item(&line)
    }
}

/// Who was killed stands out.
fn highlighted(sentence: &str) -> String {
    let sentence = clean(sentence);
    match sentence.split_once(" killed") {
        Some((who, rest)) => format!("{RED}{who} killed{PLAIN}{rest}"),
        None => sentence,
    }
}

/// To the hundredth.
pub(super) fn rounded(seconds: f64) -> f64 {
    (seconds * 100.0).round() / 100.0
}

/// `1 job`, `2 jobs`.
pub(super) fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{} {what}s", grouped(number as u64)) }
}

/// `43,408`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (43_408, "43,408"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
        assert_eq!((count(1, "job"), count(2_000, "job")), ("1 job".to_owned(), "2,000 jobs".to_owned()));
    }
}
