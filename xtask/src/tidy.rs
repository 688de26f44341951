//! `cargo xtask tidy`: the rules that no lint knows. Each finding names its file and what to do.

mod arrows;
mod files;
mod sim;

use std::path::Path;

use anyhow::{Result, bail};

use crate::say;

/// Checks everything, and tells every finding before it fails.
pub(crate) fn run(root: &Path) -> Result<()> {
    let metadata = arrows::metadata(root)?;
    let mut findings = arrows::check(&metadata)?;
    findings.extend(sim::check(&metadata)?);
    findings.extend(files::check(root)?);
    for finding in &findings {
        say(&format!("tidy: {finding}"));
    }
    if findings.is_empty() { Ok(()) } else { bail!("tidy: {} findings", findings.len()) }
}
