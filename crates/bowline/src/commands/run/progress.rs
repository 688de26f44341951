//! A run's progress: a bar for each step on a terminal, lines elsewhere, events as JSON.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, IsTerminal};

use bowline_api::{Run, Step, StepState};
use bowline_client::EventItem;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::output::{Output, clean};

/// A line is written each time so much more of a step, in percent, has ended.
const LINE_EVERY_PERCENT: u64 = 20;

/// How progress is shown.
pub(super) enum Progress {
    /// A bar for each step.
    Bars { all: MultiProgress, bars: HashMap<String, ProgressBar> },
    /// A line for each change worth one: what was said last of each step.
    Lines { out: Output, said: HashMap<String, (StepState, u64)> },
    /// One line for each event.
    Json(Output),
}

impl Progress {
    /// As fits what it is shown on.
    pub(super) fn new(out: Output) -> Self {
        if out.is_json() {
            Self::Json(out)
        } else if io::stderr().is_terminal() {
            Self::Bars { all: MultiProgress::new(), bars: HashMap::new() }
        } else {
            Self::Lines { out, said: HashMap::new() }
        }
    }

    /// Something happened.
    pub(super) fn event(&self, item: &EventItem) -> io::Result<()> {
        match (self, item) {
            (Self::Json(out), EventItem::Event(event)) => out.item(event),
            _ => Ok(()),
        }
    }

    /// The run as it is now.
    pub(super) fn show(&mut self, run: &Run) {
        match self {
            Self::Bars { all, bars } => run.steps.iter().for_each(|step| draw(all, bars, step)),
            Self::Lines { out, said } => run.steps.iter().for_each(|step| say(*out, said, step)),
            Self::Json(_) => {}
        }
    }

    /// The run has ended: what is drawn stays.
    pub(super) fn done(&mut self) {
        if let Self::Bars { bars, .. } = self {
            bars.values().for_each(ProgressBar::abandon);
        }
    }
}

fn draw(all: &MultiProgress, bars: &mut HashMap<String, ProgressBar>, step: &Step) {
    let bar = bars.entry(step.name.clone()).or_insert_with(|| {
        let style = ProgressStyle::with_template("{prefix:20!} [{bar:30}] {pos}/{len} {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        all.add(ProgressBar::new(0).with_style(style.progress_chars("=> ")).with_prefix(clean(&step.name)))
    });
    bar.set_length(step.progress.total);
    bar.set_position(step.progress.ended());
    bar.set_message(words(step));
}

fn words(step: &Step) -> String {
    let mut words = step.state.name().to_owned();
    if step.progress.running > 0 {
        write!(words, ", {} running", step.progress.running).ok();
    }
    if step.progress.failed > 0 {
        write!(words, ", {} failed", step.progress.failed).ok();
    }
    words
}

fn say(out: Output, said: &mut HashMap<String, (StepState, u64)>, step: &Step) {
    let percent = (step.progress.ended() * 100).checked_div(step.progress.total).unwrap_or(0);
    let stage = percent / LINE_EVERY_PERCENT;
    let now = (step.state, stage);
    let before = said.insert(step.name.clone(), now);
    let worth = match before {
        None => step.state != StepState::Pending,
        Some((state, before)) => state != step.state || before != stage,
    };
    if worth {
        let count = match step.progress.total {
            0 => String::new(),
            total => format!(" {}/{total}", step.progress.ended()),
        };
        out.note(format!("{}: {}{count}", clean(&step.name), words(step)));
    }
}
