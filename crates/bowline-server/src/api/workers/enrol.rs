//! How a worker comes in: an identity with a key of its own.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use bowline_api::{Enrol, Enrolled, PageQuery, Problem};
use bowline_core::answer::Answer;
use bowline_core::input::{Request, TokenRole};
use bowline_core::name::PoolName;
use bowline_core::row::WorkerRow;

use super::worker_name;
use crate::api::extract::{Doc, Params};
use crate::api::fault::Fault;
use crate::api::shell::{Shell, unexpected};
use crate::auth::{self, Role, secret_hash};

/// Makes an identity with a key of its own: with an enrolment token, which is used up by it, or as
/// an administrator. The same name with the same key again is fine without any token, so that an
/// answer that got lost can be asked for again. Another key for a name that is taken is refused,
/// except to an administrator.
#[utoipa::path(post, path = "/workers/enrol", tag = "workers", params(PageQuery), request_body = Enrol,
    responses((status = 200, body = Enrolled), (status = "default", body = Problem)))]
pub(super) async fn enrol(
    State(shell): State<Shell>,
    Params(_query): Params<PageQuery>,
    headers: HeaderMap,
    Doc(enrol): Doc<Enrol>,
) -> Result<Json<Enrolled>, Fault> {
    let worker = worker_name(&enrol.name)?;
    let key = enrol.key.to_lowercase();
    if key.len() != 64 || !key.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Fault::field("key", "`key` must be 64 hexadecimal digits: 32 random bytes."));
    }
    let key = secret_hash(&enrol.key);
    if let Some(pool) = &enrol.pool {
        let pool = PoolName::new(pool).map_err(|error| Fault::field("pool", format!("{error}.")))?;
        return enrol_in_pool(&shell, &headers, pool, key).await;
    }
    let name = worker.clone();
    let known = shell.read(move |store| Ok(store.worker(&name)?)).await?;
    let same = |row: &WorkerRow| blake3::Hash::from_bytes(row.key) == blake3::Hash::from_bytes(key);
    if known.as_ref().is_some_and(same) {
        return Ok(Json(Enrolled { name: worker.to_string() }));
    }
    let caller = auth::caller(&shell, &headers).await?;
    let token = match &caller.role {
        Role::Admin => None,
        Role::Enrol(_) if known.is_some() => {
            return Err(Fault::forbidden(format!(
                "The worker name `{worker}` is taken by another key. Take another name by `--identity`. Where this machine replaces the one that had it, run `bowline worker forget {worker}` first, or enrol with the administrator's token."
            )));
        }
        Role::Enrol(hash) => Some(*hash),
        Role::Attempt(_) => return Err(Fault::forbidden("An attempt's token enrols no worker.")),
        Role::Worker => return Err(Fault::forbidden("A worker's key enrols no other worker.")),
    };
    let reply = shell.ask(caller.actor, Request::Enrol { token, worker: worker.clone(), key }).await;
    shell.tokens_changed();
    match reply? {
        Answer::Enrolled(_) => Ok(Json(Enrolled { name: worker.to_string() })),
        other => Err(unexpected("enrol the worker", &other)),
    }
}

/// Lets a key act under the identities of a pool. The same key again is fine without any token.
async fn enrol_in_pool(
    shell: &Shell,
    headers: &HeaderMap,
    pool: PoolName,
    key: [u8; 32],
) -> Result<Json<Enrolled>, Fault> {
    let named = Json(Enrolled { name: pool.to_string() });
    let known = shell.read(move |store| Ok(store.token(&key)?)).await?;
    if known.is_some_and(|token| token.role == TokenRole::Member && token.pool.as_ref() == Some(&pool)) {
        return Ok(named);
    }
    let caller = auth::caller(shell, headers).await?;
    let token = match &caller.role {
        Role::Admin => None,
        Role::Enrol(hash) => Some(*hash),
        Role::Attempt(_) => return Err(Fault::forbidden("An attempt's token enrols no worker.")),
        Role::Worker => return Err(Fault::forbidden("A worker's key enrols no other worker.")),
    };
    let reply = shell.ask(caller.actor, Request::EnrolInPool { token, pool, key }).await;
    shell.tokens_changed();
    match reply? {
        Answer::Done => Ok(named),
        other => Err(unexpected("enrol the worker", &other)),
    }
}
