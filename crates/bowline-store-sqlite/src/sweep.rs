//! Removing what has been kept long enough: one small batch in one transaction.

use bowline_core::row::{KeyRow, Made};
use bowline_core::time::{Timestamp, micros};
use bowline_store::{RetentionPolicy, Swept};
use rusqlite::Connection;

use crate::tables::{WriteError, Written, events, history, keys, leadership, nodes, runs, tasks};
use crate::writer::Writer;

/// The latest moment that lies so far back; `None` where the clock has not come so far.
fn before(now: Timestamp, kept: std::time::Duration) -> Option<Timestamp> {
    now.0.checked_sub(micros(kept)).map(Timestamp)
}

pub(crate) fn sweep(connection: &Connection, now: Timestamp, policy: &RetentionPolicy) -> Result<Swept, WriteError> {
    let mut swept = Swept::default();
    let mut writer = Writer::new(connection);
    if let Some(by) = before(now, policy.ended) {
        swept.tasks = tasks::removable(connection, by, policy.batch_max)?;
        tasks::forget_all(&mut writer, &swept.tasks)?;
        sweep_runs(&mut writer, by, policy.batch_max, &mut swept)?;
    }
    let old = |at: Timestamp| at.plus(policy.events) <= now;
    let (removed, last) = events::sweep(&mut writer, old, policy.batch_max)?;
    swept.events = removed;
    if let Some(last) = last {
        leadership::set_swept(connection, last)?;
    }
    if let Some(by) = before(now, policy.keys) {
        for key in keys::due(connection, by, policy.batch_max)? {
            if is_kept(connection, &key)? {
                keys::looked(&mut writer, &key, now)?;
            } else {
                keys::forget(&mut writer, &key)?;
                swept.keys += 1;
            }
        }
    }
    Ok(swept)
}

/// Runs go with all their tasks, one run at a time, until the batch is full.
fn sweep_runs(writer: &mut Writer<'_>, by: Timestamp, most: usize, swept: &mut Swept) -> Written {
    for run in runs::old(writer.connection(), by)? {
        if swept.tasks.len() + swept.runs.len() >= most {
            break;
        }
        if tasks::run_is_held(writer.connection(), run)? {
            continue;
        }
        let of_run = tasks::of_run(writer.connection(), run)?;
        tasks::forget_all(writer, &of_run)?;
        swept.tasks.extend(of_run);
        nodes::forget(writer, run)?;
        history::forget_run(writer, run)?;
        runs::forget(writer, run)?;
        swept.runs.push(run);
    }
    Ok(())
}

fn is_kept(connection: &Connection, key: &KeyRow) -> rusqlite::Result<bool> {
    match &key.made {
        Made::Run(run) => runs::exists(connection, *run),
        Made::Tasks(made) => {
            for task in made {
                if tasks::state(connection, *task)?.is_some() {
                    return Ok(true);
                }
            }
            Ok(false)
        }
    }
}
