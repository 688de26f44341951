//! What a member asks of its gang, with the token of its attempt: heard as long as the attempt lives.

use crate::answer::{Answer, Refusal, RefusalCode, Reply};
use crate::gang::{
    Ask, Dead, GANG_ITEMS_MAX, GANG_KEY_BYTES_MAX, GANG_NAME_BYTES_MAX, GANG_VALUE_BYTES_MAX, GANG_VALUES_BYTES_MAX,
    Peer, Told, name_is_good,
};
use crate::id::{AttemptRef, TaskId, TaskRef};
use crate::name::Actor;
use crate::state::StateKind;

use super::super::Engine;
use super::super::out::Cause;

impl Engine {
    /// One question of a member.
    pub(in crate::engine) fn gang_ask(&mut self, attempt: AttemptRef, ask: Ask) -> Reply {
        let is_live = self.attempts.contains_key(&attempt) && self.state_of(attempt).is_some();
        if !is_live {
            let message = format!("Attempt {attempt} is over, and is not heard in its gang any more.");
            return Err(Refusal::new(RefusalCode::Conflict, message));
        }
        let id = attempt.task.task;
        let Some((first, _)) = self.gang_of(id) else {
            let message =
                format!("Task {id} is no member of a gang; submit it with others by `bowline submit --gang FILE`.");
            return Err(Refusal::new(RefusalCode::Conflict, message));
        };
        check(&ask)?;
        let told = match ask {
            Ask::Lock(name) => self.gang_lock(first, attempt, &name)?,
            Ask::Unlock(name) => self.gang_unlock(first, attempt, &name),
            Ask::Arrive { name, key, count, dead } => {
                self.check_new(first, &name)?;
                self.gang_arrive(first, attempt, (name, key), (count, dead))
            }
            Ask::Leave { name, key } => self.gang_leave(first, attempt, &name, &key),
            Ask::Set { key, value } => self.gang_set(first, attempt, key, value)?,
            Ask::Get(key) => {
                let board = self.gangs.all.get(&first).map(|gang| &gang.row.board);
                Told::Value(board.and_then(|board| board.values.get(&key).cloned()))
            }
            Ask::Peers => Told::Peers(self.gang_peers(first)),
        };
        Ok(Answer::Gang(told))
    }

    /// One more of a kind may be made.
    fn check_new(&self, first: TaskId, name: &str) -> Result<(), Refusal> {
        let Some(board) = self.gangs.all.get(&first).map(|gang| &gang.row.board) else { return Ok(()) };
        let most = board.locks.len().max(board.barriers.len()).max(board.values.len());
        let is_known =
            board.locks.contains_key(name) || board.barriers.contains_key(name) || board.values.contains_key(name);
        if is_known || most < GANG_ITEMS_MAX {
            return Ok(());
        }
        let message = format!("The gang has {GANG_ITEMS_MAX} of these already; use names again instead of new ones.");
        Err(Refusal::new(RefusalCode::TooLarge, message))
    }

    pub(super) fn tell_gang(&mut self, attempt: AttemptRef, what: String) {
        let cause = Cause::new(&Actor::new(&format!("task {}", attempt.task)), what);
        self.tell(attempt.task, attempt.fence.attempt, "gang", &cause);
    }

    fn gang_lock(&mut self, first: TaskId, attempt: AttemptRef, name: &str) -> Result<Told, Refusal> {
        self.check_new(first, name)?;
        let Some(gang) = self.gangs.all.get_mut(&first) else { return Ok(Told::Done) };
        let (told, is_news) = gang.row.board.lock(attempt, name);
        if is_news {
            self.touch_gang(first);
        }
        if is_news && told == Told::Done {
            self.tell_gang(attempt, format!("has the lock `{name}`"));
        }
        Ok(told)
    }

    fn gang_unlock(&mut self, first: TaskId, attempt: AttemptRef, name: &str) -> Told {
        let Some(gang) = self.gangs.all.get_mut(&first) else { return Told::Done };
        let (is_news, next) = gang.row.board.unlock(attempt, name);
        if is_news {
            self.touch_gang(first);
            self.tell_gang(attempt, format!("gave up the lock `{name}`"));
        }
        if let Some(next) = next {
            self.tell_gang(next, format!("has the lock `{name}`"));
        }
        Told::Done
    }

    fn gang_arrive(
        &mut self,
        first: TaskId,
        attempt: AttemptRef,
        (name, key): (String, String),
        (count, dead): (Option<u32>, Dead),
    ) -> Told {
        let peers = self.gang_peers(first);
        let Some(gang) = self.gangs.all.get_mut(&first) else { return Told::Done };
        let needed = count.unwrap_or(gang.size);
        let barrier = gang.row.board.barriers.entry(name.clone()).or_default();
        if barrier.through.iter().any(|(who, under)| *who == attempt && *under == key) {
            return Told::Done;
        }
        let is_news = barrier.arrive(attempt, key);
        let is_here = |peer: &&Peer| barrier.here.iter().any(|(who, _)| who.task == peer.task);
        let lives = |peer: &&Peer| matches!(peer.state, Some(StateKind::Assigned | StateKind::Running));
        let missing: Vec<Peer> = peers.iter().filter(|peer| !is_here(peer) && !lives(peer)).cloned().collect();
        let possible = u32::try_from(peers.len() - missing.len()).unwrap_or(u32::MAX);
        let here = u32::try_from(barrier.here.len()).unwrap_or(u32::MAX);
        let wanted = if dead == Dead::Ignored { needed.min(possible) } else { needed };
        let told = if here >= wanted {
            barrier.open();
            Told::Done
        } else if possible < wanted {
            barrier.here.retain(|(who, _)| *who != attempt);
            Told::Missing(missing)
        } else {
            Told::Waiting { holder: None, ahead: wanted - here }
        };
        let what = match &told {
            Told::Done => Some(format!("opened the barrier `{name}`: {here} are there")),
            Told::Missing(_) => Some(format!("waits no more at the barrier `{name}`: too few are left")),
            Told::Waiting { .. } | Told::Value(_) | Told::Peers(_) => None,
        };
        if let Some(what) = what {
            self.tell_gang(attempt, what);
        }
        if is_news || !matches!(told, Told::Waiting { .. }) {
            self.touch_gang(first);
        }
        told
    }

    fn gang_leave(&mut self, first: TaskId, attempt: AttemptRef, name: &str, key: &str) -> Told {
        let Some(gang) = self.gangs.all.get_mut(&first) else { return Told::Done };
        if gang.row.board.leave(attempt, name, key) {
            self.touch_gang(first);
            self.tell_gang(attempt, format!("left the barrier `{name}`"));
        }
        Told::Done
    }

    fn gang_set(&mut self, first: TaskId, attempt: AttemptRef, key: String, value: String) -> Result<Told, Refusal> {
        self.check_new(first, &key)?;
        let Some(gang) = self.gangs.all.get_mut(&first) else { return Ok(Told::Done) };
        let values = &mut gang.row.board.values;
        let others: usize = values.iter().filter(|(name, _)| **name != key).map(|(_, value)| value.len()).sum();
        if others + value.len() > GANG_VALUES_BYTES_MAX {
            let message = format!(
                "With this the gang's values would be larger than {GANG_VALUES_BYTES_MAX} bytes together; leave large ones as \
                 artifacts."
            );
            return Err(Refusal::new(RefusalCode::TooLarge, message));
        }
        if values.get(&key) != Some(&value) {
            let what = format!("set `{key}`");
            values.insert(key, value);
            self.touch_gang(first);
            self.tell_gang(attempt, what);
        }
        Ok(Told::Done)
    }

    fn gang_peers(&self, first: TaskId) -> Vec<Peer> {
        let size = self.gangs.all.get(&first).map_or(0, |gang| gang.size);
        (0..size)
            .map(|index| {
                let id = TaskId(first.0 + u64::from(index));
                let task = self.tasks.get(&id).filter(|task| task.gang().is_some_and(|own| own.first == first));
                let hot = task.map(|task| &task.hot);
                let state = hot.map(|hot| hot.state.kind());
                let worker = hot.filter(|hot| hot.state.kind().is_live()).and_then(|hot| hot.worker);
                let worker = worker.and_then(|id| self.workers.get(&id));
                let offer = worker.and_then(|worker| worker.row.offer.as_ref());
                Peer {
                    address: offer.and_then(|offer| offer.value_of("address")).map(str::to_owned),
                    task: TaskRef::whole(id),
                    index,
                    name: task.and_then(|task| task.name()).map(str::to_owned),
                    state,
                    worker: worker.map(|worker| worker.row.name.clone()),
                    attempt: hot.map_or(0, |hot| hot.attempt.0),
                }
            })
            .collect()
    }
}

fn check(ask: &Ask) -> Result<(), Refusal> {
    let name = match ask {
        Ask::Lock(name)
        | Ask::Unlock(name)
        | Ask::Get(name)
        | Ask::Arrive { name, .. }
        | Ask::Leave { name, .. }
        | Ask::Set { key: name, .. } => name,
        Ask::Peers => return Ok(()),
    };
    if !name_is_good(name) {
        let message = format!(
            "A name in a gang has 1 to {GANG_NAME_BYTES_MAX} bytes, without slashes and control characters; choose another one."
        );
        return Err(Refusal::new(RefusalCode::Invalid, message));
    }
    match ask {
        Ask::Arrive { key, .. } | Ask::Leave { key, .. } if key.len() > GANG_KEY_BYTES_MAX => {
            let message =
                format!("The key of an arrival is longer than {GANG_KEY_BYTES_MAX} bytes; choose a shorter one.");
            Err(Refusal::new(RefusalCode::TooLarge, message))
        }
        Ask::Arrive { count: Some(0), .. } => {
            Err(Refusal::new(RefusalCode::Invalid, "A barrier is for 1 or more; leave `count` out for all members."))
        }
        Ask::Set { value, .. } if value.len() > GANG_VALUE_BYTES_MAX => {
            let message = format!("The value is larger than {GANG_VALUE_BYTES_MAX} bytes; leave it as an artifact.");
            Err(Refusal::new(RefusalCode::TooLarge, message))
        }
        Ask::Lock(_)
        | Ask::Unlock(_)
        | Ask::Arrive { .. }
        | Ask::Leave { .. }
        | Ask::Set { .. }
        | Ask::Get(_)
        | Ask::Peers => Ok(()),
    }
}
