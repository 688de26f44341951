//! Changes what resources are declared to be, live: resized, out of service and back. The judge is told before each
//! request and after its answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::books::Shared;
use super::order::Declared;
use super::shape::{BOARDS, LICENCE, PHONES, SEATS, boards, phones};
use super::together::{TIGHT_NAMESPACE, quota_document};
use crate::clock::wall_us;
use crate::random::Random;
use crate::rest::Rest;

/// Which of them are taken out of service now and then.
const FRAGILE: [&str; 4] = ["web", SEATS.0, PHONES, BOARDS];

/// Declares one of them; the answer stands.
async fn declare(rest: &Rest, shared: &Shared, name: &str, declared: &Declared) -> Result<()> {
    shared.books().judge.declare(name, declared.clone(), wall_us());
    let reason = if declared.out_of_service { Value::from("being repaired") } else { Value::Null };
    let mut body = json!({ "out_of_service": reason });
    if declared.devices.is_empty() {
        body["capacity"] = declared.capacity.into();
    } else {
        let units =
            declared.devices.iter().map(|device| json!({ "name": device.name, "attributes": device.attributes }));
        body["units"] = units.collect();
    }
    let answer = rest.put_surely(&format!("/resources/{name}"), &body).await?;
    ensure!(answer.is_good(), "declaring `{name}` as {body} gave {} {}", answer.status, answer.body);
    shared.books().judge.declared(name, wall_us());
    Ok(())
}

/// What is declared from the beginning.
pub(crate) async fn begin(rest: &Rest, shared: &Shared) -> Result<()> {
    let capacity = |capacity| Declared { capacity, ..Declared::default() };
    let devices = |devices| Declared { devices, ..Declared::default() };
    let all = [
        (LICENCE.0, capacity(LICENCE.1)),
        (SEATS.0, capacity(SEATS.1)),
        (PHONES, devices(phones())),
        (BOARDS, devices(boards(2))),
    ];
    for (name, declared) in all {
        declare(rest, shared, name, &declared).await?;
    }
    let answer = rest.put_surely(&format!("/namespaces/{TIGHT_NAMESPACE}"), &quota_document()).await?;
    ensure!(answer.is_good(), "setting quotas gave {} {}", answer.status, answer.body);
    Ok(())
}

/// At the end there is as much of everything as anybody may have asked for.
pub(crate) async fn end(rest: &Rest, shared: &Shared) -> Result<()> {
    declare(rest, shared, SEATS.0, &Declared { capacity: super::grip::CAPACITY_MAX, ..Declared::default() }).await?;
    declare(rest, shared, BOARDS, &Declared { devices: boards(3), ..Declared::default() }).await
}

/// Changes this and that until it is over. In the end all is in service.
pub(crate) async fn go_on(rest: Rest, shared: Shared, seed: u64, over: Arc<AtomicBool>) {
    let mut random = Random::new(seed);
    while !over.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(random.within(300, 1_500))).await;
        if let Err(error) = change(&rest, &shared, &mut random).await {
            shared.find(&format!("{error:#}"));
            return;
        }
    }
}

async fn change(rest: &Rest, shared: &Shared, random: &mut Random) -> Result<()> {
    let now = |name: &str| shared.books().judge.declaration(name);
    match random.within(0, 3) {
        0 => {
            shared.done("resized");
            let declared = Declared { capacity: random.within(2, super::grip::CAPACITY_MAX + 1), ..now(SEATS.0) };
            declare(rest, shared, SEATS.0, &declared).await
        }
        1 => {
            shared.done("units changed");
            let declared = Declared { devices: boards(random.within(1, 4)), ..now(BOARDS) };
            declare(rest, shared, BOARDS, &declared).await
        }
        _ => {
            shared.done("out of service");
            let name = random.one_of(&FRAGILE);
            declare(rest, shared, name, &Declared { out_of_service: true, ..now(name) }).await?;
            tokio::time::sleep(Duration::from_millis(random.within(200, 1_500))).await;
            declare(rest, shared, name, &Declared { out_of_service: false, ..now(name) }).await
        }
    }
}
