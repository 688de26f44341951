//! Tokens: hashes of secrets, never the secrets.

use bowline_core::input::{Token, TokenRole};
use bowline_core::name::PoolName;
use rusqlite::{Connection, OptionalExtension, Row};

use super::Written;
use crate::codec::{Columns, unreadable};
use crate::writer::{Writer, one};

const PUT: &str = "INSERT OR REPLACE INTO tokens (hash, name, role, pool) VALUES (?1, ?2, ?3, ?4)";
const FORGET: &str = "DELETE FROM tokens WHERE hash = ?1";
const ONE: &str = "SELECT hash, name, role, pool FROM tokens WHERE hash = ?1";
const ALL: &str = "SELECT hash, name, role, pool FROM tokens ORDER BY hash";

pub(crate) fn put(writer: &mut Writer<'_>, token: &Token) -> Written {
    let pool = token.pool.as_ref().map(PoolName::as_str);
    writer.bind(PUT)?.put(token.hash)?.put(&token.name)?.put(token.role.name())?.put(pool)?.run()?;
    Ok(())
}

/// A token is used up.
pub(crate) fn remove(writer: &mut Writer<'_>, hash: &[u8; 32]) -> Written {
    let touched = writer.bind(FORGET)?.put(*hash)?.run()?;
    Ok(one(touched, "tokens", "to be used up")?)
}

pub(crate) fn all(connection: &Connection) -> rusqlite::Result<Vec<Token>> {
    connection.prepare_cached(ALL)?.query_map([], read)?.collect()
}

/// The one of this hash.
pub(crate) fn one_of(connection: &Connection, hash: &[u8; 32]) -> rusqlite::Result<Option<Token>> {
    connection.prepare_cached(ONE)?.query_row([hash], read).optional()
}

fn read(row: &Row<'_>) -> rusqlite::Result<Token> {
    let mut columns = Columns::of(row);
    let (hash, name) = (columns.get()?, columns.get()?);
    let found = columns.text()?;
    let role = TokenRole::ALL.into_iter().find(|role| role.name() == found);
    let role = role.ok_or_else(|| unreadable(2, format!("token role `{found}`")))?;
    Ok(Token { hash, name, role, pool: columns.name_if_any()? })
}
