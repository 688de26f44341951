//! A scalar of the file as a template: parsed, walked for mistakes and for what it reads.

use std::collections::BTreeSet;

use minijinja::machinery::{Span, Token, ast, parse, tokenize};
use minijinja::value::ValueKind;

use super::bounds::{FUNCTIONS, RESERVED, TESTS, filter_names};
use super::program::syntax;
use crate::diagnostic::{Mistakes, Range, nearest};

/// Most words and signs within one pair of braces: bounds how deep a compiled tree can get.
const TOKENS_MAX: usize = 500;
/// Variables that every expression may read.
const VARIABLES: [&str; 5] = ["inputs", "steps", "run", "item", "index"];

/// A scalar with expressions, or without.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    /// As it stands, without YAML's quotes and indentation.
    pub(crate) text: String,
    pub(crate) kind: Kind,
    /// Whether printed values are escaped for HTML.
    pub(crate) html: bool,
    pub(crate) reads: Vec<Read>,
    /// Where it stands in the file.
    pub(crate) range: Range,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// No expression in it.
    Literal,
    /// One expression and nothing else: its value keeps its type.
    Value,
    /// Text with expressions in it.
    Text,
}

/// Something that an expression reads.
#[derive(Debug, Clone)]
pub(crate) struct Read {
    pub(crate) what: What,
    pub(crate) range: Range,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    /// All inputs, or one.
    Input(Option<String>),
    /// A step, and which part of it.
    Step(String, Option<Field>),
    /// The element's item or index.
    Element,
}

/// A step's part, with where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) range: Range,
}

/// A scalar's text in the file: to find the place of each of its bytes.
pub(crate) struct Site<'text> {
    pub(crate) file: &'text str,
    pub(crate) range: Range,
}

impl Site<'_> {
    /// The place in the file of bytes of the scalar's value. Line by line, as blocks are indented and
    /// quoted text may be escaped; where a line is not found, the whole scalar.
    pub(crate) fn find(&self, value: &str, part: &Range) -> Range {
        let whole = self.range.clone();
        let Some(source) = self.file.get(whole.clone()) else { return whole };
        let (mut at, mut cursor) = (0, 0);
        for line in value.split('\n') {
            let Some(found) = source[cursor..].find(line) else { return whole };
            let begins = cursor + found;
            if part.start <= at + line.len() {
                let start = whole.start + begins + (part.start - at);
                let end = whole.start + begins + part.end.clamp(part.start, at + line.len()) - at;
                return start..end;
            }
            at += line.len() + 1;
            cursor = begins + line.len();
        }
        whole
    }
}

impl Template {
    /// Text in which no expression is looked for.
    pub(crate) fn literal(text: &str, range: Range) -> Self {
        Self { text: text.to_owned(), kind: Kind::Literal, html: false, reads: Vec::new(), range }
    }

    /// Reads a scalar. Mistakes in its expressions are recorded.
    pub(crate) fn read(text: &str, site: &Site<'_>, mistakes: &mut Mistakes) -> Self {
        let mut template = Self::literal(text, site.range.clone());
        if !has_expression(text) {
            return template;
        }
        template.kind = Kind::Text;
        if let Some(part) = crowded(text) {
            let message = format!("more than {TOKENS_MAX} words and signs in one expression");
            mistakes.add(site.find(text, &part), message, Some("split it over several steps or fields".to_owned()));
            template.kind = Kind::Literal;
            return template;
        }
        // One expression alone may have a line end after it, as YAML's blocks do.
        let trimmed = text.trim();
        let lead = text.len() - text.trim_start().len();
        let alone = parse(trimmed, "expression", syntax()).is_ok_and(|tree| is_one_expression(&tree));
        if alone {
            template.kind = Kind::Value;
        }
        match parse(template.source(), "expression", syntax()) {
            Err(error) => {
                let part = error.range().unwrap_or_else(|| line_of(text, error.line()));
                let message = format!("the expression cannot be read: {}", error.detail().unwrap_or("syntax error"));
                mistakes.add(site.find(text, &part), message, None);
                template.kind = Kind::Literal;
            }
            Ok(tree) => {
                let shift = if alone { lead } else { 0 };
                let mut walk = Walk { value: text, shift, site, mistakes, reads: Vec::new(), names: BTreeSet::new() };
                walk.assigned(&tree);
                walk.statement(&tree);
                template.reads = walk.reads;
            }
        }
        template
    }

    /// What is parsed: a single expression without the blanks around it.
    pub(crate) fn source(&self) -> &str {
        if self.kind == Kind::Value { self.text.trim() } else { &self.text }
    }

    /// Whether it differs from element to element.
    pub(crate) fn reads_element(&self) -> bool {
        self.reads.iter().any(|read| read.what == What::Element)
    }
}

pub(crate) fn has_expression(text: &str) -> bool {
    ["{{", "{%", "{#"].iter().any(|sign| text.contains(sign))
}

/// The first expression with too many tokens. What cannot be told apart is left to the parser.
fn crowded(text: &str) -> Option<Range> {
    let mut count = 0;
    let mut start = 0;
    for token in tokenize(text, false, syntax()) {
        let Ok((token, span)) = token else { return None };
        match token {
            Token::VariableStart | Token::BlockStart => (count, start) = (0, span.start_offset as usize),
            _ => count += 1,
        }
        if count > TOKENS_MAX {
            return Some(start..span.end_offset as usize);
        }
    }
    None
}

fn is_one_expression(tree: &ast::Stmt<'_>) -> bool {
    matches!(tree, ast::Stmt::Template(parts) if matches!(parts.children.as_slice(), [ast::Stmt::EmitExpr(_)]))
}

fn line_of(text: &str, line: Option<usize>) -> Range {
    let line = line.unwrap_or(1);
    let start: usize = text.split_inclusive('\n').take(line - 1).map(str::len).sum();
    let length = text[start.min(text.len())..].lines().next().map_or(0, str::len);
    start..start + length
}

struct Walk<'a, 'text> {
    value: &'a str,
    shift: usize,
    site: &'a Site<'text>,
    mistakes: &'a mut Mistakes,
    reads: Vec<Read>,
    /// Names that the template itself gives.
    names: BTreeSet<String>,
}

impl Walk<'_, '_> {
    fn range(&self, span: Span) -> Range {
        let part = span.start_offset as usize + self.shift..span.end_offset as usize + self.shift;
        self.site.find(self.value, &part)
    }

    fn mistake(&mut self, span: Span, message: impl Into<String>, help: impl Into<Option<String>>) {
        let range = self.range(span);
        self.mistakes.add(range, message, help.into());
    }

    fn assigned(&mut self, statement: &ast::Stmt<'_>) {
        let mut targets: Vec<&ast::Expr<'_>> = Vec::new();
        let mut bodies: Vec<&[ast::Stmt<'_>]> = Vec::new();
        match statement {
            ast::Stmt::Template(part) => bodies.push(&part.children),
            ast::Stmt::ForLoop(part) => {
                targets.push(&part.target);
                bodies.extend([part.body.as_slice(), &part.else_body]);
            }
            ast::Stmt::IfCond(part) => bodies.extend([part.true_body.as_slice(), &part.false_body]),
            ast::Stmt::WithBlock(part) => {
                targets.extend(part.assignments.iter().map(|(target, _)| target));
                bodies.push(&part.body);
            }
            ast::Stmt::Set(part) => targets.push(&part.target),
            _ => {}
        }
        for target in targets {
            self.target(target);
        }
        for body in bodies.into_iter().flatten() {
            self.assigned(body);
        }
    }

    fn target(&mut self, target: &ast::Expr<'_>) {
        match target {
            ast::Expr::Var(var) if var.id.starts_with(RESERVED) || VARIABLES.contains(&var.id) || var.id == "loop" => {
                self.mistake(var.span(), format!("`{}` is taken", var.id), "choose another name".to_owned());
            }
            ast::Expr::Var(var) => {
                self.names.insert(var.id.to_owned());
            }
            ast::Expr::List(list) => list.items.iter().for_each(|item| self.target(item)),
            ast::Expr::Tuple(tuple) => tuple.items.iter().for_each(|item| self.target(item)),
            other => {
                self.mistake(other.span(), "nothing can be assigned to this", "give it a name of its own".to_owned());
            }
        }
    }

    fn body(&mut self, statements: &[ast::Stmt<'_>]) {
        for one in statements {
            self.statement(one);
        }
    }

    fn statement(&mut self, statement: &ast::Stmt<'_>) {
        match statement {
            ast::Stmt::Template(part) => self.body(&part.children),
            ast::Stmt::EmitExpr(part) => self.expression(&part.expr),
            ast::Stmt::EmitRaw(_) => {}
            ast::Stmt::ForLoop(part) => {
                if part.recursive {
                    self.mistake(part.span(), "a recursive loop", "loops here go over a list once".to_owned());
                }
                self.expression(&part.iter);
                part.filter_expr.iter().for_each(|filter| self.expression(filter));
                self.names.insert("loop".to_owned());
                self.body(&part.body);
                self.body(&part.else_body);
            }
            ast::Stmt::IfCond(part) => {
                self.expression(&part.expr);
                self.body(&part.true_body);
                self.body(&part.false_body);
            }
            ast::Stmt::WithBlock(part) => {
                part.assignments.iter().for_each(|(_, value)| self.expression(value));
                self.body(&part.body);
            }
            ast::Stmt::Set(part) => self.expression(&part.expr),
            ast::Stmt::SetBlock(part) => self.no_such_block(part.span(), "set … endset"),
            ast::Stmt::AutoEscape(part) => self.no_such_block(part.span(), "autoescape"),
            ast::Stmt::FilterBlock(part) => self.no_such_block(part.span(), "filter"),
            ast::Stmt::Do(part) => self.no_such_block(part.span(), "do"),
        }
    }

    fn no_such_block(&mut self, span: Span, name: &str) {
        let help = "use `for`, `if`, `set name = …` and `with`".to_owned();
        self.mistake(span, format!("a block `{name}` cannot be used here"), help);
    }

    fn arguments(&mut self, arguments: &[ast::CallArg<'_>]) {
        for argument in arguments {
            match argument {
                ast::CallArg::Pos(value) | ast::CallArg::Kwarg(_, value) => self.expression(value),
                ast::CallArg::PosSplat(value) | ast::CallArg::KwargSplat(value) => {
                    self.mistake(value.span(), "`*` and `**` before arguments", "write them one by one".to_owned());
                }
            }
        }
    }

    fn expression(&mut self, expression: &ast::Expr<'_>) {
        match expression {
            ast::Expr::Var(var) => self.variable(var.id, var.span()),
            ast::Expr::Const(_) => {}
            ast::Expr::Slice(slice) => {
                self.expression(&slice.expr);
                slice.start.iter().chain(&slice.stop).for_each(|bound| self.expression(bound));
                if let Some(step) = &slice.step {
                    self.mistake(step.span(), "a slice with a step", "write `list[from:to]`".to_owned());
                }
            }
            ast::Expr::UnaryOp(unary) => self.expression(&unary.expr),
            ast::Expr::BinOp(binary) => self.operation(binary),
            ast::Expr::Compare(compare) => {
                let help = "write `a < b and b < c`".to_owned();
                self.mistake(compare.span(), "several comparisons in one chain", help);
            }
            ast::Expr::IfExpr(choice) => {
                [Some(&choice.test_expr), Some(&choice.true_expr), choice.false_expr.as_ref()]
                    .into_iter()
                    .flatten()
                    .for_each(|part| self.expression(part));
            }
            ast::Expr::Filter(filter) => {
                filter.expr.iter().for_each(|value| self.expression(value));
                self.arguments(&filter.args);
                self.known(filter.span(), "filter", filter.name, &filter_names());
            }
            ast::Expr::Test(test) => {
                self.expression(&test.expr);
                self.arguments(&test.args);
                self.known(test.span(), "test", test.name, &TESTS);
            }
            ast::Expr::GetAttr(_) | ast::Expr::GetItem(_) => self.path(expression),
            ast::Expr::Call(call) => self.call(call),
            ast::Expr::List(list) => list.items.iter().for_each(|item| self.expression(item)),
            ast::Expr::Tuple(tuple) => tuple.items.iter().for_each(|item| self.expression(item)),
            ast::Expr::Map(map) => map.keys.iter().chain(&map.values).for_each(|part| self.expression(part)),
        }
    }

    fn known(&mut self, span: Span, what: &str, name: &str, known: &[&str]) {
        if known.contains(&name) {
            return;
        }
        let help = match nearest(name, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there are: {}", known.join(", ")),
        };
        self.mistake(span, format!("there is no {what} `{name}`"), help);
    }

    fn operation(&mut self, binary: &ast::Spanned<ast::BinOp<'_>>) {
        self.expression(&binary.left);
        self.expression(&binary.right);
        // Constants are multiplied while they are compiled, before anything can be measured.
        if matches!(binary.op, ast::BinOpKind::Mul) && (has_text(&binary.left) || has_text(&binary.right)) {
            self.mistake(binary.span(), "only numbers can be multiplied", None);
        }
    }

    fn call(&mut self, call: &ast::Spanned<ast::Call<'_>>) {
        self.arguments(&call.args);
        match &call.expr {
            ast::Expr::Var(var) => self.known(call.span(), "function", var.id, &FUNCTIONS),
            ast::Expr::GetAttr(method) => {
                self.expression(&method.expr);
                let help = match nearest(method.name, filter_names()) {
                    Some(near) => format!("write the filter: `value | {near}`"),
                    None => "use a filter: `value | lower`".to_owned(),
                };
                self.mistake(call.span(), format!("there are no methods such as `{}()`", method.name), help);
            }
            other => self.mistake(other.span(), "this cannot be called", None),
        }
    }

    fn variable(&mut self, name: &str, span: Span) {
        let what = match name {
            "inputs" => What::Input(None),
            "steps" => {
                let help = "name the step: `steps.NAME.result`".to_owned();
                return self.mistake(span, "`steps` alone has no value", help);
            }
            "run" => return,
            "item" | "index" => What::Element,
            _ if self.names.contains(name) => return,
            _ => {
                let known = VARIABLES.iter().copied().chain(self.names.iter().map(String::as_str));
                let help = match nearest(name, known) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("there are: {}", VARIABLES.join(", ")),
                };
                return self.mistake(span, format!("there is no variable `{name}`"), help);
            }
        };
        let range = self.range(span);
        self.reads.push(Read { what, range });
    }

    /// `inputs.a`, `steps.a.b`, and everything else with a dot or brackets.
    fn path(&mut self, expression: &ast::Expr<'_>) {
        let Some((owner, name)) = member(expression) else { return self.parts(expression) };
        let range = self.range(expression.span());
        match owner {
            ast::Expr::Var(var) if var.id == "inputs" => {
                self.reads.push(Read { what: What::Input(Some(name)), range });
            }
            ast::Expr::Var(var) if var.id == "steps" => {
                self.reads.push(Read { what: What::Step(name, None), range });
            }
            _ => match member(owner) {
                Some((ast::Expr::Var(var), step)) if var.id == "steps" => {
                    let step_range = self.range(owner.span());
                    let field = Field { name, range };
                    self.reads.push(Read { what: What::Step(step, Some(field)), range: step_range });
                }
                _ => self.parts(expression),
            },
        }
    }

    fn parts(&mut self, expression: &ast::Expr<'_>) {
        match expression {
            ast::Expr::GetAttr(attr) => self.expression(&attr.expr),
            ast::Expr::GetItem(item) => {
                self.expression(&item.subscript_expr);
                if matches!(&item.expr, ast::Expr::Var(var) if var.id == "steps") {
                    let help = "name the step itself: `steps.NAME` or `steps[\"NAME\"]`".to_owned();
                    return self.mistake(item.span(), "a step's name cannot be computed", help);
                }
                self.expression(&item.expr);
            }
            _ => {}
        }
    }
}

/// `a.b` and `a["b"]`.
fn member<'a, 'text>(expression: &'a ast::Expr<'text>) -> Option<(&'a ast::Expr<'text>, String)> {
    match expression {
        ast::Expr::GetAttr(attr) => Some((&attr.expr, attr.name.to_owned())),
        ast::Expr::GetItem(item) => match &item.subscript_expr {
            ast::Expr::Const(name) => Some((&item.expr, name.value.as_str()?.to_owned())),
            _ => None,
        },
        _ => None,
    }
}

/// Whether a constant that is no number is among what would be computed while compiling.
fn has_text(expression: &ast::Expr<'_>) -> bool {
    match expression {
        ast::Expr::Const(value) => !matches!(value.value.kind(), ValueKind::Number | ValueKind::Bool | ValueKind::None),
        ast::Expr::List(_) | ast::Expr::Tuple(_) | ast::Expr::Map(_) => true,
        ast::Expr::UnaryOp(unary) => has_text(&unary.expr),
        ast::Expr::BinOp(binary) => has_text(&binary.left) || has_text(&binary.right),
        _ => false,
    }
}
