//! Whose turn it is: among the heads of lanes, among gangs, and before somebody who asks.

use std::collections::{BTreeMap, BTreeSet};

use crate::explain::WaitReason;

use super::super::Engine;
use super::super::lane::{LaneId, LaneKey, Line};
use super::super::table::Task;
use super::{CREDIT, Whose, lead};

/// Heads of lanes, in the order in which they are given workers.
#[derive(Debug)]
pub(in crate::engine) enum Heads {
    /// By ticket alone.
    Lines(BTreeSet<(Line, LaneId)>),
    /// By ticket alone, and of all lanes: they are kept in order.
    Standing {
        /// The last one that was come to.
        after: Option<(Line, LaneId)>,
        /// Those who came to stand before it since.
        before: BTreeSet<(Line, LaneId)>,
    },
    /// By shares first.
    Shares(BTreeMap<Whose, BTreeSet<(Line, LaneId)>>),
}

impl Engine {
    /// These heads, in the order in which they are given workers.
    fn heads(&self, heads: impl Iterator<Item = (Line, LaneId)>) -> Heads {
        let mut all = if self.shares.decide() { Heads::Shares(BTreeMap::new()) } else { Heads::Lines(BTreeSet::new()) };
        heads.for_each(|head| self.push_head(&mut all, head));
        all
    }

    /// The heads of these lanes.
    pub(in crate::engine) fn heads_of(&self, lanes: &BTreeSet<LaneId>) -> Heads {
        self.heads(lanes.iter().filter_map(|id| self.open_head(*id)))
    }

    /// The heads of all lanes, in the order in which they are given workers.
    pub(in crate::engine) fn all_heads(&self) -> Heads {
        if self.shares.decide() {
            self.heads(self.lanes.occupied().filter_map(|id| self.open_head(id)))
        } else {
            Heads::Standing { after: None, before: BTreeSet::new() }
        }
    }

    /// One more.
    pub(in crate::engine) fn push_head(&self, heads: &mut Heads, head: (Line, LaneId)) {
        match heads {
            Heads::Lines(all) => {
                all.insert(head);
            }
            // Whoever stands behind is come to.
            Heads::Standing { after, before } => {
                if after.is_some_and(|after| head <= after) {
                    before.insert(head);
                }
            }
            Heads::Shares(all) => {
                let Some(key) = self.lanes.get(head.1).map(|lane| &lane.key) else { return };
                all.entry((key.namespace.clone(), key.user.clone())).or_default().insert(head);
            }
        }
    }

    /// Whose turn it is.
    pub(in crate::engine) fn pop_head(&self, heads: &mut Heads) -> Option<(Line, LaneId)> {
        match heads {
            Heads::Lines(all) => all.pop_first(),
            Heads::Standing { after, before } => {
                if let Some(head) = before.pop_first() {
                    return Some(head);
                }
                let next = self.lanes.next_head(*after)?;
                *after = Some(next);
                Some(next)
            }
            Heads::Shares(all) => {
                let turn = |(whose, heads): (&Whose, &BTreeSet<(Line, LaneId)>)| {
                    Some((self.shares.ahead(whose, self.now), *heads.first()?, whose.clone()))
                };
                let (_, head, whose) = all.iter().filter_map(turn).min()?;
                let own = all.get_mut(&whose)?;
                own.pop_first();
                if own.is_empty() {
                    all.remove(&whose);
                }
                Some(head)
            }
        }
    }

    /// Which of these gangs is claimed next, where its turn comes before that of this head.
    pub(in crate::engine) fn next_gang(&self, gangs: &BTreeSet<Line>, before: Option<(Line, LaneId)>) -> Option<Line> {
        if !self.shares.decide() {
            return gangs.first().copied().filter(|line| before.is_none_or(|(before, _)| *line < before));
        }
        let turn = |(line, lane)| {
            let key = self.lanes.get(lane).map(|lane| &lane.key);
            key.map_or(((0, 0), line), |key| (self.counted_for(key), line))
        };
        let first = self.first_by_turn(gangs, None)?;
        before.is_none_or(|before| self.turn_of_gang(first) < turn(before)).then_some(first)
    }

    /// Of these gangs the one whose turn it is; or this one, as long as it is by no more than [`CREDIT`] not its turn: what
    /// runs moves turns to and fro, and nobody would be kept workers for long enough.
    pub(in crate::engine) fn first_by_turn(&self, gangs: &BTreeSet<Line>, known: Option<Line>) -> Option<Line> {
        let first = gangs.iter().copied().min_by_key(|line| self.turn_of_gang(*line))?;
        let known = known.filter(|line| gangs.contains(line) && !self.is_far_behind(*line, first));
        Some(known.unwrap_or(first))
    }

    /// Whether this place's turn comes after that of somebody for whom a worker is kept. By shares that is so for everybody
    /// who is not far behind, whatever his ticket: what is due to one for whom nothing is kept would be had by another
    /// one who stands before.
    pub(in crate::engine) fn is_behind(&self, own: (&LaneKey, &Line), kept: (&LaneKey, &Line)) -> bool {
        let is_other = own.0.namespace != kept.0.namespace;
        if !self.shares.decide() || !is_other && own.0.user == kept.0.user {
            return own.1 > kept.1;
        }
        let ((own, own_user), (theirs, their_user)) = (self.counted_for(own.0), self.counted_for(kept.0));
        if is_other { own + CREDIT >= theirs } else { own_user + CREDIT >= their_user }
    }

    /// How many times [`CREDIT`] whoever stands there is ahead of his share; nothing where shares don't count.
    pub(in crate::engine) fn credits_ahead(&self, line: Line) -> i128 {
        if self.shares.decide() { self.turn_of_gang(line).0.0.div_euclid(CREDIT) } else { 0 }
    }

    fn is_far_behind(&self, gang: Line, first: Line) -> bool {
        let namespace = |line: Line| self.speaker_of(line).map(|task| &task.policy.namespace);
        let ((own, own_user), (least, least_user)) = (self.turn_of_gang(gang).0, self.turn_of_gang(first).0);
        if namespace(gang) == namespace(first) { own_user > least_user + CREDIT } else { own > least + CREDIT }
    }

    fn turn_of_gang(&self, line: Line) -> ((i128, i128), Line) {
        let task = self.speaker_of(line);
        (task.map_or((0, 0), |task| self.counted_for(&task.policy.lane_key)), line)
    }

    fn counted_for(&self, key: &LaneKey) -> (i128, i128) {
        self.shares.ahead(&(key.namespace.clone(), key.user.clone()), self.now)
    }

    /// Whose turn it is before this task's namespace and user.
    pub(in crate::engine) fn turn_of_others(&self, task: &Task) -> Option<WaitReason> {
        if !self.shares.is_on() {
            return None;
        }
        let own = &task.policy.lane_key;
        let whose = (own.namespace.clone(), own.user.clone());
        let counted = self.counted_for(own);
        let lanes =
            self.lanes.occupied().filter_map(|id| self.lanes.get(id)).filter(|lane| !lane.key.is_held_by_server);
        let open = lanes.filter(|lane| self.pauses.of(&lane.key.namespace).is_none());
        let open = open.filter(|lane| !self.is_held_up(&lane.key));
        let mut all: BTreeSet<Whose> = open.map(|lane| (lane.key.namespace.clone(), lane.key.user.clone())).collect();
        let gang = self.first_gang().and_then(|line| self.speaker_of(line));
        all.extend(gang.map(|task| (task.policy.namespace.clone(), task.policy.lane_key.user.clone())));
        let others = all.into_iter().map(|other| (self.shares.ahead(&other, self.now), other));
        let (theirs, (namespace, user)) =
            others.filter(|(theirs, other)| *other != whose && *theirs < counted).min()?;
        let is_own = namespace == whose.0;
        let (theirs, own) = if is_own { (theirs.1, counted.1) } else { (theirs.0, counted.0) };
        let user = user.filter(|_| is_own).map(|user| user.to_string());
        Some(WaitReason::Share { namespace, user, theirs: lead(theirs), own: lead(own) })
    }
}
