//! Reading a mapping's fields one by one, and saying what is wrong with each.

use std::str::FromStr;

use bowline_core::size::parse_size;
use bowline_core::time::{Span, parse_duration};
use serde_json::Value;

use crate::diagnostic::{Mistakes, Range, nearest};
use crate::expr::{Site, Template, has_expression};
use crate::model::Shape;
use crate::yaml::{Data, Key, Node};

/// What reading needs everywhere.
pub(crate) struct Reader<'text> {
    pub(crate) file: &'text str,
    pub(crate) mistakes: Mistakes,
}

/// The fields of one mapping, taken out one by one; what is left is unknown.
pub(crate) struct Fields {
    entries: Vec<Option<(Key, Node)>>,
    asked: Vec<&'static str>,
    pub(crate) range: Range,
}

impl Fields {
    pub(crate) fn take(&mut self, name: &'static str) -> Option<Node> {
        self.take_entry(name).map(|(_, node)| node)
    }

    pub(crate) fn take_entry(&mut self, name: &'static str) -> Option<(Key, Node)> {
        self.asked.push(name);
        self.entries
            .iter_mut()
            .find(|entry| entry.as_ref().is_some_and(|(key, _)| key.text == name))?
            .take()
            .filter(|(_, node)| !node.is_null() || name == "default")
    }

    /// Everything that was not taken is a mistake.
    pub(crate) fn finish(self, what: &str, reader: &mut Reader<'_>) {
        for (key, _) in self.entries.into_iter().flatten() {
            if self.asked.contains(&key.text.as_str()) {
                continue;
            }
            let help = match nearest(&key.text, self.asked.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("{what} has: {}", self.asked.join(", ")),
            };
            reader.mistakes.add(key.range, format!("{what} has no field `{}`", key.text), Some(help));
        }
    }
}

impl Reader<'_> {
    pub(crate) fn wrong(&mut self, range: &Range, message: impl Into<String>, help: impl Into<String>) {
        self.mistakes.add(range.clone(), message, Some(help.into()));
    }

    /// A mapping's fields. `None`, and a mistake, for anything else.
    pub(crate) fn fields(&mut self, node: Node, what: &str, example: &str) -> Option<Fields> {
        let range = node.range.clone();
        Some(Fields {
            entries: self.entries(node, what, example)?.into_iter().map(Some).collect(),
            asked: Vec::new(),
            range,
        })
    }

    /// A mapping whose keys are names.
    pub(crate) fn entries(&mut self, node: Node, what: &str, example: &str) -> Option<Vec<(Key, Node)>> {
        let kind = node.kind();
        if let Data::Map(entries) = node.data {
            return Some(entries);
        }
        self.wrong(&node.range, format!("{what} is {kind}, and must be a mapping"), format!("write `{example}`"));
        None
    }

    /// A plain text without expressions.
    pub(crate) fn text(&mut self, node: &Node, what: &str) -> Option<String> {
        let Some(text) = node.text() else {
            self.wrong(&node.range, format!("{what} is {}, and must be a text", node.kind()), "write a text");
            return None;
        };
        if has_expression(text) {
            let help = "an expression may stand in `argv`, `env`, `with`, `files`, `dir`, `for_each` and `result`";
            self.wrong(&node.range, format!("{what} cannot hold an expression"), help);
            return None;
        }
        Some(text.to_owned())
    }

    /// Whatever reads itself from text.
    pub(crate) fn parsed<T>(&mut self, node: &Node, what: &str) -> Option<T>
    where
        T: FromStr,
        T::Err: std::fmt::Display,
    {
        let text = self.text(node, what)?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.mistakes.add(node.range.clone(), format!("{what}: {error}"), None);
                None
            }
        }
    }

    pub(crate) fn whole<T: TryFrom<i64>>(&mut self, node: &Node, what: &str, bounds: (i64, i64)) -> Option<T> {
        let value = node.scalar_value().and_then(|value| value.as_i64());
        let good =
            value.filter(|value| (bounds.0..=bounds.1).contains(value)).and_then(|value| T::try_from(value).ok());
        if good.is_none() {
            let message = format!("{what} must be a whole number from {} to {}", bounds.0, bounds.1);
            self.mistakes.add(node.range.clone(), message, None);
        }
        good
    }

    pub(crate) fn truth(&mut self, node: &Node, what: &str) -> Option<bool> {
        let value = node.scalar_value().and_then(|value| value.as_bool());
        if value.is_none() {
            self.wrong(&node.range, format!("{what} must be true or false"), "write `true` or `false`");
        }
        value
    }

    pub(crate) fn duration(&mut self, node: &Node, what: &str) -> Option<Span> {
        let text = self.text(node, what)?;
        parse_duration(&text)
            .map_err(|error| self.mistakes.add(node.range.clone(), format!("{what}: {error}"), None))
            .ok()
            .map(Span)
    }

    pub(crate) fn size(&mut self, node: &Node, what: &str) -> Option<u64> {
        let text = self.text(node, what)?;
        parse_size(&text).map_err(|error| self.mistakes.add(node.range.clone(), format!("{what}: {error}"), None)).ok()
    }

    /// One of a few words.
    pub(crate) fn word<T: Copy>(&mut self, node: &Node, what: &str, words: &[(&'static str, T)]) -> Option<T> {
        let text = self.text(node, what)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let help = match nearest(&text, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("write one of: {}", known.join(", ")),
        };
        self.wrong(&node.range, format!("{what} cannot be `{text}`"), help);
        None
    }

    /// A text in which expressions may stand.
    pub(crate) fn template(&mut self, node: &Node, what: &str) -> Option<Template> {
        let Data::Scalar { text, .. } = &node.data else {
            self.wrong(&node.range, format!("{what} is {}, and must be a text", node.kind()), "write a text");
            return None;
        };
        let site = Site { file: self.file, range: node.range.clone() };
        Some(Template::read(text, &site, &mut self.mistakes))
    }

    /// Names with texts in which expressions may stand.
    pub(crate) fn templates(&mut self, node: Node, what: &str, example: &str) -> Vec<(Key, Template)> {
        let entries = self.entries(node, what, example).unwrap_or_default();
        entries
            .into_iter()
            .filter_map(|(key, value)| {
                let template = self.template(&value, &format!("{what} `{}`", key.text))?;
                Some((key, template))
            })
            .collect()
    }

    /// Any value, with expressions in the place of its texts.
    pub(crate) fn shape(&mut self, node: Node) -> Shape {
        let value = node.scalar_value();
        match (node.data, value) {
            (Data::List(items), _) => Shape::List(items.into_iter().map(|item| self.shape(item)).collect()),
            (Data::Map(entries), _) => {
                Shape::Map(entries.into_iter().map(|(key, value)| (key.text, self.shape(value))).collect())
            }
            (Data::Scalar { .. }, Some(Value::String(text))) => {
                let site = Site { file: self.file, range: node.range };
                Shape::Text(Template::read(&text, &site, &mut self.mistakes))
            }
            (Data::Scalar { .. }, value) => Shape::Fixed(value.unwrap_or(Value::Null)),
        }
    }

    /// A value without expressions.
    pub(crate) fn fixed(&mut self, node: Node) -> Value {
        let value = node.scalar_value();
        match node.data {
            Data::List(items) => items.into_iter().map(|item| self.fixed(item)).collect(),
            Data::Map(entries) => entries.into_iter().map(|(key, value)| (key.text, self.fixed(value))).collect(),
            Data::Scalar { .. } => {
                if value.as_ref().and_then(Value::as_str).is_some_and(has_expression) {
                    let help = "give the value itself";
                    self.wrong(&node.range, "an expression cannot stand here", help);
                }
                value.unwrap_or(Value::Null)
            }
        }
    }
}

/// A list, or one value in the place of a list of one.
pub(crate) fn list(node: Node) -> Vec<Node> {
    match node.data {
        Data::List(items) => items,
        _ => vec![node],
    }
}
