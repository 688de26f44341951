//! What the documents name is there: every test that `docs/guarantees.md` shows as evidence.

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The texts of a document's inline code, line breaks within it as blanks.
fn inline_code(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(|code| code.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// All sources below a folder, as one text.
fn sources(folder: &Path) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            text.push_str(&sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
    text
}

#[test]
fn every_test_that_the_guarantees_name_exists() {
    let document = std::fs::read_to_string(root().join("docs/guarantees.md")).unwrap();
    let mut checked = 0;
    for code in inline_code(&document) {
        if let Some((subject, test)) = code.split_once("::").filter(|(subject, _)| !subject.contains(' ')) {
            let file = root().join("crates/bowline/tests/e2e").join(format!("{subject}.rs"));
            let text =
                std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("`{code}`: {}: {error}", file.display()));
            assert!(text.contains(&format!("fn {test}()")), "`{code}` is no test");
            checked += 1;
        } else if let Some(words) = code.strip_prefix("cargo nextest run -p ") {
            let mut words = words.split(' ');
            let text = sources(&root().join("crates").join(words.next().unwrap()));
            for test in words {
                assert!(text.contains(&format!("fn {test}")), "`{code}`: there is no test `{test}`");
                checked += 1;
            }
        }
    }
    assert!(checked >= 20, "the document names its evidence: {checked}");
}
