//! What came of it, for people: a line now and then, and a table at the end.

use anyhow::Result;
use serde_json::json;

use super::books::Books;
use super::order::Kind;
use crate::table::out;

/// How it goes, in a line.
pub(crate) fn progress(books: &Books, seconds: u64) -> String {
    let counts = &books.judge.counts;
    format!(
        "{seconds:>6} s  {} tasks, {} grants, {} jobs begun, {} faults; {} unended, longest line {}, longest wait {:.1} s, \
         judged after at most {:.1} s; found: {}",
        books.done.get("submitted").unwrap_or(&0) + books.done.get("vanished").unwrap_or(&0),
        counts.grants,
        books.deeds.counts.begun,
        books.faults.values().sum::<u64>(),
        books.judge.unended().count(),
        counts.longest_line,
        seconds_of(counts.longest_wait_us),
        seconds_of(books.lag_us),
        books.found(),
    )
}

fn seconds_of(us: i64) -> f64 {
    std::time::Duration::from_micros(u64::try_from(us).unwrap_or_default()).as_secs_f64()
}

/// All of it, or one JSON document.
pub(crate) fn print(books: &Books, seconds: u64, as_json: Json) -> Result<()> {
    let counts = &books.judge.counts;
    let wrong: Vec<(&str, u64)> = Kind::ALL.iter().map(|kind| (kind.name(), books.count(*kind))).collect();
    if as_json == Json::Yes {
        let document = json!({
            "seed": books.seed, "seconds": seconds, "done": books.done, "faults": books.faults, "judged": counts,
            "jobs_begun": books.deeds.counts.begun, "jobs_ended": books.deeds.counts.ended,
            "wrong": wrong.iter().copied().collect::<std::collections::BTreeMap<_, _>>(),
            "wrong_in_fact": books.in_fact, "other": books.other, "findings": books.told,
        });
        return out(&document.to_string());
    }
    out(&format!("seed {}, {seconds} s", books.seed))?;
    let list = |all: &std::collections::BTreeMap<String, u64>| {
        all.iter().map(|(what, count)| format!("{what} {count}")).collect::<Vec<_>>().join(" · ")
    };
    out(&format!("done: {}", list(&books.done)))?;
    out(&format!("faults: {}", list(&books.faults)))?;
    out(&format!(
        "events {}; grants {}, of which {} with a place that is known; units known {}; stood aside {}, stepped back {}; lost {}; kept for a \
         retry {}; resources asked {}; jobs begun {}, ended {}",
        counts.events,
        counts.grants,
        counts.placed,
        counts.units_known,
        counts.asides,
        counts.returns,
        counts.losses,
        counts.kept_for_retry,
        counts.snapshots,
        books.deeds.counts.begun,
        books.deeds.counts.ended
    ))?;
    out(&format!(
        "judged under keys and quotas {}; gangs begun {}; begun under what a run holds {}; in doubt {}",
        counts.limited, counts.gangs, counts.under_runs, counts.doubts
    ))?;
    out(&format!(
        "longest line {}; longest wait {:.1} s; judged after at most {:.1} s",
        counts.longest_line,
        seconds_of(counts.longest_wait_us),
        seconds_of(books.lag_us)
    ))?;
    let zeroes: Vec<String> = wrong.iter().map(|(name, count)| format!("{name} {count}")).collect();
    out(&format!("{} · wrong in fact {} · other {}", zeroes.join(" · "), books.in_fact, books.other))?;
    for what in &books.told {
        out(&format!("found: {what}"))?;
    }
    Ok(())
}

/// Whether the table is one JSON document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Json {
    Yes,
    No,
}
