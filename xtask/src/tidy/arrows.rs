//! Which crate may use which: the table of ARCHITECTURE.md, enforced.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Each crate, the crates of ours that it may use, and whether others are limited too.
const MAY_USE: [(&str, &[&str]); 18] = [
    ("bowline-core", &[]),
    ("bowline-workflow", &["bowline-core"]),
    ("bowline-store", &["bowline-core"]),
    ("bowline-store-sqlite", &["bowline-core", "bowline-store"]),
    ("bowline-leader", &["bowline-core", "bowline-workflow", "bowline-store"]),
    ("bowline-blob", &[]),
    ("bowline-protocol", &["bowline-core"]),
    ("bowline-api", &["bowline-core"]),
    (
        "bowline-server",
        &[
            "bowline-api",
            "bowline-blob",
            "bowline-core",
            "bowline-leader",
            "bowline-protocol",
            "bowline-store",
            "bowline-store-sqlite",
            "bowline-workflow",
        ],
    ),
    // With its feature `sim` alone.
    ("bowline-supervisor", &["bowline-core"]),
    ("bowline-worker", &["bowline-core", "bowline-protocol", "bowline-supervisor"]),
    ("bowline-client", &["bowline-api", "bowline-core"]),
    (
        "bowline",
        &[
            "bowline-api",
            "bowline-blob",
            "bowline-client",
            "bowline-core",
            "bowline-leader",
            "bowline-protocol",
            "bowline-server",
            "bowline-store",
            "bowline-store-sqlite",
            "bowline-supervisor",
            "bowline-worker",
            "bowline-workflow",
        ],
    ),
    ("bowline-chaos", &["bowline-core", "bowline-protocol", "bowline-worker"]),
    (
        "bowline-bench",
        &[
            "bowline-api",
            "bowline-client",
            "bowline-core",
            "bowline-protocol",
            "bowline-store",
            "bowline-store-sqlite",
            "bowline-supervisor",
        ],
    ),
    (
        "bowline-sim",
        &[
            "bowline-core",
            "bowline-leader",
            "bowline-protocol",
            "bowline-store",
            "bowline-supervisor",
            "bowline-worker",
            "bowline-workflow",
        ],
    ),
    ("bowline-model", &[]),
    ("xtask", &[]),
];

/// Crates that may use nothing from outside but these.
const OUTSIDE: [(&str, &[&str]); 2] = [("bowline-core", &["serde", "thiserror"]), ("bowline-supervisor", &["rustix"])];

/// Findings about the crates' dependencies. Those of tests alone are free.
pub(super) fn check(metadata: &Value) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    for package in metadata["packages"].as_array().context("cargo metadata has no packages")? {
        let name = package["name"].as_str().unwrap_or_default();
        let Some((_, allowed)) = MAY_USE.iter().find(|(of, _)| *of == name) else {
            findings.push(format!("crate {name} is not in the table of ARCHITECTURE.md and xtask: add its row"));
            continue;
        };
        let outside = OUTSIDE.iter().find(|(of, _)| *of == name).map(|(_, list)| *list);
        for used in normal_dependencies(package) {
            let ours = MAY_USE.iter().any(|(of, _)| *of == used);
            let fine = if ours { allowed.contains(&used) } else { outside.is_none_or(|list| list.contains(&used)) };
            if !fine {
                findings.push(format!("crate {name} must not use {used}: see the table of ARCHITECTURE.md"));
            }
        }
    }
    Ok(findings)
}

fn normal_dependencies(package: &Value) -> impl Iterator<Item = &str> {
    let all = package["dependencies"].as_array().map_or(&[][..], Vec::as_slice);
    all.iter().filter(|dependency| dependency["kind"].is_null()).filter_map(|dependency| dependency["name"].as_str())
}

/// What cargo says of the workspace's own packages.
#[expect(clippy::disallowed_methods, reason = "xtask runs cargo")]
pub(super) fn metadata(root: &Path) -> Result<Value> {
    let output = Command::new("cargo")
        .args(["metadata", "--no-deps", "--format-version=1"])
        .current_dir(root)
        .output()
        .context("starting cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    }
    serde_json::from_slice(&output.stdout).context("reading what cargo metadata said")
}
