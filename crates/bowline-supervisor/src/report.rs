//! What a new process says of itself before it becomes the job's program, see [`crate::plan`].

use crate::cradle::Cradle;
use crate::wire::{Reader, Step};

pub(crate) const READY: u8 = 1;
const FAILED: u8 = 2;

/// What the supervisor reads in the report, when the pipe has closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// The program runs, or has run.
    Started,
    /// It could not be started.
    Failed(Step, i32),
    /// The process was killed before it came to the program.
    Died,
}

impl Report {
    /// What came through the pipe, and what is said in memory.
    pub(crate) fn of(bytes: &[u8], cradle: Option<&Cradle>) -> Self {
        if bytes.is_empty() && cradle.is_some_and(|cradle| cradle.plan.is_ready()) {
            return Self::Started;
        }
        Self::parse(bytes)
    }

    fn parse(bytes: &[u8]) -> Self {
        let rest = bytes.strip_prefix(&[READY]).unwrap_or(bytes);
        let failed = |bytes: &[u8]| {
            let mut from = Reader::new(bytes.strip_prefix(&[FAILED])?);
            Some(Self::Failed(Step::from_number(from.u8().ok()?).ok()?, from.i32().ok()?))
        };
        match (bytes.len() - rest.len(), rest.is_empty()) {
            (1, true) => Self::Started,
            _ => failed(rest).unwrap_or(Self::Died),
        }
    }
}

/// The report of a failure.
pub(crate) fn failure(step: Step, errno: i32) -> [u8; 6] {
    let [a, b, c, d] = errno.to_le_bytes();
    [FAILED, step.number(), a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_as_it_was_meant() {
        let failed = failure(Step::Exec, 2);
        assert_eq!(Report::parse(&[READY]), Report::Started);
        assert_eq!(Report::parse(&failed), Report::Failed(Step::Exec, 2));
        assert_eq!(Report::parse(&[&[READY][..], &failed].concat()), Report::Failed(Step::Exec, 2));
        assert_eq!(Report::parse(&[]), Report::Died);
        assert_eq!(Report::parse(&failed[..3]), Report::Died);
    }
}
