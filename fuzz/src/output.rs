//! What a job writes into `BOWLINE_OUTPUT`, or to a standard output that its task wants read.

use bowline_core::spec::OutputFormat;

/// The first byte says how output is read, and where `BOWLINE_OUTPUT` ends and standard output begins.
pub fn check(bytes: &[u8]) {
    let Some((first, rest)) = bytes.split_first() else { return };
    let format = match first & 7 {
        0 => None,
        1 => Some(OutputFormat::Json),
        2 => Some(OutputFormat::Lines),
        3 => Some(OutputFormat::Nul),
        _ => Some(OutputFormat::Text),
    };
    if first & 8 == 0 {
        bowline_worker::fuzz::output(rest, b"", format);
    } else {
        bowline_worker::fuzz::output(b" \n", rest, format);
    }
}
