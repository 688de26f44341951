//! What must hold for any bytes that a server sends: for fuzzing, and for tests.

use crate::sse::Parser;

/// Reads bytes as a stream of events, whole and in pieces. Panics where the pieces make a difference.
pub fn events(bytes: &[u8], piece: usize) {
    let whole = Parser::default().push(bytes).ok();
    let mut parser = Parser::default();
    let pieces: Result<Vec<_>, _> = bytes.chunks(piece.max(1)).map(|piece| parser.push(piece)).collect();
    let pieces = pieces.ok().map(|pieces| pieces.concat());
    assert_eq!(whole, pieces, "in pieces of {piece}");
}
