//! What happened, in order: nothing, a hash of it, or the text itself.

use std::fmt::Write as _;

/// How much is kept of what happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Keep {
    /// Nothing: for speed.
    #[default]
    Nothing,
    /// A hash of every line, to tell whether two runs are the same.
    Hash,
    /// The hash, and every line.
    Lines,
}

/// The trace of one run.
#[derive(Debug, Clone)]
pub struct Trace {
    keep: Keep,
    hash: u64,
    lines: Vec<String>,
    line: String,
}

impl Trace {
    /// An empty one.
    pub const fn new(keep: Keep) -> Self {
        Self { keep, hash: 0xcbf2_9ce4_8422_2325, lines: Vec::new(), line: String::new() }
    }

    /// Whether lines are of any use.
    pub fn is_on(&self) -> bool {
        self.keep != Keep::Nothing
    }

    /// Adds a line, made only where it is of use.
    pub fn line(&mut self, at_us: u64, text: std::fmt::Arguments<'_>) {
        if self.keep == Keep::Nothing {
            return;
        }
        self.line.clear();
        // Writing to a string does not fail.
        let _never = write!(self.line, "{:>4}.{:06} {text}", at_us / 1_000_000, at_us % 1_000_000);
        for byte in self.line.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
        if self.keep == Keep::Lines {
            self.lines.push(self.line.clone());
        }
    }

    /// The hash of all lines so far (FNV-1a, 64 bits).
    pub const fn hash(&self) -> u64 {
        self.hash
    }

    /// The lines, where they are kept.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }
}
