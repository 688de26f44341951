//! The closed list of operators, filters, tests and functions, each of which measures what it is
//! given and what it makes. One meter for each evaluation.

use std::sync::OnceLock;

use minijinja::value::{Kwargs, Rest, ValueKind, ValueOrKwargs};
use minijinja::{AutoEscape, Environment, Error, Output, State, UndefinedBehavior, Value, filters, tests};

use super::render::{TEXT_BYTES_MAX, VALUE_DEPTH_MAX, html_escaped, json_of, refuse, text_of, too_large};

/// Most steps (minijinja's instructions) of one expression.
pub(crate) const FUEL_MAX: u64 = 5_000_000;
/// Most bytes that one expression may handle in all, each value counted as [`VALUE_UNITS`].
const UNITS_MAX: u64 = 256 << 20;
/// What a value costs beside the bytes of its text.
const VALUE_UNITS: u64 = 32;
/// Most numbers that `range` gives.
const RANGE_MAX: i64 = 10_000;

/// Names by which rewritten operators are called; nothing a user writes may begin so.
pub(crate) const RESERVED: &str = "__";

pub(crate) const FUNCTIONS: [&str; 1] = ["range"];

/// What one evaluation has used up.
struct Meter {
    units: u64,
    printed: usize,
}

fn charge(state: &mut State, value: &Value) -> Result<(), Error> {
    let meter = state.get_or_insert_extension(Meter { units: 0, printed: 0 });
    weigh(value, 0, &mut meter.units)
}

fn weigh(value: &Value, depth: usize, units: &mut u64) -> Result<(), Error> {
    *units += VALUE_UNITS + value.as_str().map_or(0, |text| text.len() as u64);
    if *units > UNITS_MAX {
        return Err(refuse(format!("it handles more than {UNITS_MAX} bytes and values in all")));
    }
    if depth > VALUE_DEPTH_MAX {
        return Err(refuse(format!("the value is nested more than {VALUE_DEPTH_MAX} deep")));
    }
    match value.kind() {
        ValueKind::Seq | ValueKind::Iterable => value.try_iter()?.try_for_each(|item| weigh(&item, depth + 1, units)),
        ValueKind::Map => value.try_iter()?.try_for_each(|key| {
            weigh(&key, depth + 1, units)?;
            weigh(&value.get_item(&key)?, depth + 1, units)
        }),
        _ => Ok(()),
    }
}

/// The one environment: nothing in it ever changes.
pub(crate) fn environment() -> &'static Environment<'static> {
    static ENVIRONMENT: OnceLock<Environment<'static>> = OnceLock::new();
    ENVIRONMENT.get_or_init(|| {
        let mut env = Environment::empty();
        env.set_undefined_behavior(UndefinedBehavior::Strict);
        env.set_fuel(Some(FUEL_MAX));
        env.set_recursion_limit(64);
        env.set_debug(true);
        env.set_formatter(print);
        add_operators(&mut env);
        add_filters(&mut env);
        add_tests(&mut env);
        env
    })
}

/// Prints a value: text as itself, everything else as JSON, escaped where the text is HTML.
fn print(out: &mut Output, state: &mut State, value: &Value) -> Result<(), Error> {
    let text = text_of(value)?;
    let text = match state.auto_escape() {
        AutoEscape::Html if !value.is_safe() => html_escaped(&text),
        _ => text,
    };
    let meter = state.get_or_insert_extension(Meter { units: 0, printed: 0 });
    meter.printed += text.len();
    if meter.printed > TEXT_BYTES_MAX {
        return Err(too_large());
    }
    out.write_str(&text).map_err(Error::from)
}

fn operator(env: &mut Environment<'static>, name: &'static str, make: fn(&Value, &Value) -> Result<Value, Error>) {
    env.add_function(name, move |state: &mut State, a: Value, b: Value| {
        charge(state, &a)?;
        charge(state, &b)?;
        let made = make(&a, &b)?;
        charge(state, &made)?;
        Ok::<_, Error>(made)
    });
}

fn add_operators(env: &mut Environment<'static>) {
    operator(env, "__add", add);
    operator(env, "__mul", mul);
    operator(env, "__concat", |a, b| joined(&[text_of(a)?, text_of(b)?], ""));
    operator(env, "__eq", |a, b| both(a, b).map(|()| Value::from(a == b)));
    operator(env, "__ne", |a, b| both(a, b).map(|()| Value::from(a != b)));
    operator(env, "__lt", |a, b| both(a, b).map(|()| Value::from(a < b)));
    operator(env, "__le", |a, b| both(a, b).map(|()| Value::from(a <= b)));
    operator(env, "__gt", |a, b| both(a, b).map(|()| Value::from(a > b)));
    operator(env, "__ge", |a, b| both(a, b).map(|()| Value::from(a >= b)));
    operator(env, "__in", contains);
    env.add_function("__slice", |state: &mut State, value: Value, start: Value, stop: Value, _step: Value| {
        charge(state, &value)?;
        slice(&value, &start, &stop)
    });
    env.add_function("range", range);
}

fn both(a: &Value, b: &Value) -> Result<(), Error> {
    if a.is_undefined() || b.is_undefined() {
        return Err(Error::from(minijinja::ErrorKind::UndefinedError));
    }
    Ok(())
}

fn whole(value: &Value) -> Option<i64> {
    value.is_integer().then(|| value.as_i64()).flatten()
}

fn number(value: &Value) -> Option<f64> {
    if value.is_number() { f64::try_from(value.clone()).ok() } else { None }
}

fn add(a: &Value, b: &Value) -> Result<Value, Error> {
    if let (Some(a), Some(b)) = (whole(a), whole(b)) {
        return a.checked_add(b).map(Value::from).ok_or_else(|| refuse("the sum is too large"));
    }
    if let (Some(a), Some(b)) = (number(a), number(b)) {
        return Ok(Value::from(a + b));
    }
    if let (Some(a), Some(b)) = (a.as_str(), b.as_str()) {
        return joined(&[a, b], "");
    }
    let is_list = |value: &Value| matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable);
    if is_list(a) && is_list(b) {
        return Ok(a.try_iter()?.chain(b.try_iter()?).collect::<Vec<_>>().into());
    }
    Err(refuse(format!("cannot add {} and {}; to join texts write `a ~ b`", a.kind(), b.kind())))
}

fn mul(a: &Value, b: &Value) -> Result<Value, Error> {
    if let (Some(a), Some(b)) = (whole(a), whole(b)) {
        return a.checked_mul(b).map(Value::from).ok_or_else(|| refuse("the product is too large"));
    }
    match (number(a), number(b)) {
        (Some(a), Some(b)) => Ok(Value::from(a * b)),
        _ => Err(refuse(format!("cannot multiply {} and {}: only numbers", a.kind(), b.kind()))),
    }
}

fn joined(parts: &[impl AsRef<str>], separator: &str) -> Result<Value, Error> {
    let length: usize = parts.iter().map(|part| part.as_ref().len() + separator.len()).sum();
    if length > TEXT_BYTES_MAX + separator.len() {
        return Err(too_large());
    }
    let parts: Vec<&str> = parts.iter().map(AsRef::as_ref).collect();
    Ok(Value::from(parts.join(separator)))
}

fn contains(item: &Value, container: &Value) -> Result<Value, Error> {
    both(item, container)?;
    if let (Some(item), Some(text)) = (item.as_str(), container.as_str()) {
        return Ok(Value::from(text.contains(item)));
    }
    Ok(Value::from(container.try_iter()?.any(|one| one == *item)))
}

fn slice(value: &Value, start: &Value, stop: &Value) -> Result<Value, Error> {
    let items: Vec<Value> = match value.as_str() {
        Some(text) => text.chars().map(Value::from).collect(),
        None => value.try_iter()?.collect(),
    };
    let at = |bound: &Value, default: usize| -> Result<usize, Error> {
        if bound.is_none() {
            return Ok(default);
        }
        let place = whole(bound).ok_or_else(|| refuse("a slice goes from one whole number to another"))?;
        let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
        let place = if place < 0 { place.saturating_add(length) } else { place };
        Ok(usize::try_from(place.clamp(0, length)).unwrap_or(0))
    };
    let (start, stop) = (at(start, 0)?, at(stop, items.len())?);
    let part = items.get(start..stop.max(start)).unwrap_or_default();
    if value.as_str().is_some() {
        return Ok(Value::from(part.iter().filter_map(Value::as_str).collect::<String>()));
    }
    Ok(part.to_vec().into())
}

fn range(first: i64, last: Option<i64>, step: Option<i64>) -> Result<Value, Error> {
    let (first, last) = last.map_or((0, first), |last| (first, last));
    let step = step.unwrap_or(1);
    if step == 0 {
        return Err(refuse("the step of `range` is 0"));
    }
    let mut numbers = Vec::new();
    let mut at = first;
    while (step > 0 && at < last) || (step < 0 && at > last) {
        if i64::try_from(numbers.len()).unwrap_or(i64::MAX) >= RANGE_MAX {
            return Err(refuse(format!("`range` gives more than {RANGE_MAX} numbers")));
        }
        numbers.push(Value::from(at));
        at = at.saturating_add(step);
    }
    Ok(numbers.into())
}

fn add_filters(env: &mut Environment<'static>) {
    for (name, filter) in builtin_filters() {
        env.add_filter(name, move |state: &mut State, args: Rest<ValueOrKwargs>| {
            let args = args.into_values();
            args.iter().try_for_each(|arg| charge(state, arg))?;
            let made = filter.call(state, &args)?;
            charge(state, &made)?;
            Ok::<_, Error>(made)
        });
    }
    env.add_filter("string", |value: Value| text_of(&value));
    env.add_filter("tojson", tojson);
    env.add_filter("join", join);
    env.add_filter("replace", replace);
    env.add_filter("size", |bytes: u64| bowline_core::size::format_size(bytes));
}

fn builtin_filters() -> Vec<(&'static str, Value)> {
    vec![
        ("upper", Value::from_function(filters::upper)),
        ("lower", Value::from_function(filters::lower)),
        ("title", Value::from_function(filters::title)),
        ("capitalize", Value::from_function(filters::capitalize)),
        ("length", Value::from_function(filters::length)),
        ("count", Value::from_function(filters::length)),
        ("dictsort", Value::from_function(filters::dictsort)),
        ("items", Value::from_function(filters::items)),
        ("reverse", Value::from_function(filters::reverse)),
        ("trim", Value::from_function(filters::trim)),
        ("split", Value::from_function(filters::split)),
        ("lines", Value::from_function(filters::lines)),
        ("default", Value::from_function(filters::default)),
        ("d", Value::from_function(filters::default)),
        ("abs", Value::from_function(filters::abs)),
        ("int", Value::from_function(filters::int)),
        ("float", Value::from_function(filters::float)),
        ("sum", Value::from_function(filters::sum)),
        ("round", Value::from_function(filters::round)),
        ("first", Value::from_function(filters::first)),
        ("last", Value::from_function(filters::last)),
        ("min", Value::from_function(filters::min)),
        ("max", Value::from_function(filters::max)),
        ("sort", Value::from_function(filters::sort)),
        ("list", Value::from_function(filters::list)),
        ("bool", Value::from_function(filters::bool)),
        ("map", Value::from_function(filters::map)),
        ("select", Value::from_function(filters::select)),
        ("reject", Value::from_function(filters::reject)),
        ("selectattr", Value::from_function(filters::selectattr)),
        ("rejectattr", Value::from_function(filters::rejectattr)),
        ("groupby", Value::from_function(filters::groupby)),
        ("unique", Value::from_function(filters::unique)),
        ("safe", Value::from_function(filters::safe)),
    ]
}

/// Names of all filters, for suggestions.
pub(crate) fn filter_names() -> Vec<&'static str> {
    let own = ["string", "tojson", "join", "replace", "size"];
    builtin_filters().into_iter().map(|(name, _)| name).chain(own).collect()
}

#[expect(clippy::needless_pass_by_value, reason = "minijinja hands over owned arguments")]
fn tojson(state: &mut State, value: Value, indent: Option<usize>, kwargs: Kwargs) -> Result<Value, Error> {
    let indent = indent.or(kwargs.get("indent")?);
    kwargs.assert_all_used()?;
    let json = json_of(&value, indent)?;
    Ok(match state.auto_escape() {
        // Within HTML it may stand in a script, where no entity is read.
        AutoEscape::Html => Value::from_safe_string(
            json.replace('&', "\\u0026").replace('<', "\\u003c").replace('>', "\\u003e").replace('\'', "\\u0027"),
        ),
        _ => Value::from(json),
    })
}

#[expect(clippy::needless_pass_by_value, reason = "minijinja hands over owned arguments")]
fn join(state: &mut State, value: Value, separator: Option<String>) -> Result<Value, Error> {
    charge(state, &value)?;
    let parts = value.try_iter()?.map(|item| text_of(&item)).collect::<Result<Vec<_>, _>>()?;
    let made = joined(&parts, separator.as_deref().unwrap_or(""))?;
    charge(state, &made)?;
    Ok(made)
}

#[expect(clippy::needless_pass_by_value, reason = "minijinja hands over owned arguments")]
fn replace(state: &mut State, text: String, from: String, to: String) -> Result<Value, Error> {
    if from.is_empty() {
        return Err(refuse("`replace` needs a text to look for"));
    }
    let parts: Vec<&str> = text.split(from.as_str()).collect();
    let made = joined(&parts, &to)?;
    charge(state, &made)?;
    Ok(made)
}

fn compared(env: &mut Environment<'static>, name: &'static str, test: fn(&Value, &Value) -> bool) {
    env.add_test(name, move |state: &mut State, a: Value, b: Value| {
        charge(state, &a)?;
        charge(state, &b)?;
        Ok::<_, Error>(test(&a, &b))
    });
}

fn add_tests(env: &mut Environment<'static>) {
    env.add_test("defined", tests::is_defined);
    env.add_test("undefined", tests::is_undefined);
    env.add_test("none", tests::is_none);
    env.add_test("boolean", tests::is_boolean);
    env.add_test("number", tests::is_number);
    env.add_test("integer", tests::is_integer);
    env.add_test("float", tests::is_float);
    env.add_test("string", tests::is_string);
    env.add_test("sequence", tests::is_sequence);
    env.add_test("mapping", tests::is_mapping);
    env.add_test("odd", tests::is_odd);
    env.add_test("even", tests::is_even);
    env.add_test("true", tests::is_true);
    env.add_test("false", tests::is_false);
    env.add_test("startingwith", tests::is_startingwith);
    env.add_test("endingwith", tests::is_endingwith);
    compared(env, "eq", |a, b| a == b);
    compared(env, "ne", |a, b| a != b);
    compared(env, "lt", |a, b| a < b);
    compared(env, "le", |a, b| a <= b);
    compared(env, "gt", |a, b| a > b);
    compared(env, "ge", |a, b| a >= b);
    env.add_test("in", |state: &mut State, a: Value, b: Value| {
        charge(state, &a)?;
        charge(state, &b)?;
        contains(&a, &b).map(|found| found.is_true())
    });
}

/// Names of all tests, for suggestions.
pub(crate) const TESTS: [&str; 23] = [
    "defined",
    "undefined",
    "none",
    "boolean",
    "number",
    "integer",
    "float",
    "string",
    "sequence",
    "mapping",
    "odd",
    "even",
    "true",
    "false",
    "startingwith",
    "endingwith",
    "eq",
    "ne",
    "lt",
    "le",
    "gt",
    "ge",
    "in",
];
