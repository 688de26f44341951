//! Pages of tasks. Each goes along one index in the order of ids, whichever the filter offers
//! first: label, resource, run, worker, unfinished, namespace, or the tasks themselves.

use bowline_core::row::TaskRow;
use bowline_core::state::StateKind;
use bowline_store::{TaskFilter, TaskSort};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params_from_iter};

use super::{columns, read};
use crate::codec::{int, state_code};
use crate::tables::unit::unit_columns;

/// A statement that grows, with its values in the order in which they were added.
struct Query {
    conditions: Vec<String>,
    values: Vec<Value>,
}

impl Query {
    /// Adds a condition; each `?` in it is one of the values.
    fn and(&mut self, condition: impl Into<String>, values: impl IntoIterator<Item = Value>) {
        self.conditions.push(condition.into());
        self.values.extend(values);
    }
}

/// At most `size` tasks beyond the cursor.
pub(crate) fn list(
    connection: &Connection,
    filter: &TaskFilter,
    sort: TaskSort,
    cursor: Option<u64>,
    size: usize,
) -> rusqlite::Result<Vec<TaskRow>> {
    let worker = match &filter.worker {
        None => None,
        Some(name) => {
            let mut statement = connection.prepare_cached("SELECT id FROM workers WHERE name = ?1")?;
            let id: Option<u32> = statement.query_row([name.as_str()], |row| row.get(0)).optional()?;
            match id {
                None => return Ok(Vec::new()),
                id => id,
            }
        }
    };
    let mut query = Query { conditions: Vec::new(), values: Vec::new() };
    let (source, id) = source(filter, &mut query);
    narrow(filter, worker, &mut query);
    let order = match sort {
        TaskSort::Newest => "DESC",
        TaskSort::Oldest => "ASC",
    };
    if let Some(cursor) = cursor {
        let beyond = if sort == TaskSort::Newest { "<" } else { ">" };
        query.and(format!("{id} {beyond} ?"), [Value::from(int(cursor))]);
    }
    query.values.push(Value::from(i64::try_from(size).unwrap_or(i64::MAX)));
    let conditions = if query.conditions.is_empty() { "1".to_owned() } else { query.conditions.join(" AND ") };
    let sql = format!("SELECT {} FROM {source} WHERE {conditions} ORDER BY {id} {order} LIMIT ?", columns!());
    connection.prepare_cached(&sql)?.query_map(params_from_iter(query.values), read)?.collect()
}

/// Where the page is read from, and the column that keeps its order.
fn source(filter: &TaskFilter, query: &mut Query) -> (&'static str, &'static str) {
    if let Some((key, value)) = filter.labels.first() {
        query.and("l.key = ? AND l.value = ?", [Value::from(key.clone()), Value::from(value.clone())]);
        return ("task_labels AS l CROSS JOIN tasks AS t ON t.id = l.task", "l.task");
    }
    if let Some(name) = &filter.resource {
        query.and("r.resource = ?", [Value::from(name.as_str().to_owned())]);
        return ("task_resources AS r CROSS JOIN tasks AS t ON t.id = r.task", "r.task");
    }
    let unfinished = !filter.states.is_empty() && !filter.states.iter().any(|state| state.is_ended());
    let source = if filter.run.is_some() {
        "tasks AS t INDEXED BY tasks_by_run"
    } else if filter.worker.is_some() {
        "tasks AS t INDEXED BY tasks_by_worker"
    } else if unfinished {
        query.and("t.ended_at IS NULL", []);
        "tasks AS t INDEXED BY tasks_open"
    } else if filter.namespace.is_some() {
        "tasks AS t INDEXED BY tasks_by_namespace"
    } else {
        "tasks AS t NOT INDEXED"
    };
    (source, "t.id")
}

fn narrow(filter: &TaskFilter, worker: Option<u32>, query: &mut Query) {
    if let Some(run) = filter.run {
        query.and("t.run = ?", [Value::from(int(run.0))]);
    }
    if let Some(node) = filter.node {
        query.and("t.node = ?", [Value::from(i64::from(node.0))]);
    }
    if let Some(worker) = worker {
        query.and("t.worker = ?", [Value::from(i64::from(worker))]);
    }
    if let Some(namespace) = &filter.namespace {
        query.and("t.namespace = ?", [Value::from(namespace.as_str().to_owned())]);
    }
    if !filter.states.is_empty() {
        let codes = filter.states.iter().map(|state: &StateKind| state_code(*state).to_string());
        let mut condition = format!("t.state IN ({})", codes.collect::<Vec<_>>().join(", "));
        if filter.takes_element_in_doubt() {
            let code = state_code(StateKind::InDoubt);
            let element = "SELECT 1 FROM elements AS e WHERE e.task = t.id AND e.state =";
            condition =
                format!("({condition} OR (t.ended_at IS NULL AND t.array IS NOT NULL AND EXISTS ({element} {code})))");
        }
        query.and(condition, []);
    }
    if let Some(name) = &filter.name {
        query.and("t.name GLOB ?", [Value::from(glob(name))]);
    }
    if let Some(since) = filter.since {
        query.and("t.submitted_at >= ?", [Value::from(int(since.0))]);
    }
    if let Some(by) = &filter.created_by {
        query.and("t.created_by = ?", [Value::from(by.clone())]);
    }
    if let (Some(name), false) = (&filter.resource, filter.labels.is_empty()) {
        let asks = "EXISTS (SELECT 1 FROM task_resources AS a WHERE a.resource = ? AND a.task = t.id)";
        query.and(asks, [Value::from(name.as_str().to_owned())]);
    }
    for (key, value) in filter.labels.iter().skip(1) {
        let other = "EXISTS (SELECT 1 FROM task_labels AS o WHERE o.key = ? AND o.value = ? AND o.task = t.id)";
        query.and(other, [Value::from(key.clone()), Value::from(value.clone())]);
    }
}

/// A pattern in which `*` alone has a meaning, for SQLite's GLOB, in which more has.
fn glob(pattern: &str) -> String {
    let mut text = String::with_capacity(pattern.len() + 8);
    for c in pattern.chars() {
        match c {
            '?' => text.push_str("[?]"),
            '[' => text.push_str("[[]"),
            c => text.push(c),
        }
    }
    text
}
