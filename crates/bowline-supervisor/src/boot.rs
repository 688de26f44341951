//! Which boot of the machine this is.

use std::io;
use std::path::Path;

/// The kernel's boot id: another one after every start of the machine.
pub const BOOT_ID_FILE: &str = "/proc/sys/kernel/random/boot_id";
/// Longest boot id, in bytes.
const BOOT_ID_BYTES_MAX: usize = 128;

/// The boot id: what stands in this file, or the kernel's. Fails where it is empty or longer than 128 bytes.
pub fn boot_id(file: Option<&Path>) -> io::Result<String> {
    let id = std::fs::read_to_string(file.unwrap_or(Path::new(BOOT_ID_FILE)))?.trim().to_owned();
    if id.is_empty() || id.len() > BOOT_ID_BYTES_MAX {
        let text = format!("a boot id has 1 to {BOOT_ID_BYTES_MAX} bytes; this one has {}", id.len());
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    Ok(id)
}
