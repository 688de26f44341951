//! Which boot of the machine this is.

use std::io;

/// The kernel's boot id: another one after every start of the machine.
pub fn boot_id() -> io::Result<String> {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|text| text.trim().to_owned())
}
