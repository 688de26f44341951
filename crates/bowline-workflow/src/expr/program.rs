//! An expression made ready to run many times, and its runs.

use std::collections::BTreeMap;

use minijinja::machinery::{CodeGenerator, Instruction, Instructions, ast, eval, make_string_output, parse};
use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, ErrorKind, Value};

use super::bounds::{FUEL_MAX, environment};
use super::read::{Kind, Template};

/// Why an expression gave nothing: a sentence without its full stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure(pub(crate) String);

/// Steps used up by one run.
pub(crate) type Fuel = u64;

/// Compiled and rewritten; see the parent's doc.
pub(crate) struct Program<'text> {
    kind: Kind,
    text: &'text str,
    instructions: Instructions<'text>,
    escape: bool,
}

/// The syntax of every template: blocks leave no empty lines, the last line end stays.
pub(crate) fn syntax() -> SyntaxConfig {
    SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .keep_trailing_newline(true)
        .build()
        .unwrap_or_default()
}

impl<'text> Program<'text> {
    pub(crate) fn new(template: &'text Template) -> Result<Self, Failure> {
        let text = template.text.as_str();
        let mut code = CodeGenerator::new("expression", text);
        if template.kind != Kind::Literal {
            let tree = parse(template.source(), "expression", syntax()).map_err(|error| failure(&error))?;
            match (&tree, template.kind) {
                (ast::Stmt::Template(parts), Kind::Value) => {
                    if let [ast::Stmt::EmitExpr(one)] = parts.children.as_slice() {
                        code.compile_expr(&one.expr);
                    }
                }
                _ => code.compile_stmt(&tree),
            }
        }
        let (instructions, _) = code.finish();
        Ok(Self { kind: template.kind, text, instructions: bounded(&instructions), escape: template.html })
    }

    /// Runs it once. What it sees is in `root`.
    pub(crate) fn run(&self, root: &Value) -> Result<(Value, Fuel), Failure> {
        if self.kind == Kind::Literal {
            return Ok((Value::from(self.text), 0));
        }
        let escape = if self.escape { AutoEscape::Html } else { AutoEscape::None };
        let mut text = String::new();
        let mut output = make_string_output(&mut text);
        let blocks = BTreeMap::new();
        let (value, state) = eval(environment(), &self.instructions, root.clone(), &blocks, &mut output, escape)
            .map_err(|error| failure(&error))?;
        let fuel = state.fuel_levels().map_or(0, |(used, _)| used);
        drop(state);
        drop(output);
        match self.kind {
            Kind::Text => Ok((Value::from(text), fuel)),
            Kind::Value | Kind::Literal => match value {
                Some(value) if !value.is_undefined() => Ok((value, fuel)),
                _ => Err(Failure("the value is not defined".to_owned())),
            },
        }
    }
}

fn failure(error: &minijinja::Error) -> Failure {
    let what = match error.kind() {
        ErrorKind::OutOfFuel => format!("it takes more than {FUEL_MAX} steps"),
        ErrorKind::UndefinedError => match error.detail() {
            Some(detail) => format!("a value is not defined: {detail}"),
            None => "a value is not defined".to_owned(),
        },
        kind => error.detail().map_or_else(|| kind.to_string(), str::to_owned),
    };
    let place = error.template_source().zip(error.range()).and_then(|(source, range)| source.get(range));
    Failure(match place {
        Some(part) if !part.is_empty() && part.len() <= 200 => format!("{what} (at `{part}`)"),
        _ => what,
    })
}

/// The same code, with every operator that can grow or walk a value as a counted call, and raw text
/// printed as values are.
fn bounded<'text>(code: &Instructions<'text>) -> Instructions<'text> {
    let mut places = Vec::new();
    let mut next = 0_u32;
    while let Some(instruction) = code.get(u32::try_from(places.len()).unwrap_or(u32::MAX)) {
        places.push(next);
        next += if matches!(instruction, Instruction::EmitRaw(_)) { 2 } else { 1 };
    }
    places.push(next);
    let to = |old: u32| places.get(old as usize).copied().unwrap_or(next);
    let mut made = Instructions::new(code.name(), code.source());
    let mut at = 0_u32;
    while let Some(instruction) = code.get(at) {
        let mut add = |instruction| match code.get_span(at) {
            Some(span) => made.add_with_span(instruction, span),
            None => made.add(instruction),
        };
        let operator = |name| Instruction::CallFunction(name, Some(2));
        match instruction {
            Instruction::EmitRaw(raw) => {
                add(Instruction::LoadConst(Value::from_safe_string((*raw).to_owned())));
                add(Instruction::Emit)
            }
            Instruction::Add => add(operator("__add")),
            Instruction::Mul => add(operator("__mul")),
            Instruction::StringConcat => add(operator("__concat")),
            Instruction::Eq => add(operator("__eq")),
            Instruction::Ne => add(operator("__ne")),
            Instruction::Lt => add(operator("__lt")),
            Instruction::Lte => add(operator("__le")),
            Instruction::Gt => add(operator("__gt")),
            Instruction::Gte => add(operator("__ge")),
            Instruction::In => add(operator("__in")),
            Instruction::Slice => add(Instruction::CallFunction("__slice", Some(4))),
            Instruction::Iterate(target) => add(Instruction::Iterate(to(*target))),
            Instruction::Jump(target) => add(Instruction::Jump(to(*target))),
            Instruction::JumpIfFalse(target) => add(Instruction::JumpIfFalse(to(*target))),
            Instruction::JumpIfFalseOrPop(target) => add(Instruction::JumpIfFalseOrPop(to(*target))),
            Instruction::JumpIfTrueOrPop(target) => add(Instruction::JumpIfTrueOrPop(to(*target))),
            other => add(other.clone()),
        };
        at += 1;
    }
    made
}
