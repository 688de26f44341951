//! What people and programs see: tables on a terminal, plain lines elsewhere, JSON where asked.
//! Whatever came from somebody else is stripped of control characters before a terminal gets it.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};

use comfy_table::{Attribute, Cell, Color, ContentArrangement};
use serde::Serialize;

/// How the answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people.
    People,
    /// One JSON document, or one a line when it streams.
    Json,
}

/// Where answers go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    /// How.
    pub(crate) format: Format,
    /// Onto this, instead of standard output.
    page: Option<&'static Page>,
}

/// What is written, kept to be looked at before it is shown.
#[derive(Debug, Default)]
pub(crate) struct Page(Mutex<String>);

impl Page {
    /// An empty one, for the rest of the process.
    pub(crate) fn leaked() -> &'static Self {
        Box::leak(Box::default())
    }

    /// What was written since the last call.
    pub(crate) fn take(&self) -> String {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn write(&self, text: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_str(text);
    }
}

impl Output {
    /// To standard output.
    pub(crate) fn new(format: Format) -> Self {
        Self { format, page: None }
    }

    /// The same, onto this page.
    pub(crate) fn onto(self, page: &'static Page) -> Self {
        Self { page: Some(page), ..self }
    }

    fn text(self, text: &str) -> io::Result<()> {
        match self.page {
            Some(page) => page.write(text),
            None => return raw_text(text),
        }
        Ok(())
    }
}

impl Output {
    /// Whether JSON was asked for.
    pub(crate) fn is_json(self) -> bool {
        self.format == Format::Json
    }

    /// One line for people, on standard output.
    pub(crate) fn line(self, text: impl AsRef<str>) -> io::Result<()> {
        self.text(&format!("{}\n", text.as_ref()))
    }

    /// One JSON document, laid out for reading; on a page on one line.
    pub(crate) fn document(self, value: &impl Serialize) -> io::Result<()> {
        if self.page.is_some() {
            return self.item(value);
        }
        let mut text = serde_json::to_vec_pretty(value).map_err(io::Error::other)?;
        text.push(b'\n');
        raw(&text)
    }

    /// One JSON document on one line: an item of a stream.
    pub(crate) fn item(self, value: &impl Serialize) -> io::Result<()> {
        let mut text = serde_json::to_string(value).map_err(io::Error::other)?;
        text.push('\n');
        match self.page {
            Some(page) => page.write(&text),
            None => return raw(text.as_bytes()),
        }
        Ok(())
    }

    /// A remark beside the answer, on standard error; on a page below it, for people.
    pub(crate) fn note(self, text: impl AsRef<str>) {
        if let Some(page) = self.page.filter(|_| !self.is_json()) {
            page.write(&format!("{}\n", text.as_ref()));
            return;
        }
        // A remark that cannot be written is no reason to fail.
        drop(writeln!(anstream::stderr().lock(), "{}", text.as_ref()));
    }

    /// A table for people.
    pub(crate) fn table(self, head: &[&str], rows: Vec<Vec<String>>) -> io::Result<()> {
        self.text(&render(head, rows, Style::detect()))
    }
}

/// Bytes as they are, on standard output.
pub(crate) fn raw(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

/// Bytes as they are, on standard error.
pub(crate) fn raw_error(bytes: &[u8]) -> io::Result<()> {
    io::stderr().lock().write_all(bytes)
}

/// Text on standard output, with colours where it can show them.
pub(crate) fn raw_text(text: &str) -> io::Result<()> {
    let mut out = anstream::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// How tables are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    /// Fitted to a terminal, in colour.
    Terminal,
    /// Every cell in full, without colour.
    Plain,
}

impl Style {
    fn detect() -> Self {
        if io::stdout().is_terminal() { Self::Terminal } else { Self::Plain }
    }
}

fn render(head: &[&str], rows: Vec<Vec<String>>, style: Style) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    match style {
        Style::Terminal => {
            table.set_content_arrangement(ContentArrangement::Dynamic).enforce_styling();
        }
        Style::Plain => {
            table.set_content_arrangement(ContentArrangement::Disabled).force_no_tty();
        }
    }
    table.set_header(head.iter().map(|text| Cell::new(text.to_uppercase()).add_attribute(Attribute::Bold)));
    for row in rows {
        table.add_row(row.into_iter().map(|text| {
            let cell = Cell::new(clean(&text));
            match colour(&text) {
                Some(colour) => cell.fg(colour),
                None => cell,
            }
        }));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.lines().flat_map(|line| [line.trim_end().to_owned(), "\n".to_owned()]).collect()
}

/// The colour of a state's name, so that trouble stands out.
fn colour(text: &str) -> Option<Color> {
    match text {
        "succeeded" | "connected" | "ok" => Some(Color::Green),
        "failed" | "in_doubt" | "broken" | "missing" => Some(Color::Red),
        "running" | "assigned" | "finishing" => Some(Color::Cyan),
        "cancelled" | "skipped" | "stopping" | "suspect" | "away" | "paused" => Some(Color::Yellow),
        _ => None,
    }
}

/// Text with its control characters written out, so that no name or message can steer a terminal.
/// Line ends become `\n` too.
pub(crate) fn clean(text: &str) -> String {
    if !text.chars().any(char::is_control) {
        return text.to_owned();
    }
    text.chars().map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() }).collect()
}

/// [`clean`], with line ends kept: for messages of many lines.
pub(crate) fn clean_lines(text: &str) -> String {
    text.lines().map(clean).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_tables_hold_every_cell_in_full() {
        let rows = vec![vec!["1".to_owned(), "x".repeat(300)], vec!["22".to_owned(), "b\x1b[31m".to_owned()]];
        let text = render(&["id", "name"], rows, Style::Plain);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "ID  NAME");
        assert_eq!(lines[1], format!("1   {}", "x".repeat(300)));
        assert_eq!(lines[2], "22  b\\u{1b}[31m");
    }

    #[test]
    fn control_characters_are_written_out() {
        assert_eq!(clean("a\tb\n"), "a\\tb\\n");
        assert_eq!(clean_lines("a\nb\x07"), "a\nb\\u{7}");
        assert_eq!(clean("größe"), "größe");
    }
}
