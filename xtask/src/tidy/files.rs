//! Rules about files: module docs, sizes, left-overs, and nothing of any one machine.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

/// Most lines of a Rust file, its tests left out.
const FILE_LINES_MAX: usize = 600;
/// Largest file of the repository, in bytes: anything larger is a binary or an accident.
const FILE_BYTES_MAX: usize = 1 << 20;

/// Findings about every file that git knows.
pub(super) fn check(root: &Path) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    for name in tracked(root)? {
        let Ok(bytes) = std::fs::read(root.join(&name)) else { continue };
        if bytes.len() > FILE_BYTES_MAX {
            findings.push(format!("{name}: {} bytes; no file may be larger than {FILE_BYTES_MAX}", bytes.len()));
            continue;
        }
        let Ok(text) = std::str::from_utf8(&bytes) else {
            findings.push(format!("{name}: is no text; binaries do not belong into the repository"));
            continue;
        };
        machine(&name, text, &mut findings);
        if Path::new(&name).extension().is_some_and(|extension| extension == "rs") {
            rust(&name, text, &mut findings);
        }
    }
    Ok(findings)
}

/// Rules for Rust files.
fn rust(name: &str, text: &str, findings: &mut Vec<String>) {
    if !text.starts_with("//!") {
        findings.push(format!("{name}: begin with `//!`: what is this file responsible for?"));
    }
    let lines = text.split("\n#[cfg(test)]\n").next().unwrap_or(text).lines().count();
    if lines > FILE_LINES_MAX && !is_test(name) {
        findings.push(format!("{name}: {lines} lines; split it (at most {FILE_LINES_MAX}, aim at 250)"));
    }
    doc_tests(name, text, findings);
    for (number, line) in text.lines().enumerate() {
        let left_open = ["TO", "FIX"].iter().zip(["DO", "ME"]).any(|(a, b)| line.contains(&format!("{a}{b}")));
        if left_open && !line.contains("DO(") && !line.contains("ME(") {
            findings.push(format!("{name}:{}: who owns this? Write the owner in brackets, or do it", number + 1));
        }
        if line.trim_start().starts_with("#[ignore") {
            findings.push(format!("{name}:{}: an ignored test tests nothing", number + 1));
        }
    }
}

/// Code in doc comments that would be a test: building those of the workspace takes longer than most steps of
/// `cargo xtask test`, which therefore runs none.
fn doc_tests(name: &str, text: &str, findings: &mut Vec<String>) {
    let mut is_inside = false;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_start();
        let Some(doc) = line.strip_prefix("//!").or_else(|| line.strip_prefix("///")) else {
            is_inside = false;
            continue;
        };
        let Some(fence) = doc.trim_start().strip_prefix("```") else { continue };
        is_inside = !is_inside;
        if is_inside && !matches!(fence, "text" | "sh" | "json" | "yaml" | "toml") {
            findings.push(format!(
                "{name}:{}: nobody runs code in doc comments: mark it `text`, and write a test",
                number + 1
            ));
        }
    }
}

fn is_test(name: &str) -> bool {
    name.contains("/tests/") || name.ends_with("/tests.rs") || name.contains("/benches/")
}

/// Nothing of any one machine: no home folder, no work folder.
fn machine(name: &str, text: &str, findings: &mut Vec<String>) {
    let folders = [["/ro", "ot/"], ["/ho", "me/"], ["/wo", "rk/"], ["/tmp", "/w/"]];
    for (number, line) in text.lines().enumerate() {
        for folder in &folders {
            if line.contains(&folder.concat()) && !name.ends_with("Cargo.lock") {
                findings.push(format!("{name}:{}: names a folder of one machine", number + 1));
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "xtask asks git which files there are")]
fn tracked(root: &Path) -> Result<Vec<String>> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .context("starting git ls-files")?;
    let names = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(names.split('\0').filter(|name| !name.is_empty()).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_that_would_be_a_doc_test_is_found() {
        let found = |text: &str| {
            let mut findings = Vec::new();
            doc_tests("a.rs", text, &mut findings);
            findings.len()
        };
        assert_eq!(found("//! ```text\n//! a -> b\n//! ```\n\n/// ```sh\n/// ls\n/// ```\nfn f() {}\n"), 0);
        assert_eq!(found("/// ```\n/// f();\n/// ```\nfn f() {}\n"), 1);
        assert_eq!(found("//! ```rust\n//! f();\n//! ```\n"), 1);
    }
}
