//! The configuration file: flat TOML, every key known.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::{Environment, SETTINGS};
use crate::exit::Trouble;

/// Largest configuration file, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// The machine's own.
const MACHINE_FILE: &str = "/etc/bowline/bowline.toml";

type Table = BTreeMap<&'static str, String>;

/// The files that apply, those that weigh less first.
pub(super) fn read_all(environment: &Environment, named: Option<&Path>) -> anyhow::Result<Vec<(PathBuf, Table)>> {
    if let Some(path) = named {
        let text = read(path)?.ok_or_else(|| {
            Trouble::usage(format!("There is no configuration file `{}`; check `--config`.", path.display()))
        })?;
        return Ok(vec![(path.to_owned(), parse(path, &text)?)]);
    }
    let own = environment.config_home().map(|home| home.join("bowline/bowline.toml"));
    let mut found = Vec::new();
    for path in std::iter::once(PathBuf::from(MACHINE_FILE)).chain(own) {
        if let Some(text) = read(&path)? {
            let table = parse(&path, &text)?;
            found.push((path, table));
        }
    }
    Ok(found)
}

fn read(path: &Path) -> anyhow::Result<Option<String>> {
    let failed = || format!("The configuration file `{}` cannot be read.", path.display());
    match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(failed),
        Ok(metadata) if metadata.len() > FILE_BYTES_MAX => {
            return Err(anyhow::anyhow!("it is larger than {FILE_BYTES_MAX} bytes")).with_context(failed);
        }
        Ok(_) => {}
    }
    std::fs::read_to_string(path).map(Some).with_context(failed)
}

fn parse(path: &Path, text: &str) -> anyhow::Result<Table> {
    let wrong = |what: String| Trouble::usage(format!("The configuration file `{}`: {what}", path.display()));
    let raw: toml::Table = text.parse().map_err(|error: toml::de::Error| wrong(error.to_string()))?;
    let mut table = Table::new();
    for (key, value) in raw {
        let Some(setting) = SETTINGS.iter().find(|setting| setting.key == key) else {
            return Err(wrong(unknown(&key)).into());
        };
        let text = match value {
            toml::Value::String(text) => text,
            toml::Value::Integer(number) => number.to_string(),
            toml::Value::Boolean(flag) => flag.to_string(),
            other => {
                return Err(wrong(format!("`{key}` must be text or a number, and is {}.", other.type_str())).into());
            }
        };
        table.insert(setting.key, text);
    }
    Ok(table)
}

fn unknown(key: &str) -> String {
    let known = SETTINGS.iter().map(|setting| setting.key);
    match crate::nearest::nearest(key, known) {
        Some(near) => format!("there is no setting `{key}`; did you mean `{near}`?"),
        None => format!("there is no setting `{key}`; `bowline doctor` lists all of them."),
    }
}
