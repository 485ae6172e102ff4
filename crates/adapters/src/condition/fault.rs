//! What went wrong, in words for people who write rules.

use cel::{ExecutionError, ParseErrors};
use serde_json::Value;
use taskflow_application::ports::{ConditionFault, EvaluationFault, Scope};

use super::program::Program;
use super::{BUDGET, MAX_DEPTH, MAX_ELEMENTS};

/// How the parser says that an expression is nested too deep.
const TOO_DEEP: &str = "expression recursion limit";
/// No message is longer, in characters: the library's may hold whole values.
const LONGEST: usize = 200;

fn short(message: &str) -> String {
    let line: String = message.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= LONGEST { line } else { line.chars().take(LONGEST).chain(['…']).collect() }
}

/// What the parser did not like.
pub(super) fn of_parse(errors: &ParseErrors, source: &str) -> Vec<ConditionFault> {
    // Where the parser gives up because of the depth, it takes the closing brackets
    // that are left for faults of their own.
    if let Some(deep) = errors.errors.iter().find(|error| error.msg.starts_with(TOO_DEEP)) {
        let message = of_reading(&deep.msg).unwrap_or_default();
        return vec![ConditionFault { message, offset: None }];
    }
    let fault = |error: &cel::ParseError| {
        let (line, column) = (usize::try_from(error.pos.0).ok(), usize::try_from(error.pos.1).ok());
        let offset = line.zip(column).filter(|(line, _)| *line > 0).map(|(line, column)| {
            let before: usize = source.split_inclusive('\n').take(line - 1).map(str::len).sum();
            (before + column.saturating_sub(1)).min(source.len())
        });
        Some(ConditionFault { message: short(&of_reading(&error.msg)?), offset })
    };
    let mut faults: Vec<_> = errors.errors.iter().filter_map(fault).take(5).collect();
    if faults.is_empty() {
        faults.push(ConditionFault { message: "is not an expression".to_owned(), offset: None });
    }
    faults
}

/// The parser's message for people; `None` of one that only says that the parser
/// has given up.
fn of_reading(message: &str) -> Option<String> {
    let met = |text: &str| match text {
        "<EOF>" | "'<EOF>'" => "the expression ends too early".to_owned(),
        other => format!("{other} is not expected here"),
    };
    let message = message.trim_start_matches("Syntax error: ");
    if message.starts_with("error recovery") {
        return None;
    }
    if message.starts_with(TOO_DEEP) {
        return Some(format!("is nested deeper than {MAX_DEPTH}"));
    }
    if message.starts_with("expression count") {
        return Some("is too long".to_owned());
    }
    if let Some((input, wanted)) =
        message.strip_prefix("mismatched input ").and_then(|rest| rest.split_once(" expecting "))
    {
        return Some(match wanted {
            "<EOF>" => met(input),
            "expression" => format!("{}: something is missing", met(input)),
            wanted => format!("{}: {wanted} is missing", met(input)),
        });
    }
    let known = [
        ("invalid argument to has() macro", "has takes a field, such as has(event.data.id)"),
        ("argument must be a simple name", "the variable of a loop is a plain name"),
        ("invalid int literal", "a whole number has at most 64 bits"),
        ("invalid uint literal", "a whole number has at most 64 bits"),
        ("invalid double literal", "is not a number"),
        ("unexpected token", "something is missing here"),
        ("unexpected character", "a character here belongs to no expression"),
    ];
    let words = known.iter().find(|(theirs, _)| message.starts_with(theirs)).map(|(_, ours)| *ours);
    let words =
        words.map_or_else(|| message.replace("unsupported syntax", "is not possible:"), str::to_owned);
    Some(words.replace("expected", "there must be").replace("unthere must be", "unexpected"))
}

/// Why an evaluation had no answer.
pub(super) fn of_execution(error: &ExecutionError, program: &Program, scope: &Scope) -> EvaluationFault {
    if let Some(path) = program.missing(error, scope) {
        return EvaluationFault::MissingField { path };
    }
    match error {
        ExecutionError::NoSuchKey(key) => EvaluationFault::MissingField { path: key.to_string() },
        ExecutionError::UndeclaredReference(_) => EvaluationFault::Invalid(words(error)),
        _ => EvaluationFault::Type(words(error)),
    }
}

/// The library's error for people.
pub(super) fn words(error: &ExecutionError) -> String {
    let message = match error {
        ExecutionError::NoSuchKey(key) => format!("there is no field {key}"),
        ExecutionError::UndeclaredReference(name) => format!("there is no variable or function {name}"),
        ExecutionError::NoSuchOverload(error) => {
            let types: Vec<_> = error.argument_types().iter().map(|name| type_name(name)).collect();
            format!("{} cannot be applied to {}", operator(error.function()), types.join(" and "))
        }
        ExecutionError::ValuesNotComparable(..) => "values of different types are compared".to_owned(),
        ExecutionError::UnsupportedBinaryOperator(operator, ..) => {
            format!("the operation {operator} does not go with these types")
        }
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => {
            "division by zero".to_owned()
        }
        ExecutionError::Overflow(operator, ..) => format!("the operation {operator} overflows"),
        ExecutionError::IndexOutOfBounds(_) => "an index is out of bounds".to_owned(),
        ExecutionError::FunctionError { function, message } => format!("{function}: {message}"),
        ExecutionError::UnexpectedType { got, want } => format!("wanted is {want}, and there is {got}"),
        ExecutionError::InvalidArgumentCount { expected, actual } => {
            format!("a function takes {expected} arguments, and there are {actual}")
        }
        ExecutionError::MissingArgumentOrTarget => "an argument is missing".to_owned(),
        ExecutionError::NotSupportedAsMethod { method, .. } => {
            format!("{method} does not go with a value of this type")
        }
        ExecutionError::UnsupportedTargetType { .. } => "a function does not go with this type".to_owned(),
        ExecutionError::UnsupportedKeyType(_) | ExecutionError::UnsupportedIndex(..) => {
            "nothing can be looked up by a value of this type".to_owned()
        }
        ExecutionError::DuplicateKey(_) => "an object has a key twice".to_owned(),
        _ => "the expression has no answer".to_owned(),
    };
    short(&message)
}

/// A type of the language by the name that people know.
fn type_name(name: &str) -> &str {
    match name {
        "google.protobuf.Timestamp" => "timestamp",
        "google.protobuf.Duration" => "duration",
        "null_type" => "null",
        other => other,
    }
}

/// `_>_` as it is written.
pub(super) fn operator(name: &str) -> &str {
    let bare = name.trim_matches(['_', '@']);
    if bare.is_empty() { name } else { bare }
}

pub(super) fn too_costly() -> EvaluationFault {
    EvaluationFault::TooCostly(format!("the expression needs more than {BUDGET} steps"))
}

pub(super) fn too_many_elements(count: usize) -> EvaluationFault {
    EvaluationFault::TooCostly(format!(
        "an array of {count} elements is looked at; {MAX_ELEMENTS} are possible"
    ))
}

pub(super) fn too_large() -> EvaluationFault {
    EvaluationFault::TooCostly("what the expression looks at is too large".to_owned())
}

pub(super) fn no_verdict(value: &Value) -> EvaluationFault {
    let name = match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    EvaluationFault::Type(format!("a condition must be true or false, not {name}"))
}
