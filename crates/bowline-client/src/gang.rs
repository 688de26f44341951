//! What the members of a gang have among themselves. Waiting bears with a server that is away: a lock's holder and its line
//! are durable, an arrival at a barrier is known by its key, and asking again changes neither.

use std::time::Duration;

use bowline_api::{Arrive, GangBarrier, GangLock, GangPeers, GangValue, SetValue};
use reqwest::Method;

use crate::error::ClientError;
use crate::http::Client;
use crate::wait::Missing;

impl Client {
    /// Takes a lock among the members, in its line, at most `within`; without it, for as long as it takes. Where the time
    /// is over the place in the line is given up.
    pub async fn gang_lock(&self, name: &str, within: Option<Duration>) -> Result<GangLock, ClientError> {
        let path = ["gang", "locks", name];
        let taken = self
            .until(within, || Ok(self.call(Method::POST, &path)), |lock: &GangLock| lock.held, Missing::NotYet(name))
            .await;
        if matches!(taken, Err(ClientError::WaitedOut { .. })) {
            self.gang_unlock(name).await?;
        }
        taken
    }

    /// Gives a lock up.
    pub async fn gang_unlock(&self, name: &str) -> Result<GangLock, ClientError> {
        self.call(Method::DELETE, &["gang", "locks", name]).repeatable().read().await
    }

    /// Waits at a barrier with the others.
    pub async fn gang_barrier(
        &self,
        name: &str,
        arrive: &Arrive,
        within: Option<Duration>,
    ) -> Result<GangBarrier, ClientError> {
        let key = uuid::Uuid::new_v4().to_string();
        let path = ["gang", "barriers", name];
        let call = || Ok(self.call(Method::POST, &path).json(arrive)?.header("idempotency-key", key.clone()));
        self.until(within, call, |barrier: &GangBarrier| barrier.open, Missing::NotYet(name)).await
    }

    /// Sets a value.
    pub async fn gang_set(&self, key: &str, value: &str) -> Result<GangValue, ClientError> {
        let set = SetValue { value: value.to_owned() };
        self.call(Method::PUT, &["gang", "values", key]).json(&set)?.repeatable().read().await
    }

    /// A value, where a member has set it.
    pub async fn gang_get(&self, key: &str) -> Result<GangValue, ClientError> {
        self.call(Method::GET, &["gang", "values", key]).read().await
    }

    /// A value, when a member has set it.
    pub async fn gang_wait_value(&self, key: &str, within: Option<Duration>) -> Result<GangValue, ClientError> {
        let path = ["gang", "values", key];
        self.until(within, || Ok(self.call(Method::GET, &path)), |_: &GangValue| true, Missing::NotYet(key)).await
    }

    /// The members.
    pub async fn gang_peers(&self) -> Result<GangPeers, ClientError> {
        self.call(Method::GET, &["gang", "peers"]).read().await
    }

    /// The members, when this holds of them; `who` is waited for, in the error of a wait that ran out.
    pub async fn gang_wait_peers(
        &self,
        within: Option<Duration>,
        who: &str,
        holds: impl Fn(&GangPeers) -> bool,
    ) -> Result<GangPeers, ClientError> {
        let seen = std::cell::RefCell::new(None::<String>);
        let call = || {
            let call = self.call(Method::GET, &["gang", "peers"]);
            Ok(seen.borrow().iter().fold(call, |call, version| call.pair("since", version)))
        };
        let is_so = |peers: &GangPeers| {
            *seen.borrow_mut() = Some(peers.version.clone());
            holds(peers)
        };
        self.until(within, call, is_so, Missing::NotYet(who)).await
    }
}
