//! Which connection has which job, which has told of all its jobs, and which has fallen silent.

use std::collections::BTreeMap;
use std::time::Duration;

use bowline_supervisor::wire::Event;

/// A supervisor that has not answered for so long is silent.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// The number of a connection, from 1.
pub(super) type Number = u64;

/// What follows from an event.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// It is passed on.
    Tell(Event),
    /// It was silent, and has answered.
    TellThatItAnswers,
    Nothing,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// The own supervisor's; all others are of other versions.
    own: Number,
    lines: BTreeMap<Number, Line>,
    /// Who has a job, where it is not the own supervisor.
    elsewhere: BTreeMap<String, Number>,
    told: Listed,
}

#[derive(Debug)]
struct Line {
    pid: u32,
    /// Since when it has been asked and has not answered.
    asked_at: Option<Duration>,
    is_silent: Silence,
    listing: Listing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Silence {
    No,
    Told,
}

/// Whether it is still to tell of its jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Listing {
    Awaited,
    Done,
}

/// What all that have told of their jobs said last.
#[derive(Debug, Default)]
struct Listed {
    live: u32,
    ended: u32,
    damaged: Vec<String>,
}

impl Table {
    /// The own one's number comes first.
    pub(super) fn new(lines: impl Iterator<Item = (Number, u32)>) -> Self {
        let line = |pid| Line { pid, asked_at: None, is_silent: Silence::No, listing: Listing::Done };
        let lines: BTreeMap<Number, Line> = lines.map(|(number, pid)| (number, line(pid))).collect();
        let own = lines.first_key_value().map_or(0, |(number, _)| *number);
        Self { own, lines, ..Self::default() }
    }

    pub(super) fn is_own(&self, number: Number) -> bool {
        self.own == number
    }

    /// Whom a request about this job concerns.
    pub(super) fn who_has(&self, key: &str) -> Number {
        self.elsewhere.get(key).copied().unwrap_or(self.own)
    }

    /// All are asked for their jobs.
    pub(super) fn listing(&mut self) {
        self.told = Listed::default();
        self.lines.values_mut().for_each(|line| line.listing = Listing::Awaited);
    }

    /// Something was sent now that is answered at once.
    pub(super) fn asked(&mut self, number: Number, now: Duration) {
        if let Some(line) = self.lines.get_mut(&number) {
            line.asked_at.get_or_insert(now);
        }
    }

    /// Who has fallen silent since it was last asked, and for how long.
    pub(super) fn silent(&mut self, now: Duration) -> Option<(u32, Duration)> {
        self.lines.values_mut().find_map(|line| {
            let length = now.saturating_sub(line.asked_at?);
            let is_news = length >= SILENCE_MAX && line.is_silent == Silence::No;
            is_news.then(|| {
                line.is_silent = Silence::Told;
                (line.pid, length)
            })
        })
    }

    /// One of another version is gone; its jobs are the own one's to tell of.
    pub(super) fn gone(&mut self, number: Number) {
        self.lines.remove(&number);
        self.elsewhere.retain(|_, has| *has != number);
    }

    /// Something was heard.
    pub(super) fn heard(&mut self, number: Number, event: Event) -> Heard {
        let Some(line) = self.lines.get_mut(&number) else { return Heard::Nothing };
        line.asked_at = None;
        // Whatever comes first may be the end of a job: that it answers again is told with the Pong, which follows.
        let was_silent = event == Event::Pong && std::mem::replace(&mut line.is_silent, Silence::No) == Silence::Told;
        if let Event::Listed { live, ended, damaged } = event {
            line.listing = Listing::Done;
            self.told.live += live;
            self.told.ended += ended;
            self.told.damaged.extend(damaged);
            let all = self.lines.values().all(|line| line.listing == Listing::Done);
            return if all { Heard::Tell(self.listed()) } else { Heard::Nothing };
        }
        if number != self.own
            && let Some(key) = event.key()
        {
            self.elsewhere.insert(key.to_owned(), number);
        }
        match event {
            Event::Pong if was_silent && self.lines.values().all(|line| line.is_silent == Silence::No) => {
                Heard::TellThatItAnswers
            }
            Event::Pong => Heard::Nothing,
            event => Heard::Tell(event),
        }
    }

    fn listed(&mut self) -> Event {
        let Listed { live, ended, damaged } = std::mem::take(&mut self.told);
        Event::Listed { live, ended, damaged }
    }
}
