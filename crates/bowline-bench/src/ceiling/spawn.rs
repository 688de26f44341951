//! A bare loop of `posix_spawn`: so many processes at a time, an output file opened for each, and each waited for.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use rustix::process::{WaitOptions, wait};

use crate::clock::Stopwatch;

/// Processes a second. There must be no other child of this process that ends meanwhile.
#[expect(clippy::disallowed_methods, reason = "the bare loop is what the supervisor is measured by")]
pub(crate) fn processes_per_second(folder: &Path, count: u64, at_a_time: u32) -> Result<f64> {
    let watch = Stopwatch::start();
    let (mut started, mut ended) = (0, 0);
    while ended < count {
        while started < count && started - ended < u64::from(at_a_time) {
            let out = File::options().create(true).append(true).open(folder.join(format!("out-{started}")))?;
            let err = out.try_clone()?;
            let child = Command::new("/bin/true").stdin(Stdio::null()).stdout(out).stderr(err).spawn();
            // Waited for below, whichever ends first.
            drop(child.context("starting /bin/true")?);
            started += 1;
        }
        let (_, status) = wait(WaitOptions::empty()).context("waiting for a process")?.context("no process is left")?;
        ensure!(status.exit_status() == Some(0), "/bin/true did not succeed");
        ended += 1;
    }
    Ok(watch.per_second(count))
}
