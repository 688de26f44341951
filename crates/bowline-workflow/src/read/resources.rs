//! What a step, or a run as a whole, asks for of resources: `lock`, `shared`, `license`, `device`.

use std::collections::BTreeMap;

use bowline_core::name::{Key, ResourceName};
use bowline_core::resource::{ATTRIBUTES_MAX, Ask, CAPACITY_MAX};

use crate::diagnostic::Range;
use crate::fields::{Fields, Reader, list};
use crate::yaml::{Data, Node};

/// What is asked for, each with its place.
type Asked = Vec<(Ask, Range)>;

impl Reader<'_> {
    pub(crate) fn resources(&mut self, fields: &mut Fields) -> Vec<Ask> {
        let mut asked = self.locks(fields.take("lock"), "lock", |name| Ask::Exclusive { name });
        asked.extend(self.locks(fields.take("shared"), "shared", |name| Ask::Shared { name }));
        asked.extend(fields.take("license").map(|node| self.licenses(node)).unwrap_or_default());
        asked.extend(fields.take("device").map(|node| self.devices(node)).unwrap_or_default());
        self.once_each(&asked);
        self.bounded(&asked.iter().map(|(_, range)| range.clone()).collect::<Vec<_>>(), "resources");
        asked.into_iter().map(|(ask, _)| ask).collect()
    }

    fn locks(&mut self, node: Option<Node>, what: &str, ask: fn(ResourceName) -> Ask) -> Asked {
        let nodes = node.map(list).unwrap_or_default();
        nodes.iter().filter_map(|node| Some((ask(self.parsed(node, what)?), node.range.clone()))).collect()
    }

    /// `simulator`, `[simulator, compiler]` or `{simulator: 2}`.
    fn licenses(&mut self, node: Node) -> Asked {
        let Data::Map(entries) = node.data else {
            return self.locks(Some(node), "license", |name| Ask::Counted { name, amount: 1 });
        };
        let most = i64::try_from(CAPACITY_MAX).unwrap_or(i64::MAX);
        let mut asked = Vec::new();
        for (key, node) in entries {
            let amount = self.whole(&node, &format!("license `{}`", key.text), (1, most));
            match ResourceName::new(&key.text) {
                Ok(name) => asked.extend(amount.map(|amount| (Ask::Counted { name, amount }, key.range))),
                Err(error) => self.mistakes.add(key.range, error.to_string(), None),
            }
        }
        asked
    }

    /// `phones`, `{of: phones, with: {model: x}}`, or a list of such.
    fn devices(&mut self, node: Node) -> Asked {
        let mut asked = Vec::new();
        for node in list(node) {
            let range = node.range.clone();
            let ask = if matches!(node.data, Data::Map(_)) {
                self.device(node)
            } else {
                self.parsed(&node, "device").map(|name| Ask::Unit { name: Some(name), with: BTreeMap::new() })
            };
            asked.extend(ask.map(|ask| (ask, range)));
        }
        asked
    }

    fn device(&mut self, node: Node) -> Option<Ask> {
        let mut fields = self.fields(node, "the device", "{of: phones, with: {model: x}}")?;
        let of = fields.take("of");
        let with = fields.take("with");
        let range = fields.range.clone();
        fields.finish("a device", self);
        if of.is_none() && with.is_none() {
            self.wrong(&range, "the device is not said", "write `{of: phones}`, or `{with: {model: x}}`");
            return None;
        }
        let name = match &of {
            Some(node) => Some(self.parsed(node, "of")?),
            None => None,
        };
        Some(Ask::Unit { name, with: with.map(|node| self.attributes(node)).unwrap_or_default() })
    }

    fn attributes(&mut self, node: Node) -> BTreeMap<Key, String> {
        let entries = self.entries(node, "`with`", "model: x").unwrap_or_default();
        if let Some((key, _)) = entries.get(ATTRIBUTES_MAX) {
            self.wrong(&key.range, format!("more than {ATTRIBUTES_MAX} attributes"), "take some away");
        }
        let mut attributes = BTreeMap::new();
        for (key, node) in entries {
            let value = self.text(&node, &format!("attribute `{}`", key.text));
            match Key::new(&key.text) {
                Ok(name) => attributes.extend(value.map(|value| (name, value))),
                Err(error) => self.mistakes.add(key.range, error.to_string(), None),
            }
        }
        attributes
    }

    /// A resource is asked for once, except for several units of it.
    fn once_each(&mut self, asked: &Asked) {
        for (at, (ask, range)) in asked.iter().enumerate() {
            let Some(name) = ask.name() else { continue };
            let is_unit = |ask: &Ask| matches!(ask, Ask::Unit { .. });
            let before = asked[..at].iter().map(|(other, _)| other);
            if before.filter(|other| !(is_unit(other) && is_unit(ask))).any(|other| other.name() == Some(name)) {
                let message = format!("`{name}` is asked for a second time");
                self.wrong(range, message, "keep one of them; of a device several may be asked for");
            }
        }
    }
}
