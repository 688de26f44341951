//! How a log is written out: lines with their step and time before them, escape sequences for colours
//! kept or taken out. Works on pieces as they come: a line, or a sequence, may be split over any number
//! of them.

use anstream::stream::RawStream;
use anstream::{AutoStream, ColorChoice};
use bowline_client::LogPiece;
use clap::ValueEnum;

/// Whether escape sequences stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless `NO_COLOR` is set
    #[default]
    Auto,
    /// Keep them
    Always,
    /// Take them out
    Never,
}

/// What is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::Args)]
pub(crate) struct Look {
    /// Put before each line when it was written, by its worker's clock, in UTC
    #[arg(long)]
    pub(crate) timestamps: bool,
    /// Whether the job's colours stay
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: Color,
}

impl Look {
    /// As it is, colours by what it is written to.
    pub(crate) const PLAIN: Self = Self { timestamps: false, color: Color::Auto };
}

/// Writes out one log.
#[derive(Debug)]
pub(crate) struct View {
    before: String,
    timestamps: bool,
    strip: Option<Strip>,
    /// Whether the next byte begins a line.
    begins: bool,
}

impl View {
    /// With this before each line; for standard output, or the other side.
    pub(crate) fn new(look: Look, before: &str, to: &impl RawStream) -> Self {
        let keeps = match look.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => AutoStream::choice(to) != ColorChoice::Never,
        };
        let strip = (!keeps).then(Strip::default);
        Self { before: before.to_owned(), timestamps: look.timestamps, strip, begins: true }
    }

    /// What a piece looks like.
    pub(crate) fn show(&mut self, piece: LogPiece) -> Vec<u8> {
        let at = match &piece {
            LogPiece::Bytes { at, .. } => *at,
            LogPiece::LeftOut { .. } | LogPiece::Truncated => None,
        };
        let is_mark = !matches!(piece, LogPiece::Bytes { .. });
        let bytes = piece.into_bytes();
        // A mark is a line of its own: it needs no second line end before it.
        let bytes = if is_mark && self.begins { bytes.slice(1..) } else { bytes };
        let bytes = match &mut self.strip {
            Some(strip) if !is_mark => strip.strip(&bytes),
            Some(_) | None => bytes.to_vec(),
        };
        if self.before.is_empty() && !self.timestamps {
            self.begins = bytes.last().map_or(self.begins, |byte| *byte == b'\n');
            return bytes;
        }
        let mut shown = Vec::with_capacity(bytes.len() + 64);
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.begins && !(is_mark && line == b"\n") {
                if self.timestamps {
                    let time = at.map_or_else(|| "-".repeat(24), |at| format!("{at:.3}"));
                    shown.extend_from_slice(time.as_bytes());
                    shown.push(b' ');
                }
                shown.extend_from_slice(self.before.as_bytes());
            }
            shown.extend_from_slice(line);
            self.begins = line.ends_with(b"\n");
        }
        shown
    }

    /// What is written at the end, so that the next log begins on a line of its own.
    pub(crate) fn end(&self) -> &'static [u8] {
        if self.begins || self.before.is_empty() { b"" } else { b"\n" }
    }
}

/// Takes escape sequences out, and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Strip {
    #[default]
    Text,
    /// After ESC.
    Escape,
    /// In `ESC [ …`, up to its last byte.
    Control,
    /// In `ESC ] …` and the like, up to BEL or `ESC \`.
    String,
    /// After ESC in one of those.
    StringEscape,
    /// After `ESC (` and the like: one more byte.
    One,
}

impl Strip {
    fn strip(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut kept = Vec::with_capacity(bytes.len());
        for byte in bytes {
            *self = match (*self, byte) {
                (Self::Text | Self::Escape, 0x1b) => Self::Escape,
                (Self::Text, byte) => {
                    kept.push(*byte);
                    Self::Text
                }
                // Whoever forgets to end a sequence does not take the next line with it.
                (Self::Control | Self::String | Self::StringEscape | Self::Escape | Self::One, b'\n') => {
                    kept.push(b'\n');
                    Self::Text
                }
                (Self::Escape, 0x20..=0x2f) => Self::One,
                (Self::String | Self::StringEscape, 0x1b) => Self::StringEscape,
                (Self::Control, 0x40..=0x7e) | (Self::String, 0x07) | (Self::StringEscape, b'\\') => Self::Text,
                (Self::Escape, b'[') | (Self::Control, _) => Self::Control,
                (Self::Escape, b']' | b'P' | b'X' | b'^' | b'_') | (Self::String | Self::StringEscape, _) => {
                    Self::String
                }
                (Self::Escape | Self::One, _) => Self::Text,
            };
        }
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &[u8], ms: i64) -> LogPiece {
        let at = jiff::Timestamp::from_millisecond(ms).ok().filter(|_| ms > 0);
        LogPiece::Bytes { at, bytes: text.to_vec().into() }
    }

    fn view(timestamps: bool, before: &str) -> View {
        let look = Look { timestamps, color: Color::Never };
        View::new(look, before, &std::io::stdout())
    }

    #[test]
    fn sequences_are_taken_out_wherever_they_are_split() {
        let text = b"a\x1b[1;31mred\x1b[0m \x1b]0;title\x07b \x1b]8;;x\x1b\\c\x1b(B\0\xff \x1b[31\nnext\n";
        let mut whole = Vec::new();
        let mut strip = Strip::default();
        for byte in text {
            whole.extend(strip.strip(&[*byte]));
        }
        assert_eq!(whole, b"ared b c\0\xff \nnext\n");
        assert_eq!(Strip::default().strip(text), whole);
    }

    #[test]
    fn what_stands_before_a_line_stands_there_once() {
        let mut view = view(true, "step | ");
        let mut shown = view.show(bytes(b"one\ntw", 1_000));
        shown.extend(view.show(bytes(b"o\n", 2_000)));
        shown.extend(view.show(LogPiece::LeftOut { bytes: 7 }));
        shown.extend(view.show(bytes(b"end", 3_000)));
        shown.extend(view.end());
        let text = String::from_utf8(shown).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "1970-01-01T00:00:01.000Z step | one");
        assert_eq!(lines[1], "1970-01-01T00:00:01.000Z step | two");
        assert!(lines[2].starts_with("------------------------ step | [bowline: 7 bytes"), "{text}");
        assert_eq!(lines[3], "1970-01-01T00:00:03.000Z step | end");
        assert_eq!(lines.len(), 4);
    }

    #[test]
    fn plain_bytes_pass_as_they_are() {
        let mut view = View::new(Look { timestamps: false, color: Color::Always }, "", &std::io::stdout());
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(view.show(bytes(&all, 0)), all);
        assert_eq!(view.end(), b"");
    }
}
