//! What comes back from the threads beside the writer, and what leaves once it may.

use std::sync::Arc;

use bowline_core::Input;
use bowline_core::effect::Effect;
use bowline_store::{CommitError, Swept};

use super::{End, Flight, Writer, gone};
use crate::clock;
use crate::config::SWEEP_PAUSE;
use crate::desk::Posted;
use crate::evaluate::Due;
use crate::fetch::chain;
use crate::handle::{Committed, LeaderStatus};
use crate::returns::{Durable, Return};
use crate::stats;

impl Writer<'_> {
    pub(super) fn take_back(&mut self, back: Return) -> Result<(), End> {
        match back {
            Return::Committed(durable) => self.durable(durable),
            Return::Swept(swept) => {
                self.swept(&swept);
                Ok(())
            }
            Return::CommitFailed(error) => Err(failed(&error)),
            Return::Broken(why) => Err(End::Failed(why)),
            Return::Facts { park, facts } => {
                self.apply(self.clock.now(), Input::Facts { park, facts });
                Ok(())
            }
            Return::Evaluated { run, what, version, outcome } => {
                stats::add(&self.lasting.counters.evaluations, 1);
                self.apply(self.clock.now(), Input::Evaluated { run, what, version, outcome });
                Ok(())
            }
        }
    }

    fn durable(&mut self, durable: Durable) -> Result<(), End> {
        let Flight::Batch { number, effects } = std::mem::replace(&mut self.flight, Flight::None) else {
            return Err(End::Failed("a batch became durable that was not under way".to_owned()));
        };
        let Durable { commit_no, events, gone, took } = durable;
        self.lasting.counters.commit_took(took);
        self.leadership.commit_no = commit_no;
        self.engine.durable(number);
        let leading = self.status();
        self.lasting.status.send_if_modified(|status| {
            // Who watches is woken by the leadership's beginning and end alone.
            *status = leading;
            false
        });
        self.release(effects)?;
        if self.lasting.events.receiver_count() > 0 && !events.is_empty() {
            // The last subscriber may have left just now.
            drop(self.lasting.events.send(Committed { commit_no, events: Arc::new(events) }));
        }
        if let (Some(sink), false) = (&self.lasting.config.swept, gone.is_empty()) {
            sink(&gone);
        }
        Ok(())
    }

    fn swept(&mut self, swept: &Swept) {
        self.flight = Flight::None;
        self.engine.swept(&swept.tasks, &swept.runs);
        let pause = if swept.is_empty() { self.lasting.config.sweep_every } else { SWEEP_PAUSE };
        self.sweep_at = clock::monotonic() + pause;
        if swept.is_empty() {
            return;
        }
        tracing::info!(
            tasks = swept.tasks.len(),
            runs = swept.runs.len(),
            events = swept.events,
            "retention removed a batch"
        );
        stats::add(&self.lasting.counters.swept_tasks, swept.tasks.len());
        if let Some(sink) = &self.lasting.config.swept {
            sink(&swept.tasks);
        }
    }

    /// Lets effects leave, in order: their batch and every earlier one are durable.
    pub(super) fn release(&mut self, effects: Vec<Effect>) -> Result<(), End> {
        stats::add(&self.lasting.counters.effects, effects.len());
        for effect in effects {
            match effect {
                Effect::Reply { to, reply } => self.desk.answer(to, reply),
                Effect::Send { session, message } => match self.desk.post(session, message) {
                    Posted::Done => {}
                    Posted::Overrun => {
                        tracing::warn!(%session, "session closed: its queue is full");
                        stats::add(&self.lasting.counters.sessions_overrun, 1);
                        self.lose_session(session);
                    }
                    Posted::Away => self.lose_session(session),
                },
                Effect::Close { session } => self.desk.close(session),
                Effect::Evaluate { run, what, version } => {
                    let due = Due { run, what, version };
                    self.aides.evaluators.send(due).map_err(|_| gone("the evaluators"))?;
                }
            }
        }
        Ok(())
    }

    /// The status of this leadership.
    pub(crate) fn status(&self) -> LeaderStatus {
        let leadership = &self.leadership;
        LeaderStatus::Leading {
            epoch: leadership.epoch,
            generation: leadership.generation,
            commit_no: leadership.commit_no,
        }
    }
}

fn failed(error: &CommitError) -> End {
    match error {
        CommitError::Deposed { .. } => End::Deposed(chain(error)),
        CommitError::RowCount { .. } | CommitError::Store(_) => End::Failed(chain(error)),
    }
}
