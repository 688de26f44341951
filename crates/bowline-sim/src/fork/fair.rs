//! Remedies for what is a matter of fairness, and for gangs: quotas are lifted, shares taken away, keys given up by who has
//! them, the members that are missed brought on, and workers brought for those that find none.

use bowline_core::explain::AsideWhy;
use bowline_core::fair::NamespaceChange;
use bowline_core::id::TaskRef;
use bowline_core::input::Request;
use bowline_core::name::{Namespace, ResourceName};
use bowline_core::row::Loaded;
use bowline_core::state::StateKind;
use bowline_store::ReadStore;

use super::Fork;
use super::remedy::DEPTH_MAX;

impl Fork {
    fn change(&mut self, name: &Namespace, change: NamespaceChange) {
        self.request(Request::SetNamespace { name: name.clone(), change }).ok();
    }

    /// As many on workers as there is room for.
    pub(super) fn lift_quota(&mut self, name: &Namespace) {
        self.change(name, NamespaceChange { max_running: Some(None), ..NamespaceChange::default() });
    }

    fn lift_held(&mut self, name: &Namespace, resource: &ResourceName) {
        let max_held = [(resource.clone(), None)].into();
        self.change(name, NamespaceChange { max_held, ..NamespaceChange::default() });
    }

    /// First come, first served, whosever it is.
    pub(super) fn drop_shares(&mut self) {
        for row in self.rows() {
            let Loaded::Namespace(row) = row else { continue };
            let user_shares = row.room.user_shares.keys().map(|user| (user.clone(), None)).collect();
            self.change(&row.name, NamespaceChange { share: Some(None), user_shares, ..NamespaceChange::default() });
        }
    }

    /// What keeps a ticket aside for the sake of others.
    pub(super) fn make_fair(&mut self, unit: TaskRef, why: &AsideWhy) {
        let Ok(Some(found)) = self.store.task(unit.task) else { return };
        let namespace = found.row.namespace;
        match why {
            AsideWhy::Concurrency { holders, first, .. } => {
                for other in holders.iter().map(|(other, _)| other).chain(first).filter(|other| **other != unit) {
                    self.end(*other);
                    self.end_rest(unit, *other);
                }
            }
            AsideWhy::Rate { until: None, first, .. } => {
                for other in first.iter().filter(|other| **other != unit) {
                    self.end(*other);
                    self.end_rest(unit, *other);
                }
            }
            AsideWhy::Rate { until: Some(until), .. } => self.pass_to(*until),
            AsideWhy::Running { .. } => self.lift_quota(&namespace),
            AsideWhy::Held { name, .. } => self.lift_held(&namespace, name),
            AsideWhy::Paused
            | AsideWhy::OutOfService { .. }
            | AsideWhy::TooMuch { .. }
            | AsideWhy::NoWorker { .. }
            | AsideWhy::Window => {}
        }
    }

    /// Members that are missed are brought as far as the others.
    pub(super) fn gather(&mut self, absent: &[(TaskRef, StateKind)], depth: u32) {
        if depth >= DEPTH_MAX {
            return;
        }
        for (member, _) in absent {
            // Who is still being stopped is not on his way yet.
            if matches!(self.state_of(*member), Some(StateKind::Assigned | StateKind::Running | StateKind::Stopping)) {
                self.give_back(*member);
            }
            let reasons = self.explain(*member).map(|told| told.reasons).unwrap_or_default();
            for reason in &reasons {
                self.remove(*member, reason, depth + 1);
            }
        }
    }

    /// Workers for members that find none: one each, or one for all.
    pub(super) fn bring_for(&mut self, lacking: &[TaskRef], is_distinct: bool) {
        let some = if is_distinct { lacking } else { lacking.get(..1).unwrap_or_default() };
        for member in some {
            self.bring_all(*member);
        }
    }

    fn state_of(&mut self, unit: TaskRef) -> Option<StateKind> {
        self.explain(unit).map(|told| told.state)
    }

    /// What lives of it is given back, unharmed.
    fn give_back(&mut self, unit: TaskRef) {
        let theirs: Vec<_> = self.live().into_iter().filter(|(_, attempt)| attempt.task == unit).collect();
        for (worker, attempt) in theirs {
            self.release(&worker, attempt);
        }
    }
}
