//! Where the last lines of a log begin.

/// Bytes read at a time, from the end backwards.
const STEP_BYTES: u64 = 64 << 10;
/// Most bytes looked through. 64 MiB.
const LOOKED_BYTES_MAX: u64 = 64 << 20;

/// The byte at which the last `lines` lines of the first `length` bytes begin. Looks through at most
/// 64 MiB: with longer lines it gives fewer of them. Where the last range that is left out is reached
/// first, it begins there, so that the reader is told.
pub(super) fn start<E>(
    length: u64,
    lines: u64,
    left_out: Option<(u64, u64)>,
    mut read: impl FnMut(u64, usize) -> Result<Vec<u8>, E>,
) -> Result<u64, E> {
    let mut left = lines;
    let mut end = length;
    let lowest = length.saturating_sub(LOOKED_BYTES_MAX).max(left_out.map_or(0, |range| range.1));
    if lines == 0 {
        return Ok(length);
    }
    while end > lowest {
        let from = end.saturating_sub(STEP_BYTES).max(lowest);
        let bytes = read(from, usize::try_from(end - from).unwrap_or(0))?;
        for (at, byte) in bytes.iter().enumerate().rev() {
            let place = from + at as u64 + 1;
            // The line end at the very end closes the last line; it begins none.
            if *byte == b'\n' && place < length {
                left -= 1;
                if left == 0 {
                    return Ok(place);
                }
            }
        }
        end = from;
    }
    Ok(left_out.filter(|range| range.1 == lowest).map_or(lowest, |range| range.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(text: &[u8], lines: u64) -> Vec<u8> {
        let read = |at: u64, length: usize| -> Result<Vec<u8>, ()> {
            let at = usize::try_from(at).unwrap();
            Ok(text[at..at + length].to_vec())
        };
        let start = start(text.len() as u64, lines, None, read).unwrap();
        text[usize::try_from(start).unwrap()..].to_vec()
    }

    #[test]
    fn the_last_lines_are_found() {
        assert_eq!(tail(b"a\nb\nc\n", 2), b"b\nc\n");
        assert_eq!(tail(b"a\nb\nc", 2), b"b\nc");
        assert_eq!(tail(b"a\nb\nc", 9), b"a\nb\nc");
        assert_eq!(tail(b"a\nb\n", 0), b"");
        assert_eq!(tail(b"", 3), b"");
        assert_eq!(tail(b"\n\n\n", 2), b"\n\n");
    }

    #[test]
    fn what_is_left_out_is_not_looked_through() {
        let text = b"a\n\0\0\0\0b\nc\n";
        let read = |at: u64, length: usize| -> Result<Vec<u8>, ()> {
            let at = usize::try_from(at).unwrap();
            Ok(text[at..at + length].to_vec())
        };
        assert_eq!(start(10, 1, Some((2, 6)), read), Ok(8));
        assert_eq!(start(10, 2, Some((2, 6)), read), Ok(2));
        assert_eq!(start(10, 9, Some((2, 6)), read), Ok(2));
    }

    #[test]
    fn lines_are_found_across_steps() {
        let mut text = vec![b'x'; 200_000];
        text.extend_from_slice(b"\nlast\n");
        assert_eq!(tail(&text, 1), b"last\n");
        assert_eq!(tail(&text, 2), text);
    }
}
