//! Values as text and as JSON, never larger than asked for.

use minijinja::value::ValueKind;
use minijinja::{Error, ErrorKind, Value};

/// Deepest nesting of a value.
pub(crate) const VALUE_DEPTH_MAX: usize = 64;
/// Largest text or JSON that one expression makes, in bytes. 1 MiB.
pub(crate) const TEXT_BYTES_MAX: usize = 1 << 20;

pub(crate) fn refuse(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}

pub(crate) fn too_large() -> Error {
    refuse(format!("the text grows beyond {TEXT_BYTES_MAX} bytes"))
}

/// Text as itself, everything else as JSON.
pub(crate) fn text_of(value: &Value) -> Result<String, Error> {
    if value.is_undefined() {
        return Err(Error::from(ErrorKind::UndefinedError));
    }
    match value.as_str() {
        Some(text) if text.len() > TEXT_BYTES_MAX => Err(too_large()),
        Some(text) => Ok(text.to_owned()),
        None => json_of(value, None),
    }
}

/// As JSON; with `indent` spaces a level, or on one line.
pub(crate) fn json_of(value: &Value, indent: Option<usize>) -> Result<String, Error> {
    let mut json = Json { out: String::new(), indent: indent.map(|spaces| spaces.min(8)) };
    json.value(value, 0)?;
    Ok(json.out)
}

struct Json {
    out: String,
    indent: Option<usize>,
}

impl Json {
    fn push(&mut self, text: &str) -> Result<(), Error> {
        if self.out.len() + text.len() > TEXT_BYTES_MAX {
            return Err(too_large());
        }
        self.out.push_str(text);
        Ok(())
    }

    fn line(&mut self, depth: usize) -> Result<(), Error> {
        match self.indent {
            None => Ok(()),
            Some(spaces) => self.push(&format!("\n{}", " ".repeat(spaces * depth))),
        }
    }

    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > VALUE_DEPTH_MAX {
            return Err(refuse(format!("the value is nested more than {VALUE_DEPTH_MAX} deep")));
        }
        match value.kind() {
            ValueKind::Undefined => Err(Error::from(ErrorKind::UndefinedError)),
            ValueKind::None => self.push("null"),
            ValueKind::Bool | ValueKind::Number | ValueKind::String => self.scalar(value),
            ValueKind::Map => self.map(value, depth),
            ValueKind::Seq | ValueKind::Iterable => self.list(value, depth),
            _ => Err(refuse("this value has no text")),
        }
    }

    fn scalar(&mut self, value: &Value) -> Result<(), Error> {
        if value.as_str().is_some_and(|text| text.len() > TEXT_BYTES_MAX) {
            return Err(too_large());
        }
        let text = serde_json::to_string(value).map_err(|error| refuse("this value has no JSON").with_source(error))?;
        self.push(&text)
    }

    fn list(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        self.push("[")?;
        let mut empty = true;
        for item in value.try_iter()? {
            if !empty {
                self.push(",")?;
            }
            empty = false;
            self.line(depth + 1)?;
            self.value(&item, depth + 1)?;
        }
        if !empty {
            self.line(depth)?;
        }
        self.push("]")
    }

    fn map(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        self.push("{")?;
        let mut empty = true;
        for key in value.try_iter()? {
            if !empty {
                self.push(",")?;
            }
            empty = false;
            self.line(depth + 1)?;
            self.scalar(&Value::from(text_of(&key)?))?;
            self.push(if self.indent.is_some() { ": " } else { ":" })?;
            self.value(&value.get_item(&key)?, depth + 1)?;
        }
        if !empty {
            self.line(depth)?;
        }
        self.push("}")
    }
}

/// Text that HTML takes for text, in attributes too.
pub(crate) fn html_escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(c),
        }
    }
    out
}
