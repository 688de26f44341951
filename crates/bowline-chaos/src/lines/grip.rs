//! What a job holds in fact: a lock of this machine for each thing that it was granted. They are taken without
//! waiting, by descriptors that all processes of the job inherit: who finds one taken runs beside somebody who has not
//! gone, whatever the record says.

use std::fs::File;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::{FdFlags, fcntl_setfd};

use super::order::{Ask, Mode};

/// The folder of the locks, beside the marks.
pub(crate) const FOLDER: &str = "held";
/// Of no resource is there ever more than this.
pub(crate) const CAPACITY_MAX: u64 = 6;

/// What is held until it is dropped, and all processes that inherited it are gone.
#[derive(Debug, Default)]
pub(crate) struct Grip {
    files: Vec<File>,
    /// What could not be held: marks to leave.
    pub(crate) troubles: Vec<String>,
}

impl Grip {
    /// Takes all that these asks come to.
    pub(crate) fn take(marks: &Path, asks: &str, alone: Option<&str>) -> Result<Self, String> {
        let given = |name: &str| {
            let variable = format!("BOWLINE_RESOURCE_{}", variable(name));
            std::env::var_os(variable).map(|value| value.to_string_lossy().into_owned())
        };
        let asks = Ask::read(asks).ok_or_else(|| format!("these are no asks: {asks}"))?;
        let mut grip = Self::take_with(&marks.join(FOLDER), &asks, given)?;
        if let Some(key) = alone {
            grip.alone(&marks.join(FOLDER), key)?;
        }
        Ok(grip)
    }

    /// Under a key that only one may be at work under.
    fn alone(&mut self, folder: &Path, key: &str) -> Result<(), String> {
        let name = format!("key={key}");
        if !self.hold(folder, &name, FlockOperation::NonBlockingLockExclusive)? {
            self.troubles.push(format!("beside:{name}"));
        }
        Ok(())
    }

    fn take_with(folder: &Path, asks: &[Ask], given: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let mut grip = Self::default();
        for ask in asks {
            let name = &ask.resource;
            let whole = match ask.mode {
                Mode::Exclusive => FlockOperation::NonBlockingLockExclusive,
                Mode::Shared | Mode::Counted | Mode::Unit => FlockOperation::NonBlockingLockShared,
            };
            if !grip.hold(folder, name, whole)? {
                grip.troubles.push(format!("beside:{name}"));
            }
            let units = units(ask.mode, given(name).as_deref());
            let is_right = units.as_ref().is_some_and(|units| {
                let has_none = units.is_empty() && ask.mode != Mode::Unit;
                has_none || units.len() as u64 == ask.amount
            });
            if !is_right {
                grip.troubles.push(format!("untold:{name}"));
            }
            let units = units.unwrap_or_default();
            for unit in &units {
                if !grip.hold(folder, &format!("{name}.{unit}"), FlockOperation::NonBlockingLockExclusive)? {
                    grip.troubles.push(format!("beside:{name}.{unit}"));
                }
            }
            if ask.mode == Mode::Counted && units.is_empty() && grip.parts(folder, name, ask.amount)? < ask.amount {
                grip.troubles.push(format!("beyond:{name}"));
            }
        }
        Ok(grip)
    }

    /// As many parts of a capacity as are free, up to so many.
    fn parts(&mut self, folder: &Path, name: &str, amount: u64) -> Result<u64, String> {
        let mut parts = 0;
        for number in 0..CAPACITY_MAX {
            if parts < amount
                && self.hold(folder, &format!("{name}+{number}"), FlockOperation::NonBlockingLockExclusive)?
            {
                parts += 1;
            }
        }
        Ok(parts)
    }

    fn hold(&mut self, folder: &Path, name: &str, how: FlockOperation) -> Result<bool, String> {
        let path = folder.join(name.replace('/', "_"));
        let file = File::options().create(true).append(true).open(&path);
        let file = file.map_err(|error| format!("opening `{}`: {error}", path.display()))?;
        // Whatever the job starts inherits it.
        fcntl_setfd(&file, FdFlags::empty()).map_err(|error| format!("leaving `{}` open: {error}", path.display()))?;
        let is_held = flock(&file, how).is_ok();
        if is_held {
            self.files.push(file);
        }
        Ok(is_held)
    }
}

/// The units that a job was told it has; none where it has a part of what has no units. `None`: it was told nothing.
fn units(mode: Mode, told: Option<&str>) -> Option<Vec<String>> {
    let told = told?;
    match mode {
        Mode::Exclusive | Mode::Shared => Some(Vec::new()),
        Mode::Counted if told.parse::<u64>().is_ok() => Some(Vec::new()),
        Mode::Counted | Mode::Unit => {
            Some(told.split(',').filter(|unit| !unit.is_empty()).map(str::to_owned).collect())
        }
    }
}

/// The name of a resource within the name of a variable.
fn variable(name: &str) -> String {
    name.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter.to_ascii_uppercase() } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(folder: &Path, asks: &str, told: &str) -> Grip {
        let given = |_: &str| Some(told.to_owned());
        Grip::take_with(folder, &Ask::read(asks).unwrap(), given).unwrap()
    }

    #[test]
    fn who_runs_beside_another_one_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let one = take(folder, "x:db", "db");
        assert!(one.troubles.is_empty(), "{:?}", one.troubles);
        assert_eq!(take(folder, "x:db", "db").troubles, ["beside:db"]);
        assert_eq!(take(folder, "s:db", "db").troubles, ["beside:db"]);
        drop(one);
        let shared = (take(folder, "s:db", "db"), take(folder, "s:db", "db"));
        assert!(shared.0.troubles.is_empty() && shared.1.troubles.is_empty());
        assert_eq!(take(folder, "x:db", "db").troubles, ["beside:db"]);
    }

    #[test]
    fn under_a_key_for_one_a_second_says_so() {
        let marks = tempfile::tempdir().unwrap();
        std::fs::create_dir(marks.path().join(FOLDER)).unwrap();
        let one = Grip::take(marks.path(), "", Some("deploy")).unwrap();
        assert!(one.troubles.is_empty() && Grip::take(marks.path(), "", Some("other")).unwrap().troubles.is_empty());
        assert_eq!(Grip::take(marks.path(), "", Some("deploy")).unwrap().troubles, ["beside:key=deploy"]);
        drop(one);
        assert!(Grip::take(marks.path(), "", Some("deploy")).unwrap().troubles.is_empty());
    }

    #[test]
    fn units_are_one_s_own_and_parts_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let one = take(folder, "u:p", "p1");
        assert!(one.troubles.is_empty(), "{:?}", one.troubles);
        assert!(take(folder, "u:p", "p2").troubles.is_empty());
        assert_eq!(take(folder, "u:p", "p1").troubles, ["beside:p.p1"]);
        assert_eq!(take(folder, "u:p u:p", "p2").troubles, ["untold:p"]);
        let four = take(folder, "c:lic=4", "4");
        assert!(four.troubles.is_empty() && take(folder, "c:lic=2", "2").troubles.is_empty());
        assert_eq!(take(folder, "c:lic=3", "3").troubles, ["beyond:lic"]);
        let told = Grip::take_with(folder, &Ask::read("x:db").unwrap(), |_| None).unwrap();
        assert_eq!(told.troubles, ["untold:db"]);
        drop((one, four));
        assert!(take(folder, "c:lic=3", "3").troubles.is_empty());
    }
}
