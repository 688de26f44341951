//! What a task asks for, in the words of whoever submitted it. They stand in a label of the task, so that the judge takes
//! nobody else's word for them: `x:db s:log c:lic=3 u:phones:model=a u:phones`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

/// How it is to be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Mode {
    Exclusive,
    Shared,
    Counted,
    Unit,
}

impl Mode {
    /// As REST calls it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Exclusive => "exclusive",
            Self::Shared => "shared",
            Self::Counted => "counted",
            Self::Unit => "unit",
        }
    }
}

/// What a unit must have; `name` is its own name.
pub(crate) type Attributes = BTreeMap<String, String>;

/// All that is asked of one resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ask {
    pub(crate) resource: String,
    pub(crate) mode: Mode,
    /// Of the capacity: 0 where exclusive or shared, the number of units where it asks for units.
    pub(crate) amount: u64,
    /// One for each unit.
    pub(crate) with: Vec<Attributes>,
}

/// A named unit of a resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Device {
    pub(crate) name: String,
    pub(crate) attributes: Attributes,
}

impl Device {
    /// Whether it has all of these.
    pub(crate) fn fits(&self, with: &Attributes) -> bool {
        with.iter().all(|(key, value)| match key.as_str() {
            "name" => self.name == *value,
            key => self.attributes.get(key) == Some(value),
        })
    }
}

impl Ask {
    /// Reads what [`Ask::write`] wrote.
    pub(crate) fn read(text: &str) -> Option<Vec<Self>> {
        let mut all: Vec<Self> = Vec::new();
        for word in text.split_whitespace() {
            let (mode, rest) = word.split_once(':')?;
            let ask = match mode {
                "x" => Self::of(rest, Mode::Exclusive, 0),
                "s" => Self::of(rest, Mode::Shared, 0),
                "c" => {
                    let (name, amount) = rest.split_once('=')?;
                    Self::of(name, Mode::Counted, amount.parse().ok()?)
                }
                "u" => {
                    let (name, with) = rest.split_once(':').unwrap_or((rest, ""));
                    Self { with: vec![attributes(with)?], ..Self::of(name, Mode::Unit, 1) }
                }
                _ => return None,
            };
            match all.iter_mut().find(|other| other.resource == ask.resource && other.mode == Mode::Unit) {
                Some(other) => {
                    other.amount += ask.amount;
                    other.with.extend(ask.with);
                }
                None => all.push(ask),
            }
        }
        Some(all)
    }

    fn of(resource: &str, mode: Mode, amount: u64) -> Self {
        Self { resource: resource.to_owned(), mode, amount, with: Vec::new() }
    }

    /// As one text.
    pub(crate) fn write(all: &[Self]) -> String {
        let mut text = String::new();
        for ask in all {
            let name = &ask.resource;
            // Writing to a text cannot fail.
            match ask.mode {
                Mode::Exclusive => write!(text, "x:{name} ").ok(),
                Mode::Shared => write!(text, "s:{name} ").ok(),
                Mode::Counted => write!(text, "c:{name}={} ", ask.amount).ok(),
                Mode::Unit => ask.with.iter().try_for_each(|with| write!(text, "u:{name}:{} ", told(with))).ok(),
            };
        }
        text.trim_end().to_owned()
    }

    /// Whether this and another ask of the same resource are in each other's way: always, unless both are for units
    /// and none would do for both.
    pub(crate) fn meets(&self, other: &Self, devices: &[Device]) -> bool {
        if (self.mode, other.mode) != (Mode::Unit, Mode::Unit) {
            return true;
        }
        let wanted = |ask: &Self, device: &Device| ask.with.iter().any(|with| device.fits(with));
        devices.iter().any(|device| wanted(self, device) && wanted(other, device))
    }

    /// Whether each of the units that it asks for can be another one of these.
    pub(crate) fn is_met_by(&self, free: &[&Device]) -> bool {
        let mut given: Vec<Option<usize>> = vec![None; free.len()];
        (0..self.with.len()).all(|ask| self.place(ask, free, &mut given, &mut vec![false; free.len()]))
    }

    /// Gives the unit of that number one of the free ones; who has it already takes another one, where that can be.
    fn place(&self, ask: usize, free: &[&Device], given: &mut [Option<usize>], tried: &mut [bool]) -> bool {
        for number in 0..free.len() {
            if tried[number] || !free[number].fits(&self.with[ask]) {
                continue;
            }
            tried[number] = true;
            if given[number].is_none_or(|other| self.place(other, free, given, tried)) {
                given[number] = Some(ask);
                return true;
            }
        }
        false
    }
}

fn attributes(text: &str) -> Option<Attributes> {
    let pairs = text.split(',').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()))).collect()
}

fn told(with: &Attributes) -> String {
    with.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(name: &str, model: &str) -> Device {
        Device { name: name.to_owned(), attributes: [("model".to_owned(), model.to_owned())].into() }
    }

    #[test]
    fn asks_are_read_as_they_are_written() {
        let text = "x:db s:log c:lic=3 u:phones:model=a,os=1 u:phones:";
        let asks = Ask::read(text).unwrap();
        assert_eq!((asks.len(), asks[3].amount), (4, 2));
        assert_eq!(Ask::write(&asks), text);
        assert!(Ask::read("q:db").is_none() && Ask::read("c:lic").is_none() && Ask::read("u:p:model").is_none());
    }

    #[test]
    fn units_meet_where_one_would_do_for_both_and_each_ask_takes_another_one() {
        let all = [device("p1", "a"), device("p2", "b"), device("p3", "b")];
        let ask = |text: &str| Ask::read(text).unwrap().remove(0);
        assert!(!ask("u:p:model=a").meets(&ask("u:p:model=b"), &all));
        assert!(ask("u:p:name=p2").meets(&ask("u:p:model=b"), &all));
        assert!(ask("u:p:model=a").meets(&ask("u:p"), &all) && ask("u:p:model=a").meets(&ask("c:p=1"), &all));
        let free: Vec<&Device> = all.iter().collect();
        assert!(ask("u:p u:p:model=a").is_met_by(&free) && ask("u:p:model=b u:p:name=p2").is_met_by(&free));
        assert!(!ask("u:p:model=a u:p:name=p1").is_met_by(&free) && !ask("u:p:model=c").is_met_by(&free));
    }
}
