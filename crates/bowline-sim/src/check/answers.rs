//! What clients asked and were answered: I3, I11, keys, and `explain`.

use std::collections::{BTreeMap, BTreeSet};

use bowline_core::answer::{Answer, RefusalCode, Reply};
use bowline_core::id::{RunId, TaskId};
use bowline_core::input::{DryRun, IdempotencyKey, Request, TaskVerb};
use bowline_core::state::StateKind;

use super::book::Book;
use super::{Found, Invariant};
use crate::process::{ConnId, ProcId};

/// What a client asked, as far as its answer can be judged.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Question {
    Submit { key: Option<IdempotencyKey>, tasks: usize, dry: bool },
    Run { key: Option<IdempotencyKey> },
    Other,
}

/// What was made under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Made {
    body: [u8; 32],
    tasks: Vec<TaskId>,
    run: Option<RunId>,
}

impl Made {
    /// When what it made is gone, a key may be used for something else.
    fn is_gone(&self, book: &Book) -> bool {
        self.tasks.iter().any(|task| book.gone.contains(task))
            || self.run.is_some_and(|run| book.runs_gone.contains(&run))
    }
}

/// What clients of one cluster asked and were answered.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    open: BTreeMap<(ProcId, u64), Question>,
    /// Connections over which a cancel was asked for.
    cancels: BTreeSet<ConnId>,
    made: BTreeMap<String, Made>,
    /// Tasks that were acknowledged.
    pub tasks: Vec<TaskId>,
    /// Runs that were.
    pub runs: Vec<RunId>,
    /// Answers by how they were.
    pub served: u64,
    /// Refusals.
    pub refused: u64,
}

impl Asked {
    /// A store was put back: what was asked is still asked.
    pub(super) fn keep_open_questions(&mut self, newer: Self) {
        self.open = newer.open;
        self.cancels = newer.cancels;
    }

    pub(super) fn asked(&mut self, (from, conn): (ProcId, ConnId), number: u64, request: &Request) {
        if matches!(request, Request::Tasks { verb: TaskVerb::Cancel { .. }, .. }) {
            self.cancels.insert(conn);
        }
        let question = match request {
            Request::Submit(submit) | Request::SubmitGang(submit, _) => Question::Submit {
                key: submit.key.clone(),
                tasks: submit.tasks.len(),
                dry: submit.dry_run == DryRun::Yes,
            },
            Request::StartRun(start) => Question::Run { key: start.key.clone() },
            _ => Question::Other,
        };
        self.open.insert((from, number), question);
    }

    /// An answer has reached its client.
    #[expect(clippy::too_many_arguments, reason = "what was asked, answered, known and found")]
    pub(super) fn answered(&mut self, book: &Book, found: &mut Found, at: u64, number: (ProcId, u64), reply: &Reply) {
        let Some(question) = self.open.get(&number).cloned() else { return };
        match reply {
            Ok(_) => self.served += 1,
            Err(_) => self.refused += 1,
        }
        match (question, reply) {
            (Question::Submit { dry: true, .. }, _) => {}
            (Question::Submit { key, tasks: count, .. }, Ok(Answer::Submitted { tasks, .. })) => {
                found.unless(tasks.len() == count, at, Invariant::I11, || {
                    format!("{count} tasks were submitted, and {} are answered", tasks.len())
                });
                self.tasks.extend(tasks.iter().filter(|task| !book.gone.contains(task)));
                self.made(book, found, at, (key, tasks.clone(), None));
            }
            (Question::Run { key }, Ok(Answer::RunStarted { run, .. })) => {
                self.runs.push(*run);
                self.made(book, found, at, (key, Vec::new(), Some(*run)));
            }
            (Question::Submit { key, .. } | Question::Run { key }, Err(refusal))
                if refusal.code == RefusalCode::KeyReused =>
            {
                let body = key.as_ref().map(|key| key.body);
                // When what it made is gone, another request may have it now, whose answer is still on its way.
                let known = key.and_then(|key| self.made.get(&key.key)).filter(|made| !made.is_gone(book));
                let is_same = known.is_some_and(|made| Some(made.body) == body);
                found.unless(!is_same, at, Invariant::I11, || {
                    "the same key with the same body is refused as another".to_owned()
                });
            }
            (Question::Submit { .. } | Question::Run { .. } | Question::Other, _) => {
                explained(found, at, reply);
            }
        }
    }

    fn made(
        &mut self,
        book: &Book,
        found: &mut Found,
        at: u64,
        (key, tasks, run): (Option<IdempotencyKey>, Vec<TaskId>, Option<RunId>),
    ) {
        let Some(key) = key else { return };
        let new = Made { body: key.body, tasks, run };
        if let Some(old) = self.made.get(&key.key).filter(|old| !old.is_gone(book)) {
            found.unless(*old == new, at, Invariant::I11, || {
                format!("the key {} made {old:?} first, and {new:?} after that", key.key)
            });
        } else {
            self.made.insert(key.key, new);
        }
    }
}

/// Whatever waits has a reason that is told.
fn explained(found: &mut Found, at: u64, reply: &Reply) {
    let Ok(Answer::Explained(explanation)) = reply else { return };
    let waits = match explanation.state {
        StateKind::Scheduled | StateKind::Blocked | StateKind::Waiting | StateKind::Ready | StateKind::InDoubt => true,
        StateKind::Assigned
        | StateKind::Running
        | StateKind::Stopping
        | StateKind::Succeeded
        | StateKind::Failed
        | StateKind::Cancelled
        | StateKind::Skipped => false,
    };
    found.unless(!waits || !explanation.reasons.is_empty(), at, Invariant::Explain, || {
        format!("{} is {}, and nothing says why it waits", explanation.task, explanation.state)
    });
}

/// I3: an answer leaves a server.
pub(super) fn leaves(view: &super::View, found: &mut Found, at: u64, conn: ConnId, reply: &Reply) {
    let book = &view.book;
    match reply {
        Ok(Answer::Submitted { tasks, .. }) => {
            for task in tasks {
                let durable = book.tasks.contains_key(task) || book.gone.contains(task);
                found.unless(durable, at, Invariant::I3, || format!("task {task} is acknowledged, and not committed"));
            }
        }
        Ok(Answer::RunStarted { run, .. }) => {
            let durable = book.runs.contains_key(run) || book.runs_gone.contains(run);
            found.unless(durable, at, Invariant::I3, || format!("run {run} is acknowledged, and not committed"));
        }
        // What is being given back may be given out again before the answer leaves; a cancel stands.
        Ok(Answer::Tasks(each)) if view.asked.cancels.contains(&conn) => {
            for (unit, state) in each {
                let Ok(StateKind::Cancelled | StateKind::Stopping) = state else { continue };
                let Some(seen) = book.unit(*unit) else { continue };
                let again = book.retried.contains(&unit.task);
                let fits = seen.state == StateKind::Stopping || seen.state.is_ended() || again;
                let array = unit.index.is_none() && book.tasks.get(&unit.task).is_some_and(|task| task.count.is_some());
                found.unless(fits || array, at, Invariant::I3, || {
                    format!("{unit} is answered as {state:?}, and is {} in the store", seen.state)
                });
            }
        }
        Ok(_) | Err(_) => {}
    }
}
