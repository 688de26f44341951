//! What REST tells of tasks and resources.

use std::collections::BTreeSet;

use super::Judge;
use crate::lines::order::wrong::{Kind, Wrong};
use crate::lines::order::{At, Unit};

/// What REST tells of a task.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub(crate) unit: Unit,
    pub(crate) round: u64,
    /// 0: none yet.
    pub(crate) ticket: u64,
    /// Names and modes of what it asks for.
    pub(crate) asks: Vec<(String, String)>,
    /// Resource, moment of the grant, and the units.
    pub(crate) given: Vec<(String, i64, Vec<String>)>,
}

/// What REST tells of a resource.
#[derive(Debug, Clone, Default)]
pub(crate) struct Snapshot {
    pub(crate) name: String,
    /// Everything up to there had been heard before it was asked for.
    pub(crate) after: At,
    /// With the mode, and the units.
    pub(crate) holders: Vec<(Unit, String, Vec<String>)>,
    /// With tickets.
    pub(crate) line: Vec<(Unit, u64)>,
}

impl Judge {
    /// REST told of a task. Tell this before the events that were heard meanwhile.
    pub(crate) fn told(&mut self, told: &Told) {
        let task = told.unit.task;
        let ended = self.ended.get_mut(&task).and_then(|(_, task)| task.as_mut());
        let Some(known) = self.tasks.get_mut(&task).or(ended) else { return };
        let mut asked: Vec<(String, String)> =
            known.shape.asks.iter().map(|ask| (ask.resource.clone(), ask.mode.name().to_owned())).collect();
        let mut said = told.asks.clone();
        for all in [&mut asked, &mut said] {
            all.sort();
            all.dedup();
        }
        let mut wrongs = Vec::new();
        if asked != said {
            wrongs.push(Wrong::new(Kind::Told, format!("{task} was submitted with {asked:?} and asks for {said:?}")));
        }
        if told.ticket > 0 && known.round.is_none_or(|round| told.round >= round) {
            let before = known.tickets.insert(told.round, told.ticket).filter(|before| *before != told.ticket);
            wrongs.extend(before.map(|before| {
                let (round, now) = (told.round, told.ticket);
                Wrong::new(
                    Kind::Ticket,
                    format!("{task} had ticket {before} and has {now} in the same round, its {round}."),
                )
            }));
        }
        if !told.given.is_empty() {
            self.given.insert(told.unit, told.given.clone());
        }
        self.find_all(wrongs);
    }

    /// What a resource tells of itself. Who had ended before it was asked is looked for once more.
    pub(crate) fn look(&mut self, snapshot: &Snapshot) {
        self.counts.snapshots += 1;
        let name = &snapshot.name;
        let exclusive = snapshot.holders.iter().filter(|(_, mode, _)| mode == "exclusive").count();
        if exclusive > 0 && snapshot.holders.len() > 1 {
            self.find(Wrong::new(
                Kind::TwoHolders,
                format!("`{name}` tells of these holders at once: {:?}", snapshot.holders),
            ));
        }
        let mut units = BTreeSet::new();
        for (unit, _, given) in &snapshot.holders {
            for twice in given.iter().filter(|given| !units.insert((*given).clone())) {
                self.find(Wrong::new(
                    Kind::Unit,
                    format!("`{name}` tells that `{twice}` is held by {unit} and by another one"),
                ));
            }
        }
        let sorted = snapshot.line.windows(2).all(|pair| (pair[0].1, pair[0].0) < (pair[1].1, pair[1].0));
        if !sorted {
            self.find(Wrong::new(
                Kind::Told,
                format!("`{name}` tells of a line that is not in order: {:?}", snapshot.line),
            ));
        }
        let everybody =
            snapshot.holders.iter().map(|(unit, ..)| *unit).chain(snapshot.line.iter().map(|(unit, _)| *unit));
        let had_ended = |unit: &Unit| self.ended.get(&unit.task).is_some_and(|(at, _)| *at <= snapshot.after);
        let gone: BTreeSet<Unit> = everybody.filter(had_ended).collect();
        let before = self.ghosts.remove(name).unwrap_or_default();
        for unit in gone.intersection(&before) {
            self.find(Wrong::new(
                Kind::NoTask,
                format!("`{name}` tells of {unit}, which had ended before it was asked, twice"),
            ));
        }
        if !gone.is_empty() {
            self.ghosts.insert(name.clone(), gone);
        }
    }
}
