//! Artifacts: one large file up and down, beside `cp` and a hash; many small ones. The job only moves files that were
//! made before, so that what is measured is their way.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use bowline_api::NewTask;
use bowline_client::{Client, Write};
use bowline_core::id::TaskRef;

use super::runtime;
use crate::args::Plan;
use crate::ceiling::disk::{self, MB};
use crate::clock::{Stopwatch, as_f64};
use crate::drive::{WORK_MAX, succeeded};
use crate::row::{Row, Runs};
use crate::site::{Site, Voice};

/// Bytes of a small file.
const SMALL_BYTES: u64 = 10_000;
/// Small files that are fetched at a time, as `bowline task artifacts --fetch` does.
const FETCHES: usize = 8;
/// Small files that one task leaves.
const FILES_EACH: u32 = 1_000;

pub(super) fn measure(plan: &Plan) -> Result<Vec<Row>> {
    let [mut up, mut down, mut small, mut fetched] = [(); 4].map(|()| Runs::default());
    let (bytes, files) = plan.size.artifacts;
    for _ in 0..plan.runs {
        let mut site = Site::start(plan)?;
        site.employ(2, Voice::Quiet, &[])?;
        let runtime = runtime()?;
        runtime.block_on(site.manned())?;
        let file = site.path().join("large");
        disk::make(&file, bytes)?;
        let ceiling = disk::copy_and_hash(&file, &site.path().join("copy"))?;
        let (seconds, id) = runtime.block_on(leaves(site.client(), &file))?;
        up.add(as_f64(bytes) / MB / seconds).ceiling(ceiling);
        let watch = Stopwatch::start();
        let read = runtime.block_on(fetch(site.client(), id, "large"))?;
        ensure!(read == bytes, "the artifact has {bytes} bytes, and {read} came");
        down.add(as_f64(bytes) / MB / watch.elapsed().as_secs_f64()).ceiling(ceiling);
        let (kept, got) = runtime.block_on(many(&site, files))?;
        small.add(kept);
        fetched.add(got);
        site.stop()?;
    }
    Ok(vec![
        up.row("artifacts/large/up", "MB/s", Some("≥ 70 % of cp and a hash")),
        down.row("artifacts/large/down", "MB/s", Some("≥ 70 % of cp and a hash")),
        small.row("artifacts/small/up", "files/s", Some("≥ 3,000")),
        fetched.row("artifacts/small/down", "files/s", Some("≥ 3,000")),
    ])
}

/// A job that leaves what lies there. Seconds from its submit to its end.
async fn leaves(client: &Client, what: &Path) -> Result<(f64, TaskRef)> {
    let move_it = format!("mv {} .", what.display());
    let task = NewTask { shell: Some(move_it), artifacts: vec!["**".to_owned()], ..NewTask::default() };
    let watch = Stopwatch::start();
    let submitted = client.submit(&task, &Write::default()).await?;
    let id = submitted.ids.first().copied().context("nothing was submitted")?;
    client.wait_task(id, Some(WORK_MAX)).await?;
    let seconds = watch.elapsed().as_secs_f64();
    succeeded(client, &[id]).await?;
    Ok((seconds, id))
}

/// Fetches small files one after the other.
async fn fetch_all(client: Client, task: TaskRef, names: Vec<String>) -> Result<()> {
    for name in names {
        let read = fetch(&client, task, &name).await?;
        ensure!(read == SMALL_BYTES, "{name} has {read} bytes");
    }
    Ok(())
}

/// Fetches an artifact; how many bytes came.
async fn fetch(client: &Client, task: TaskRef, name: &str) -> Result<u64> {
    let mut stream = client.artifact(task, name, None).await?;
    let mut bytes = 0;
    while let Some(piece) = stream.next().await? {
        bytes += piece.len() as u64;
    }
    Ok(bytes)
}

/// Many small files, kept and fetched: how many a second.
async fn many(site: &Site, files: u32) -> Result<(f64, f64)> {
    let client = site.client();
    let (mut kept, mut fetched) = (0.0, 0.0);
    let tasks = files.div_ceil(FILES_EACH);
    for task in 0..tasks {
        let folder = site.path().join(format!("small-{task}"));
        std::fs::create_dir(&folder)?;
        let own = FILES_EACH.min(files - task * FILES_EACH);
        for number in 0..own {
            let text = format!("{task} {number} ").repeat(usize::try_from(SMALL_BYTES)?);
            std::fs::write(folder.join(number.to_string()), &text.as_bytes()[..usize::try_from(SMALL_BYTES)?])?;
        }
        let (seconds, id) = leaves(client, &folder).await?;
        kept += seconds;
        let listed = client.artifacts(id).await?.items;
        ensure!(listed.len() == own as usize, "of {own} files {} were kept", listed.len());
        let watch = Stopwatch::start();
        let names: Vec<String> = listed.into_iter().map(|artifact| artifact.name).collect();
        let mut parts = tokio::task::JoinSet::new();
        for part in 0..FETCHES {
            let (client, names) = (client.clone(), names.iter().skip(part).step_by(FETCHES).cloned().collect());
            parts.spawn(fetch_all(client, id, names));
        }
        while let Some(done) = parts.join_next().await {
            done??;
        }
        fetched += watch.elapsed().as_secs_f64();
    }
    Ok((f64::from(files) / kept, f64::from(files) / fetched))
}
