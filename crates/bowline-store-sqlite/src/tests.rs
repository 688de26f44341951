//! The suite that every store must pass, and what is this store's own.

mod differential;
mod durability;
mod engine;
mod opening;
mod rows;

use std::path::{Path, PathBuf};

use bowline_store::conformance::{Stores, ok};
use tempfile::TempDir;

use crate::{Opened, open};

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let path = folder.path().join("bowline.db");
    (folder, path)
}

fn opened(path: &Path) -> Opened {
    ok(open(path))
}

fn sqlite() -> Stores {
    let (folder, path) = folder();
    let Opened { store, reader } = opened(&path);
    Stores { writer: Box::new(store), reader, keep: Box::new(folder) }
}

bowline_store::conformance_tests!(sqlite);
