//! What a gang must keep to, and what its submitter should know.

use std::collections::BTreeMap;

use crate::answer::{Refusal, RefusalCode};
use crate::gang::{Form, GANG_MEMBERS_MAX, Member, OnLost, Terms};
use crate::id::TaskId;
use crate::input::{NewTask, Submit};
use crate::name::ResourceName;
use crate::resource::Mode;
use crate::spec::{Condition, OnWorkerLoss, TaskSpec};

use super::super::Engine;
use super::super::lane::LaneKey;
use super::super::lines::Want;

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::new(RefusalCode::Invalid, message)
}

impl Engine {
    /// What is not possible now about a gang of which each member alone is: more workers, or slots, than are known.
    pub(in crate::engine) fn gang_warning(&self, submit: &Submit, terms: Terms) -> Option<String> {
        let mut keys: Vec<LaneKey> = submit.tasks.iter().map(|new| LaneKey::of(&submit.namespace, &new.spec)).collect();
        let (wanted, slots) = (keys.len(), keys.iter().map(|key| u64::from(key.slots)).sum::<u64>());
        keys.dedup();
        let offers = self.workers.values().filter_map(|worker| worker.row.offer.as_ref());
        let able: Vec<_> = offers.filter(|offer| keys.iter().any(|key| key.fits(offer))).collect();
        let known: u64 = able.iter().map(|offer| u64::from(offer.room.slots)).sum();
        match terms.form {
            _ if able.is_empty() => None,
            Form::Distinct => (able.len() < wanted)
                .then(|| format!("the gang needs {wanted} workers, one for each member, and {} known fit", able.len())),
            Form::Together => (known < slots).then(|| {
                format!("the members of the gang take {slots} slots together, and the workers that fit have {known}")
            }),
            Form::Chain => None,
        }
    }

    /// Each member was checked for itself: now all of them together.
    pub(in crate::engine) fn check_gang(&self, submit: &Submit, terms: Terms) -> Result<(), Refusal> {
        let count = submit.tasks.len();
        if !(2..=GANG_MEMBERS_MAX).contains(&count) {
            return Err(invalid(format!("The gang must have 2 to {GANG_MEMBERS_MAX} members, and has {count}.")));
        }
        for (place, new) in submit.tasks.iter().enumerate() {
            check_member(new).map_err(|why| {
                let name = new.spec.name.as_deref();
                let who = name.map_or_else(|| format!("Member {}", place + 1), |name| format!("Member `{name}`"));
                invalid(format!("{who}: {why}"))
            })?;
        }
        match terms.form {
            Form::Chain => check_chain(submit, terms),
            Form::Together | Form::Distinct => self.check_union(submit),
        }
    }

    /// What all ask for at once must be possible at once.
    fn check_union(&self, submit: &Submit) -> Result<(), Refusal> {
        let mut union: BTreeMap<ResourceName, Want> = BTreeMap::new();
        for new in &submit.tasks {
            let named = self.with_names(&new.spec)?;
            for want in Want::of(&named.as_ref().unwrap_or(&new.spec).resources).iter() {
                let Some(all) = union.get_mut(&want.name) else {
                    union.insert(want.name.clone(), want.clone());
                    continue;
                };
                if want.mode != all.mode || want.mode == Mode::Exclusive {
                    return Err(invalid(format!(
                        "This is never possible: two members ask for `{}` so that one excludes the other, and all run at \
                         once; let one of them ask for it.",
                        want.name
                    )));
                }
                all.amount = all.amount.saturating_add(want.amount);
                all.units.extend(want.units.iter().cloned());
            }
        }
        for want in union.values() {
            if let Some(resource) = self.lines.get(&want.name) {
                resource.could_fit(want).map_err(|why| {
                    invalid(format!(
                        "This is never possible for all members at once: {why}; `bowline resource show {}` tells what there \
                         is.",
                        want.name
                    ))
                })?;
            }
        }
        Ok(())
    }
}

fn check_member(new: &NewTask) -> Result<(), &'static str> {
    let spec: &TaskSpec = &new.spec;
    if spec.array.is_some() {
        return Err("it is an array, which no member of a gang can be; submit one member for each.");
    }
    if spec.work.action.is_held_by_server() {
        return Err("the server holds it itself, and it is given to no worker; leave it out of the gang.");
    }
    if spec.concurrency.is_some() || spec.rate.is_some() {
        return Err(
            "it is under a concurrency key or a rate, which would keep one member from the others; take that away.",
        );
    }
    if spec.on_worker_loss == OnWorkerLoss::Fail {
        return Err(
            "it says `on_worker_loss: fail`; of a gang `on_lost` says what a loss means: `stop_all`, for example.",
        );
    }
    if !new.after_earlier.is_empty() {
        return Err("it waits for another member, and all are to run at once; take that away, or submit a chain.");
    }
    Ok(())
}

fn check_chain(submit: &Submit, terms: Terms) -> Result<(), Refusal> {
    if terms.on_lost != OnLost::default() {
        return Err(invalid("`on_lost` says nothing of a chain, whose members run one after the other; leave it out."));
    }
    let Some(first) = submit.tasks.first() else { return Ok(()) };
    let asks = |new: &NewTask| {
        let mut requires = new.spec.requires.clone();
        requires.sort();
        requires.dedup();
        let spec = &new.spec;
        (requires, spec.slots, spec.amounts.clone(), Want::of(&spec.resources), spec.work.action.name())
    };
    let own = asks(first);
    match submit.tasks.iter().position(|new| asks(new) != own) {
        Some(place) => Err(invalid(format!(
            "Member {} of the chain asks for other capabilities, slots, amounts or resources than the first, or does \
             another kind of action: it could not have that one's place. Let all of them ask for the same.",
            place + 1
        ))),
        None => Ok(()),
    }
}

/// The task as the member of its gang at this place; `first` is the gang's first id.
pub(in crate::engine) fn member(new: &NewTask, first: TaskId, (index, size): (u32, u32), terms: Terms) -> NewTask {
    let mut new = new.clone();
    let mut spec = (*new.spec).clone();
    spec.gang = Some(Member { first, index, size, terms });
    new.spec = std::sync::Arc::new(spec);
    if terms.form == Form::Chain && index > 0 {
        new.after_earlier.push((index as usize - 1, Condition::Ok));
    }
    new
}
