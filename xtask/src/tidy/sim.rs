//! The feature `sim` (probes that count, mutants that can be switched on) is for `bowline-sim` alone: only the crates
//! that it is in have it, only such a feature turns on another one, and it is nobody's default.

use anyhow::{Context, Result};
use serde_json::Value;

/// The feature's name.
const FEATURE: &str = "sim";
/// Who has it: those that it is in (the supervisor uses nothing of ours without it), and the one that turns it on.
const HAS_IT: [&str; 3] = ["bowline-core", "bowline-supervisor", "bowline-sim"];

/// Findings about who names the feature.
pub(super) fn check(metadata: &Value) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    for package in metadata["packages"].as_array().context("cargo metadata has no packages")? {
        let name = package["name"].as_str().unwrap_or_default();
        if turns_it_on(package) {
            findings.push(format!("crate {name} turns on the feature `{FEATURE}`: only that feature itself may"));
        }
        let has_it = package["features"].get(FEATURE).is_some();
        if has_it != HAS_IT.contains(&name) {
            let which = HAS_IT.join(", ");
            findings.push(format!("crate {name}: {which}, and they alone, have a feature `{FEATURE}`"));
        }
        if texts(&package["features"]["default"]).any(|part| part == FEATURE) {
            findings.push(format!("crate {name} has `{FEATURE}` on by default: no release may have it"));
        }
    }
    Ok(findings)
}

/// Whether the package turns the feature on in another crate: by a dependency of any kind, or by a feature of
/// another name.
fn turns_it_on(package: &Value) -> bool {
    let dependencies = package["dependencies"].as_array().map_or(&[][..], Vec::as_slice);
    let by_dependency = dependencies.iter().any(|dependency| {
        let is_ours = HAS_IT.iter().any(|of| dependency["name"] == *of);
        is_ours && texts(&dependency["features"]).any(|feature| feature == FEATURE)
    });
    let features = package["features"].as_object();
    let others = features.into_iter().flatten().filter(|(name, _)| *name != FEATURE);
    let mut parts = others.flat_map(|(_, parts)| texts(parts));
    let by_feature = parts.any(|part| {
        let of = part.split_once('/').filter(|(_, feature)| *feature == FEATURE);
        of.is_some_and(|(of, _)| HAS_IT.contains(&of.trim_end_matches('?')))
    });
    by_dependency || by_feature
}

fn texts(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().map_or(&[][..], Vec::as_slice).iter().filter_map(Value::as_str)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn package(name: &str, features: &Value, asked: &[&str]) -> Value {
        let dependency = json!({ "name": "bowline-core", "features": asked });
        json!({ "name": name, "features": features, "dependencies": [dependency] })
    }

    fn findings(package: &Value) -> usize {
        check(&json!({ "packages": [package] })).unwrap().len()
    }

    #[test]
    fn the_simulation_alone_turns_it_on_and_never_by_default() {
        assert_eq!(findings(&package("bowline-core", &json!({ "sim": [] }), &[])), 0);
        assert_eq!(findings(&package("bowline-sim", &json!({ "sim": ["bowline-core/sim"] }), &[])), 0);
        assert_eq!(findings(&package("bowline-supervisor", &json!({ "sim": ["bowline-core/sim"] }), &[])), 0);
        assert_eq!(findings(&package("bowline-leader", &json!({}), &[])), 0);
        assert_eq!(findings(&package("bowline-leader", &json!({}), &["sim"])), 1);
        assert_eq!(findings(&package("bowline", &json!({ "x": ["bowline-core?/sim"] }), &[])), 1);
        assert_eq!(findings(&package("bowline-worker", &json!({ "sim": [] }), &[])), 1);
        let default = json!({ "sim": ["bowline-core/sim"], "default": ["sim"] });
        assert_eq!(findings(&package("bowline-sim", &default, &[])), 1);
    }
}
