//! Events: the history of each commit again, as one row of JSON. Texts stand in a list of words,
//! each once, and lines are numbers that point into it: a line is some 30 bytes.

use std::collections::HashMap;
use std::sync::Arc;

use bowline_core::id::{AttemptNo, CommitNo, RunId, TaskId, TaskRef};
use bowline_core::name::{Actor, Namespace, ResourceName, WorkerName};
use bowline_core::row::{HistoryRow, Subject};
use bowline_core::time::Timestamp;
use rusqlite::{Connection, params};
use serde::Deserialize;

use super::Written;
use crate::codec::{Columns, int, push_json, unreadable};
use crate::writer::Writer;

const INSERT: &str = "INSERT INTO events (commit_no, at, count, lines) VALUES (?1, ?2, ?3, ?4)";
const FROM: &str = "SELECT commit_no, lines FROM events WHERE commit_no >= ?1 ORDER BY commit_no";
const OLD: &str = "SELECT commit_no, count, at FROM events ORDER BY commit_no LIMIT ?1";
const FORGET: &str = "DELETE FROM events WHERE commit_no = ?1";

const TASK: u64 = 0;
const RUN: u64 = 1;
const WORKER: u64 = 2;
const NAMESPACE: u64 = 3;
const RESOURCE: u64 = 4;

/// Kind of subject, its number, one more than its index, namespace, time since the first line,
/// what, attempt, actor, reason. Texts are words' places; of what may be missing, one more.
type Line = [u64; 9];

/// About so many bytes a line takes.
const LINE_BYTES: usize = 48;

#[derive(Deserialize)]
struct Unpacked {
    at: u64,
    words: Vec<Arc<str>>,
    lines: Vec<Line>,
}

/// Words, each once, in the order in which they came.
struct Words<'a> {
    list: Vec<&'a str>,
    places: HashMap<&'a str, u64>,
    /// The last one that was looked up of each kind of word: a commit says few words, again and again.
    recent: [Option<(&'a str, u64)>; KINDS],
}

/// Kinds of words, by length and ends: most words of a commit are alone in theirs.
const KINDS: usize = 64;

fn kind_of(word: &str) -> usize {
    let (first, last) = (word.bytes().next().unwrap_or_default(), word.bytes().next_back().unwrap_or_default());
    (word.len() + 7 * usize::from(first) + 31 * usize::from(last)) % KINDS
}

impl<'a> Words<'a> {
    fn new() -> Self {
        Self { list: Vec::new(), places: HashMap::new(), recent: [None; KINDS] }
    }

    fn place(&mut self, word: &'a str) -> u64 {
        let kind = kind_of(word);
        if let Some((_, place)) = self.recent[kind].filter(|(recent, _)| *recent == word) {
            return place;
        }
        let place = *self.places.entry(word).or_insert_with(|| {
            self.list.push(word);
            self.list.len() as u64 - 1
        });
        self.recent[kind] = Some((word, place));
        place
    }

    fn place_if_any(&mut self, word: Option<&'a str>) -> u64 {
        word.map_or(0, |word| self.place(word) + 1)
    }
}

/// Appends a commit's events, where it has some.
pub(crate) fn append(writer: &mut Writer<'_>, commit: CommitNo, now: Timestamp, lines: &[HistoryRow]) -> Written {
    let Some(first) = lines.first() else { return Ok(()) };
    let mut words = Words::new();
    let mut packed = Vec::with_capacity(LINE_BYTES * lines.len());
    for line in lines {
        packed.push(if packed.is_empty() { b'[' } else { b',' });
        push_json(&mut packed, &pack(line, first.at, &mut words))?;
    }
    // Words come before the lines that point at them.
    let mut text = Vec::with_capacity(packed.len() + LINE_BYTES * (words.list.len() + 1));
    text.extend(b"{\"at\":");
    push_json(&mut text, &first.at.0)?;
    text.extend(b",\"words\":");
    push_json(&mut text, &words.list)?;
    text.extend(b",\"lines\":");
    text.extend(&packed);
    text.extend(b"]}");
    let text = str::from_utf8(&text).map_err(rusqlite::Error::from)?;
    let binding = writer.bind(INSERT)?.u64(commit.0)?.time(now)?;
    binding.put(i64::try_from(lines.len()).unwrap_or(i64::MAX))?.put(text)?.run()?;
    Ok(())
}

fn pack<'a>(line: &'a HistoryRow, first: Timestamp, words: &mut Words<'a>) -> Line {
    let (kind, number, index) = match &line.subject {
        Subject::Task(task) => (TASK, task.task.0, task.index.map_or(0, |index| u64::from(index) + 1)),
        Subject::Run(run) => (RUN, run.0, 0),
        Subject::Worker(worker) => (WORKER, words.place(worker.as_str()), 0),
        Subject::Resource(resource) => (RESOURCE, words.place(resource.as_str()), 0),
        Subject::Namespace(namespace) => (NAMESPACE, words.place_if_any(namespace.as_ref().map(Namespace::as_str)), 0),
    };
    [
        kind,
        number,
        index,
        words.place_if_any(line.namespace.as_ref().map(Namespace::as_str)),
        line.at.0.wrapping_sub(first.0),
        words.place(&line.what),
        u64::from(line.attempt.0),
        words.place(&line.actor.0),
        words.place(&line.reason),
    ]
}

impl Unpacked {
    fn word(&self, place: u64) -> Result<&Arc<str>, String> {
        let word = usize::try_from(place).ok().and_then(|place| self.words.get(place));
        word.ok_or_else(|| format!("an event points at word {place} of {}", self.words.len()))
    }

    fn namespace(&self, place: u64) -> Result<Option<Namespace>, String> {
        let Some(place) = place.checked_sub(1) else { return Ok(None) };
        Namespace::new(self.word(place)?).map(Some).map_err(|error| error.to_string())
    }

    fn unpack(&self, line: &Line) -> Result<HistoryRow, String> {
        let [kind, number, index, namespace, after, what, attempt, actor, reason] = *line;
        let small = |number: u64| u32::try_from(number).map_err(|error| error.to_string());
        let subject = match kind {
            TASK => {
                let index = index.checked_sub(1).map(small).transpose()?;
                Subject::Task(TaskRef { task: TaskId(number), index })
            }
            RUN => Subject::Run(RunId(number)),
            WORKER => Subject::Worker(WorkerName::new(self.word(number)?).map_err(|error| error.to_string())?),
            NAMESPACE => Subject::Namespace(self.namespace(number)?),
            RESOURCE => Subject::Resource(ResourceName::new(self.word(number)?).map_err(|error| error.to_string())?),
            other => return Err(format!("an event of kind {other}")),
        };
        Ok(HistoryRow {
            subject,
            namespace: self.namespace(namespace)?,
            at: Timestamp(self.at.wrapping_add(after)),
            what: self.word(what)?.as_ref().to_owned(),
            attempt: AttemptNo(small(attempt)?),
            actor: Actor(Arc::clone(self.word(actor)?)),
            reason: self.word(reason)?.as_ref().to_owned(),
        })
    }
}

/// At most `limit` events after a place.
pub(crate) fn after(
    connection: &Connection,
    after: (CommitNo, u32),
    limit: usize,
) -> rusqlite::Result<Vec<(CommitNo, u32, HistoryRow)>> {
    let mut found = Vec::new();
    let mut statement = connection.prepare_cached(FROM)?;
    let mut rows = statement.query([int(after.0.0)])?;
    while let Some(row) = rows.next()? {
        let mut columns = Columns::of(row);
        let commit = CommitNo(columns.u64()?);
        let unpacked: Unpacked = columns.json()?;
        for (place, line) in (0_u32..).zip(&unpacked.lines) {
            if found.len() == limit {
                return Ok(found);
            }
            if (commit, place) > after {
                found.push((commit, place, unpacked.unpack(line).map_err(|detail| unreadable(1, detail))?));
            }
        }
    }
    Ok(found)
}

/// Removes events of at most so many commits that were made by then. How many commits, and the last
/// event that went.
pub(crate) fn sweep(
    writer: &mut Writer<'_>,
    by: impl Fn(Timestamp) -> bool,
    most: usize,
) -> rusqlite::Result<(usize, Option<(CommitNo, u32)>)> {
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let mut statement = writer.connection().prepare_cached(OLD)?;
    let oldest: Vec<(CommitNo, u32, Timestamp)> = statement
        .query_map(params![most], |row| {
            let mut columns = Columns::of(row);
            Ok((CommitNo(columns.u64()?), columns.get()?, columns.time()?))
        })?
        .collect::<rusqlite::Result<_>>()?;
    let mut last = None;
    let mut removed = 0;
    for (commit, count, _) in oldest.into_iter().take_while(|(_, _, at)| by(*at)) {
        writer.bind(FORGET)?.u64(commit.0)?.run()?;
        last = Some((commit, count.saturating_sub(1)));
        removed += 1;
    }
    Ok((removed, last))
}
