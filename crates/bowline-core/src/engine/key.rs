//! Keys under which requests are done once, tokens, and enrolment.

use crate::answer::{Answer, Refusal, RefusalCode, Reply};
use crate::id::{Incarnation, WorkerId};
use crate::input::{IdempotencyKey, Token, TokenRole};
use crate::name::{Actor, Namespace, WorkerName};
use crate::row::{KeyRow, Made, WorkerRow};

use super::Engine;
use super::out::{Cause, Changed};
use super::worker::Worker;

/// Longest key, in bytes.
const KEY_BYTES_MAX: usize = 255;

impl Engine {
    /// What was made under a key. The store was asked before, where memory does not know.
    pub(super) fn made_under(&self, namespace: &Namespace, key: &IdempotencyKey) -> Result<Option<Made>, Refusal> {
        if key.key.is_empty() || key.key.len() > KEY_BYTES_MAX {
            let message = format!("An idempotency key has 1 to {KEY_BYTES_MAX} bytes; choose another one.");
            return Err(Refusal::new(RefusalCode::Invalid, message));
        }
        let Some(row) = self.keys.get(&(namespace.clone(), key.key.clone())) else { return Ok(None) };
        if row.body != key.body {
            let message = format!(
                "The key `{}` was used with another request; send the same one again, or choose another key.",
                key.key
            );
            return Err(Refusal::new(RefusalCode::KeyReused, message));
        }
        Ok(Some(row.made.clone()))
    }

    /// Keeps a new key, in memory until it is durable.
    pub(super) fn keep_key(&mut self, row: KeyRow) {
        let filling = self.filling();
        self.evictions.push_key(filling, (row.namespace.clone(), row.key.clone()));
        self.keys.insert((row.namespace.clone(), row.key.clone()), row.clone());
        self.out.keys.push(row);
    }

    pub(super) fn put_token(&mut self, token: Token) -> Reply {
        if let Some(known) = self.tokens.get(&token.hash) {
            return if *known == token {
                Ok(Answer::Done)
            } else {
                Err(Refusal::new(
                    RefusalCode::Conflict,
                    "This token is known under another name or role; make a new one.",
                ))
            };
        }
        self.tokens.insert(token.hash, token.clone());
        self.out.tokens.push(token);
        Ok(Answer::Done)
    }

    /// Makes an identity; a single-use token is used up by it. The same worker with the same key
    /// again is the same identity.
    pub(super) fn enrol(&mut self, actor: &Actor, token: Option<[u8; 32]>, name: &WorkerName, key: [u8; 32]) -> Reply {
        if let Some(id) = self.worker_names.get(name).copied() {
            return match self.workers.get(&id) {
                Some(worker) if worker.row.key == key => Ok(Answer::Enrolled(id)),
                Some(_) | None => {
                    let message = format!(
                        "A worker named {name} is enrolled already with another key; choose another name with --identity."
                    );
                    Err(Refusal::new(RefusalCode::Conflict, message))
                }
            };
        }
        if let Some(hash) = token {
            match self.tokens.get(&hash).map(|token| token.role) {
                Some(TokenRole::Enrol) => {
                    self.tokens.remove(&hash);
                    self.out.tokens_gone.push(hash);
                }
                Some(TokenRole::Admin) => {}
                Some(TokenRole::Member) | None => {
                    let message = "The enrolment token is unknown or was used up; make a new one with `bowline token create --enrol`.";
                    return Err(Refusal::new(RefusalCode::Forbidden, message));
                }
            }
        }
        Ok(Answer::Enrolled(self.make_worker(actor, name, key)))
    }

    fn make_worker(&mut self, actor: &Actor, name: &WorkerName, key: [u8; 32]) -> WorkerId {
        let id = self.counters.worker;
        self.counters.worker = id.next();
        self.out.counters = Changed::Yes;
        let row = WorkerRow {
            id,
            version: 0,
            name: name.clone(),
            key,
            incarnation: Incarnation(0),
            seat: None,
            offer: None,
            paused: None,
            enrolled_at: self.now,
            pool: None,
            drain: None,
            aside: None,
        };
        self.workers.insert(id, Worker::from_row(row, self.now));
        self.worker_names.insert(name.clone(), id);
        self.touch_worker(id);
        self.tell_worker(id, "enrolled", &Cause::new(actor, ""));
        id
    }
}
