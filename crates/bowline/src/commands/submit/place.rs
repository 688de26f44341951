//! Options of `submit` that say which of several workers a task is given to.

use bowline_api::Placement;
use bowline_core::placement::Fill;
use bowline_core::spec::Requirement;
use clap::ValueEnum;

/// Which of several workers.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Place {
    /// Which worker with room goes first: the emptiest, or the fullest [default: spread]
    #[arg(long = "place", value_name = "HOW", value_enum)]
    fill: Option<How>,
    /// Rather a worker with this capability (`worker=NAME` names one); may be repeated
    #[arg(long, value_name = "KEY[=VALUE]")]
    prefer: Vec<Requirement>,
    /// Rather no worker with this capability; may be repeated
    #[arg(long, value_name = "KEY[=VALUE]")]
    avoid: Vec<Requirement>,
    /// Never a worker with this capability; may be repeated
    #[arg(long, value_name = "KEY[=VALUE]")]
    exclude: Vec<Requirement>,
}

/// Which worker with room goes first.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum How {
    /// The least loaded
    Spread,
    /// The most loaded that has room
    Pack,
}

impl Place {
    /// As it is submitted. Nothing where nothing was said.
    pub(super) fn placement(&self) -> Option<Placement> {
        let fill = match self.fill {
            Some(How::Pack) => Fill::Pack,
            Some(How::Spread) | None => Fill::Spread,
        };
        let placement =
            Placement { fill, prefer: self.prefer.clone(), avoid: self.avoid.clone(), excludes: self.exclude.clone() };
        (placement != Placement::default()).then_some(placement)
    }
}
