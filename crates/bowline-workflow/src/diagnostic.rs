//! Mistakes in a workflow file, with their places, and how they are shown.

/// Bytes of the file's text.
pub(crate) type Range = std::ops::Range<usize>;

/// Most mistakes shown of one file.
const MISTAKES_MAX: usize = 100;
/// Longest part of a source line that is shown, in characters.
const LINE_CHARS_MAX: usize = 120;

/// How a diagnostic is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Style {
    /// Plain text.
    #[default]
    Plain,
    /// With ANSI colours.
    Coloured,
}

/// One mistake, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// What is wrong: a sentence without its full stop.
    pub message: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// How many characters of that line it is about. At least 1.
    pub length: usize,
    /// What to do.
    pub help: Option<String>,
}

impl Diagnostic {
    /// The mistake as people see it: `file:line:column`, the source line, a caret line, the help.
    /// Ends with a line end.
    pub fn render(&self, file_name: &str, text: &str, style: Style) -> String {
        let (red, blue, bold, green, off) = match style {
            Style::Plain => ("", "", "", "", ""),
            Style::Coloured => ("\x1b[1;31m", "\x1b[1;34m", "\x1b[1m", "\x1b[1;32m", "\x1b[0m"),
        };
        let number = self.line.to_string();
        let gutter = " ".repeat(number.len());
        let (source, before) = self.source_line(text);
        let carets = "^".repeat(self.length.min(LINE_CHARS_MAX));
        let (message, line, column) = (shown(&self.message), self.line, self.column);
        let help = self
            .help
            .as_deref()
            .map_or(String::new(), |help| format!("{gutter} {blue}={off} {green}help{off}: {}\n", shown(help)));
        [
            format!("{red}error{off}{bold}: {message}{off}\n"),
            format!("{gutter}{blue}-->{off} {}:{line}:{column}\n", shown(file_name)),
            format!("{gutter} {blue}|{off}\n{blue}{number} |{off} {source}\n"),
            format!("{gutter} {blue}|{off} {before}{red}{carets}{off}\n"),
            help,
        ]
        .concat()
    }

    /// The source line, cut around the place where it is long, and the room before the caret.
    fn source_line(&self, text: &str) -> (String, String) {
        let line = text.lines().nth(self.line - 1).unwrap_or("");
        let chars: Vec<char> = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let column = (self.column - 1).min(chars.len());
        let from = if chars.len() <= LINE_CHARS_MAX { 0 } else { column.saturating_sub(LINE_CHARS_MAX / 3) };
        let shown: String = chars.iter().skip(from).take(LINE_CHARS_MAX).collect();
        (shown, " ".repeat(column - from))
    }
}

/// Text without control characters, for terminals.
fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

/// The mistakes found so far.
#[derive(Debug, Default)]
pub(crate) struct Mistakes {
    found: Vec<(Range, String, Option<String>)>,
}

impl Mistakes {
    pub(crate) fn add(&mut self, range: Range, message: impl Into<String>, help: Option<String>) {
        if self.found.len() < MISTAKES_MAX {
            self.found.push((range, message.into(), help));
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// As diagnostics, in the order of the text.
    pub(crate) fn into_diagnostics(mut self, text: &str) -> Vec<Diagnostic> {
        self.found.sort_by_key(|(range, ..)| range.start);
        self.found
            .into_iter()
            .map(|(range, message, help)| {
                let (line, column, length) = place(text, &range);
                Diagnostic { message, line, column, length, help }
            })
            .collect()
    }
}

/// Line, column and length in characters, of bytes of a text.
pub(crate) fn place(text: &str, range: &Range) -> (usize, usize, usize) {
    let start = floor(text, range.start);
    let end = floor(text, range.end).max(start);
    let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
    let line = text[..start].matches('\n').count() + 1;
    let column = text[line_start..start].chars().count() + 1;
    let rest = text[start..end].lines().next().unwrap_or("").trim_end();
    (line, column, rest.chars().count().max(1))
}

fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// The known name nearest to what was written, where one is near.
pub(crate) fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let written: Vec<char> = written.chars().take(64).collect();
    known
        .into_iter()
        .map(|name| (distance(&written, &name.chars().collect::<Vec<_>>()), name))
        .filter(|(far, name)| *far <= (name.chars().count().max(written.len())).div_ceil(3).min(3))
        .min_by_key(|(far, _)| *far)
        .map(|(_, name)| name)
}

/// Edits from one text to the other; two letters swapped count as one.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = match (i, j) {
                (0, _) => j,
                (_, 0) => i,
                _ => {
                    let change = usize::from(!a[i - 1].eq_ignore_ascii_case(&b[j - 1]));
                    let mut best = (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(rows[i - 1][j - 1] + change);
                    if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                        best = best.min(rows[i - 2][j - 2] + 1);
                    }
                    best
                }
            };
        }
    }
    rows[a.len()][b.len()]
}
