//! `--watch`: shows an answer again whenever it has changed.
//!
//! The server tells every change as an event; one look serves all that has happened within [`GATHER`]. What no event tells
//! (ages, how far a large array is, what a worker still delivers) is looked at every [`ANEW`]. On a terminal the answer is drawn in
//! place; elsewhere the first one is written in full, and after that each line that is new or has changed other than in its
//! ages; as JSON it is one document a line, whenever something other than a clock has changed in it.

use std::io::{self, IsTerminal};
use std::time::Duration;

use bowline_api::EventQuery;
use bowline_client::{EventItem, EventStream};
use serde_json::Value;

use crate::commands::Setting;
use crate::exit::Exit;
use crate::output::{self, Page};
use crate::signals;

/// So much is gathered before the next look, where much changes.
const GATHER: Duration = Duration::from_millis(300);
/// Between two looks, where nothing is told.
const ANEW: Duration = Duration::from_secs(5);
/// Fields of documents that change by themselves.
const CLOCKS: [&str; 3] = ["heard_at", "oldest_age_seconds", "vitals"];

/// Whether to.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Watch {
    /// Show it again at every change, until Ctrl-C
    #[arg(long)]
    pub(crate) watch: bool,
}

/// Whether there is more to be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sight {
    /// It may change.
    Open,
    /// It does not change any more.
    Over,
}

impl Watch {
    /// Looks once, or whenever something has changed: until it does not change any more, or Ctrl-C.
    pub(crate) async fn look(
        self,
        on: &Setting,
        look: impl AsyncFn(&Setting) -> anyhow::Result<Sight>,
    ) -> anyhow::Result<Exit> {
        if !self.watch {
            look(on).await?;
            return Ok(Exit::GOOD);
        }
        let mut stop = signals::Stop::new()?;
        tokio::select! {
            ended = watched(on, look) => ended.map(|()| Exit::GOOD),
            () = stop.asked() => Ok(Exit::INTERRUPTED),
        }
    }
}

async fn watched(on: &Setting, look: impl AsyncFn(&Setting) -> anyhow::Result<Sight>) -> anyhow::Result<()> {
    let page = Page::leaked();
    let paged = Setting { config: on.config.clone(), out: on.out.onto(page), namespace: on.namespace.clone() };
    let mut screen = Screen::new(on);
    let mut events = on.client()?.events(EventQuery { namespace: Some("*".to_owned()), ..EventQuery::default() });
    // From here on all is told: what came before is seen by the first look.
    while events.next().await? != EventItem::Open {}
    loop {
        let sight = look(&paged).await?;
        screen.show(&page.take())?;
        if sight == Sight::Over {
            return Ok(());
        }
        if let Ok(told) = tokio::time::timeout(ANEW, events.next()).await {
            told?;
            gather(&mut events).await?;
        }
    }
}

/// One look serves all that happens within so long.
async fn gather(events: &mut EventStream) -> anyhow::Result<()> {
    let over = tokio::time::sleep(GATHER);
    tokio::pin!(over);
    loop {
        tokio::select! {
            () = &mut over => return Ok(()),
            told = events.next() => {
                told?;
            }
        }
    }
}

/// Where it is shown, and what was shown last.
#[derive(Debug)]
enum Screen {
    /// Drawn in place.
    Terminal,
    /// The lines that were written last, without their ages.
    Lines(Vec<String>),
    /// The document that was written last, without clocks.
    Json(Value),
}

impl Screen {
    fn new(on: &Setting) -> Self {
        if on.out.is_json() {
            Self::Json(Value::Null)
        } else if io::stdout().is_terminal() {
            Self::Terminal
        } else {
            Self::Lines(Vec::new())
        }
    }

    fn show(&mut self, text: &str) -> io::Result<()> {
        let new = match self {
            Self::Terminal => drawn(text, rows()),
            Self::Lines(shown) => changed(shown, text),
            Self::Json(shown) => {
                let mut value: Value = serde_json::from_str(text).map_err(io::Error::other)?;
                drop_clocks(&mut value);
                if value == *shown {
                    return Ok(());
                }
                *shown = value;
                format!("{}\n", text.trim_end())
            }
        };
        output::raw_text(&new)
    }
}

/// How many lines the terminal has.
fn rows() -> usize {
    rustix::termios::tcgetwinsize(io::stdout()).map_or(usize::MAX, |size| usize::from(size.ws_row)).max(2)
}

/// From the top, each line cleared to its end, and nothing left below: without flicker, and no longer than the terminal.
fn drawn(text: &str, rows: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let shown = if lines.len() < rows { lines.len() } else { rows - 2 };
    let mut new = String::from("\x1b[H");
    for line in &lines[..shown] {
        new.push_str(line);
        new.push_str("\x1b[K\n");
    }
    let more = match lines.len() - shown {
        0 => String::new(),
        more => format!("({more} more lines)\x1b[K\n"),
    };
    new + &more + "\x1b[J"
}

/// The lines that were not there before.
fn changed(shown: &mut Vec<String>, text: &str) -> String {
    let lines: Vec<(&str, String)> = text.lines().map(|line| (line, ageless(line))).collect();
    let mut before = std::mem::take(shown);
    let mut new = String::new();
    for (line, ageless) in &lines {
        match before.iter().position(|known| known == ageless) {
            Some(place) => drop(before.swap_remove(place)),
            None => new.extend([line, "\n"]),
        }
    }
    shown.extend(lines.into_iter().map(|(_, ageless)| ageless));
    new
}

/// A line without its ages and its layout.
fn ageless(line: &str) -> String {
    let word = |word: &str| {
        let bare = word.trim_end_matches([',', ';', '.', ')']);
        let number = bare.strip_suffix(['s', 'm', 'h', 'd']).unwrap_or_default();
        let is_age = !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit());
        if is_age { "~".to_owned() } else { word.to_owned() }
    };
    line.split_whitespace().map(word).collect::<Vec<_>>().join(" ")
}

fn drop_clocks(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(drop_clocks),
        Value::Object(fields) => {
            for clock in CLOCKS {
                fields.remove(clock);
            }
            fields.values_mut().for_each(drop_clocks);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_only_grew_older_are_not_written_again() {
        let mut shown = Vec::new();
        assert_eq!(
            changed(&mut shown, "task 4 is waiting since 9s\n  - held\n"),
            "task 4 is waiting since 9s\n  - held\n"
        );
        assert_eq!(changed(&mut shown, "task 4 is waiting   since 10s\n  - held\n"), "");
        assert_eq!(changed(&mut shown, "task 4 is ready since 0s\n  - held\n"), "task 4 is ready since 0s\n");
        // The same line once more is news.
        assert_eq!(changed(&mut shown, "task 4 is ready since 1s\n  - held\n  - held\n"), "  - held\n");
        assert_eq!(ageless("paused for 12m; at 3s, by 5x s"), "paused for ~ at ~ by 5x s");
    }

    #[test]
    fn a_terminal_is_drawn_from_the_top_and_no_longer_than_it_is() {
        assert_eq!(drawn("a\nb\n", 4), "\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J");
        assert_eq!(drawn("a\nb\nc\nd\n", 4), "\x1b[Ha\x1b[K\nb\x1b[K\n(2 more lines)\x1b[K\n\x1b[J");
    }

    #[test]
    fn clocks_are_no_change_of_a_document() {
        let mut value = serde_json::json!({"a": [{"heard_at": 1, "b": 2}], "vitals": {}});
        drop_clocks(&mut value);
        assert_eq!(value, serde_json::json!({"a": [{"b": 2}]}));
    }
}
