//! YAML as a tree in which every node knows its place. Reads with the parser beneath serde-saphyr,
//! because a workflow file is checked as a whole: a typed reader would stop at the first mistake.

use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, ScanError, Span};

use crate::diagnostic::{Mistakes, Range};

/// Most nodes of one file.
const NODES_MAX: usize = 100_000;
/// Deepest nesting.
const DEPTH_MAX: usize = 32;

/// One node.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) range: Range,
    pub(crate) data: Data,
}

#[derive(Debug, Clone)]
pub(crate) enum Data {
    Scalar { text: String, style: Scalar },
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// A mapping's key: always text.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    pub(crate) text: String,
    pub(crate) range: Range,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scalar {
    /// May mean a number, a truth value or nothing.
    Plain,
    /// Text.
    Quoted,
}

impl Node {
    /// What it is, for people.
    pub(crate) fn kind(&self) -> &'static str {
        match &self.data {
            Data::List(_) => "a list",
            Data::Map(_) => "a mapping",
            Data::Scalar { .. } if self.is_null() => "nothing",
            Data::Scalar { .. } => "a text",
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.data, Data::Scalar { text, style: Scalar::Plain } if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// The text of a scalar that is not null.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.data {
            Data::Scalar { text, .. } if !self.is_null() => Some(text),
            _ => None,
        }
    }

    /// All of it as JSON.
    pub(crate) fn value(&self) -> serde_json::Value {
        match &self.data {
            Data::Scalar { .. } => self.scalar_value().unwrap_or_default(),
            Data::List(items) => items.iter().map(Self::value).collect(),
            Data::Map(entries) => entries.iter().map(|(key, node)| (key.text.clone(), node.value())).collect(),
        }
    }

    /// A plain scalar as JSON by the rules of YAML 1.2; any other as text.
    pub(crate) fn scalar_value(&self) -> Option<serde_json::Value> {
        let Data::Scalar { text, style } = &self.data else { return None };
        if *style == Scalar::Quoted {
            return Some(text.as_str().into());
        }
        Some(match text.as_str() {
            "" | "~" | "null" | "Null" | "NULL" => serde_json::Value::Null,
            "true" | "True" | "TRUE" => true.into(),
            "false" | "False" | "FALSE" => false.into(),
            plain => number(plain).unwrap_or_else(|| plain.into()),
        })
    }
}

fn number(text: &str) -> Option<serde_json::Value> {
    if !text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) {
        return None;
    }
    let text = text.strip_prefix('+').unwrap_or(text);
    if let Ok(whole) = text.parse::<i64>() {
        return Some(whole.into());
    }
    let looks_like_one = text.chars().all(|c| c.is_ascii_digit() || "+-.eE".contains(c));
    let float = text.parse::<f64>().ok().filter(|float| looks_like_one && float.is_finite())?;
    serde_json::Number::from_f64(float).map(serde_json::Value::Number)
}

/// Reads one document. `None` where nothing can be made of it; the mistakes say why.
pub(crate) fn parse(text: &str, mistakes: &mut Mistakes) -> Option<Node> {
    let mut options = serde_saphyr::granit_parser::Options::default();
    options.set_emit_comments(false);
    options.emit_unresolved_aliases = true;
    let mut reader = Reader { events: Parser::new_from_str_with_options(text, options), text, nodes: 0, mistakes };
    match reader.document() {
        Ok(node) => node,
        Err(Stop::Scan(error)) => {
            let at = error.marker().byte_offset().unwrap_or(text.len()).min(text.len());
            let message = format!("this is not YAML: {}", error.info().trim_end_matches('.'));
            mistakes.add(at..at, message, None);
            None
        }
        Err(Stop::Told) => None,
    }
}

enum Stop {
    Scan(ScanError),
    /// The mistake has been recorded.
    Told,
}

impl From<ScanError> for Stop {
    fn from(error: ScanError) -> Self {
        Self::Scan(error)
    }
}

struct Reader<'text, 'mistakes> {
    events: Parser<'text, serde_saphyr::granit_parser::StrInput<'text>>,
    text: &'text str,
    nodes: usize,
    mistakes: &'mistakes mut Mistakes,
}

impl<'text> Reader<'text, '_> {
    fn next(&mut self) -> Result<(Event<'text>, Span), Stop> {
        match self.events.next_event() {
            Some(event) => Ok(event?),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn document(&mut self) -> Result<Option<Node>, Stop> {
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => break,
                Event::DocumentStart(..) if root.is_some() => {
                    let range = self.range(&span);
                    self.mistakes.add(range, "a second document begins here", Some("write one workflow a file".into()));
                    break;
                }
                Event::StreamStart | Event::DocumentEnd | Event::DocumentStart(..) => {}
                other => root = Some(self.node(other, &span, 0)?),
            }
        }
        if root.is_none() {
            let help = "begin with `name:` and `steps:`".to_owned();
            self.mistakes.add(0..0, "the file is empty", Some(help));
        }
        Ok(root)
    }

    fn range(&self, span: &Span) -> Range {
        let range = span.byte_range().unwrap_or(0..0);
        let end = range.end.min(self.text.len());
        range.start.min(end)..end
    }

    fn stop<T>(&mut self, range: Range, message: &str, help: &str) -> Result<T, Stop> {
        self.mistakes.add(range, message, Some(help.to_owned()));
        Err(Stop::Told)
    }

    fn node(&mut self, event: Event<'text>, span: &Span, depth: usize) -> Result<Node, Stop> {
        let start = self.range(span);
        self.nodes += 1;
        if depth > DEPTH_MAX {
            return self.stop(start, &format!("nested more than {DEPTH_MAX} deep"), "make it flatter");
        }
        if self.nodes > NODES_MAX {
            return self.stop(start, &format!("more than {NODES_MAX} values in one file"), "split the workflow");
        }
        if event.tag().is_some() {
            self.mistakes.add(start.clone(), "a YAML tag", Some("tags mean nothing here: take it away".into()));
        }
        match event {
            Event::Scalar(text, style, ..) => {
                let style = if style == ScalarStyle::Plain { Scalar::Plain } else { Scalar::Quoted };
                Ok(Node { range: start, data: Data::Scalar { text: text.into_owned(), style } })
            }
            Event::SequenceStart(..) => self.list(start, depth),
            Event::MappingStart(..) => self.map(start, depth),
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                self.mistakes.add(
                    start.clone(),
                    "a YAML alias",
                    Some("write the value out: aliases are not read".into()),
                );
                Ok(Node { range: start, data: Data::Scalar { text: String::new(), style: Scalar::Plain } })
            }
            _ => self.stop(start, "this cannot stand here", "write a value"),
        }
    }

    fn list(&mut self, start: Range, depth: usize) -> Result<Node, Stop> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::SequenceEnd) {
                let end = self.range(&span).end.max(start.end);
                return Ok(Node { range: start.start..end, data: Data::List(items) });
            }
            items.push(self.node(event, &span, depth + 1)?);
        }
    }

    fn map(&mut self, start: Range, depth: usize) -> Result<Node, Stop> {
        let mut entries: Vec<(Key, Node)> = Vec::new();
        let mut seen = std::collections::BTreeSet::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::MappingEnd) {
                let end = self.range(&span).end.max(start.end);
                return Ok(Node { range: start.start..end, data: Data::Map(entries) });
            }
            let key = self.node(event, &span, depth + 1)?;
            let (event, span) = self.next()?;
            let value = self.node(event, &span, depth + 1)?;
            let Data::Scalar { text, .. } = key.data else {
                self.mistakes.add(key.range, "this key is no text", Some("write a name before the colon".into()));
                continue;
            };
            if seen.insert(text.clone()) {
                entries.push((Key { text, range: key.range }, value));
            } else {
                let message = format!("`{text}` stands here a second time");
                self.mistakes.add(key.range, message, Some("keep one of them".into()));
            }
        }
    }
}
