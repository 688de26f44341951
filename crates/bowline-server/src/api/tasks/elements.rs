//! An array's elements, by index: those that have begun or ended as they are, the others as their array
//! is.

use std::collections::HashMap;

use axum::Extension;
use axum::Json;
use axum::extract::{Path, State};
use bowline_api::{ElementQuery, List, Problem, Task};
use bowline_core::id::TaskRef;
use bowline_core::row::ElementRow;
use bowline_core::spec::ArraySpec;
use bowline_core::state::StateKind;
use bowline_store::{ReadStore, TaskDetail};

use super::filter;
use crate::api::extract::{Params, page_limit, task_id};
use crate::api::fault::Fault;
use crate::api::shell::{Names, Shell};
use crate::api::{find, show};
use crate::auth::Caller;

/// Elements looked at together.
const PIECE: u32 = 1_000;
/// Elements looked at for one page, where few of them are in the states that are asked for.
const LOOKED_AT_MAX: u32 = 100_000;

/// One page of an array's elements, by index. Where only some states are asked for, a page may hold
/// fewer than `limit` and still not be the last: `next_cursor` says so.
#[utoipa::path(get, path = "/tasks/{id}/elements", tag = "tasks", params(("id" = String, Path), ElementQuery),
    responses((status = 200, body = List<Task>), (status = "default", body = Problem)))]
pub(super) async fn elements(
    State(shell): State<Shell>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Params(query): Params<ElementQuery>,
) -> Result<Json<List<Task>>, Fault> {
    let namespace = caller.read_some(query.namespace.as_deref())?;
    let id = task_id(&id)?;
    let limit = page_limit(query.limit)?;
    let states = query.state.as_deref().map(filter::states).transpose()?.unwrap_or_default();
    let begin = query.cursor.as_deref().map(place).transpose()?.unwrap_or(0);
    let names = shell.names();
    let list = shell.read(move |store| {
        let found = find::task(store, TaskRef::whole(id.task), namespace.as_ref())?;
        let Some(array) = found.spec.array.clone().filter(|_| id.index.is_none()) else {
            return Err(Fault::invalid(format!("{id} is no array: it has no elements.")));
        };
        let page = Page { found: &found, array: &array, states: &states, limit, names: &names };
        page.read(store, begin)
    });
    list.await.map(Json)
}

/// A cursor: the place in the array at which to go on.
fn place(cursor: &str) -> Result<u32, Fault> {
    cursor.parse().map_err(|_| Fault::field("cursor", "`cursor` must be the `next_cursor` of the page before."))
}

/// What is asked for.
struct Page<'a> {
    found: &'a TaskDetail,
    array: &'a ArraySpec,
    states: &'a [StateKind],
    limit: usize,
    names: &'a Names,
}

impl Page<'_> {
    fn read(&self, store: &dyn ReadStore, begin: u32) -> Result<List<Task>, Fault> {
        let end = self.array.count.min(begin.saturating_add(LOOKED_AT_MAX));
        let mut items = Vec::new();
        let mut place = begin;
        while place < end {
            let next = end.min(place.saturating_add(PIECE));
            let rows = self.rows(store, place)?;
            while place < next {
                let index = self.array.first + place * self.array.step;
                let doc = show::element(self.found, index, rows.get(&index), self.names, store)?;
                if self.states.is_empty() || self.states.contains(&doc.state) {
                    items.push(doc);
                }
                place += 1;
                if items.len() == self.limit {
                    return Ok(self.list(items, place));
                }
            }
        }
        Ok(self.list(items, place))
    }

    /// Those of the elements from this place on that have a row.
    fn rows(&self, store: &dyn ReadStore, place: u32) -> Result<HashMap<u32, ElementRow>, Fault> {
        let first = self.array.first + place * self.array.step;
        let rows = store.elements(self.found.row.id, first.checked_sub(1), PIECE as usize)?;
        Ok(rows.into_iter().map(|row| (row.index, row)).collect())
    }

    fn list(&self, items: Vec<Task>, place: u32) -> List<Task> {
        List { items, next_cursor: (place < self.array.count).then(|| place.to_string()) }
    }
}
