//! Keys under which requests are done once, tokens, and enrolment.

use crate::answer::{Answer, Refusal, RefusalCode, Reply};
use crate::id::{Incarnation, WorkerId};
use crate::input::{IdempotencyKey, Token, TokenRole};
use crate::name::{Actor, Namespace, PoolName, WorkerName};
use crate::row::{KeyRow, Made, WorkerRow};

use super::Engine;
use super::out::{Cause, Changed};
use super::worker::{Claimed, Worker};

/// Longest key, in bytes.
const KEY_BYTES_MAX: usize = 255;
/// Longest name of a pool, in bytes: its identities' names have a number too.
const POOL_NAME_BYTES_MAX: usize = 100;
/// When a pool has so many keys, those that hold no identity are forgotten: who comes back with one enrols
/// anew.
const POOL_KEYS_MAX: usize = 10_000;

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
        let name = (row.namespace.clone(), row.key.clone());
        self.known_keys.note(&name);
        self.evictions.push_key(filling, name.clone());
        self.keys.insert(name, row.clone());
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
            self.use_up(hash, None)?;
        }
        Ok(Answer::Enrolled(self.make_worker(actor, name, Claimed { key, pool: None })))
    }

    /// A token opens the way to an identity: of its own, or of a pool.
    fn use_up(&mut self, hash: [u8; 32], pool: Option<&PoolName>) -> Result<(), Refusal> {
        let forbidden = |message: String| Err(Refusal::new(RefusalCode::Forbidden, message));
        let Some(token) = self.tokens.get(&hash).filter(|token| token.role != TokenRole::Member) else {
            return forbidden(
                "The enrolment token is unknown or was used up; make a new one with `bowline token create --enrol`."
                    .to_owned(),
            );
        };
        match (token.role, &token.pool) {
            (TokenRole::Admin, _) => Ok(()),
            (TokenRole::Enrol | TokenRole::Member, Some(bound)) if Some(bound) == pool => Ok(()),
            (TokenRole::Enrol | TokenRole::Member, Some(bound)) => forbidden(format!(
                "The enrolment token is good for the pool {bound} alone; start the worker with `--pool {bound}`."
            )),
            (TokenRole::Enrol | TokenRole::Member, None) => {
                self.tokens.remove(&hash);
                self.out.tokens_gone.push(hash);
                Ok(())
            }
        }
    }

    /// Lets a key act under the identities of a pool. The same key again changes nothing.
    pub(super) fn enrol_in_pool(
        &mut self,
        actor: &Actor,
        token: Option<[u8; 32]>,
        pool: PoolName,
        key: [u8; 32],
    ) -> Reply {
        if let Some(known) = self.tokens.get(&key) {
            if known.role == TokenRole::Member && known.pool.as_ref() == Some(&pool) {
                return Ok(Answer::Done);
            }
            let message =
                format!("This key is another pool's, or no worker's; let the worker make a new one for {pool}.");
            return Err(Refusal::new(RefusalCode::Conflict, message));
        }
        if pool.as_str().len() > POOL_NAME_BYTES_MAX {
            let message = format!("A pool's name has at most {POOL_NAME_BYTES_MAX} bytes; shorten it.");
            return Err(Refusal::new(RefusalCode::Invalid, message));
        }
        if let Some(hash) = token {
            self.use_up(hash, Some(&pool))?;
        }
        self.forget_idle_keys(&pool);
        let member = Token { hash: key, name: actor.0.as_ref().to_owned(), role: TokenRole::Member, pool: Some(pool) };
        self.tokens.insert(key, member.clone());
        self.out.tokens.push(member);
        Ok(Answer::Done)
    }

    /// A pool whose workers come and go does not gather keys without end.
    fn forget_idle_keys(&mut self, pool: &PoolName) {
        let is_of_pool = |token: &&Token| token.role == TokenRole::Member && token.pool.as_ref() == Some(pool);
        if self.tokens.values().filter(is_of_pool).count() < POOL_KEYS_MAX {
            return;
        }
        let in_use: std::collections::BTreeSet<[u8; 32]> = self.workers.values().map(|worker| worker.row.key).collect();
        let idle =
            self.tokens.values().filter(is_of_pool).map(|token| token.hash).filter(|hash| !in_use.contains(hash));
        for hash in idle.collect::<Vec<_>>() {
            self.tokens.remove(&hash);
            self.out.tokens_gone.push(hash);
        }
    }

    pub(super) fn make_worker(&mut self, actor: &Actor, name: &WorkerName, claimed: Claimed) -> WorkerId {
        let id = self.counters.worker;
        self.counters.worker = id.next();
        self.out.counters = Changed::Yes;
        let row = WorkerRow {
            id,
            version: 0,
            name: name.clone(),
            key: claimed.key,
            incarnation: Incarnation(0),
            seat: None,
            offer: None,
            paused: None,
            enrolled_at: self.now,
            pool: claimed.pool,
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
