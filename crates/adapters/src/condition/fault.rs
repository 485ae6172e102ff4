//! What went wrong, in words for people who write rules.

use cel::{ExecutionError, ParseErrors};
use serde_json::Value;
use taskflow_application::ports::{ConditionFault, EvaluationFault, Scope};

use super::program::Program;
use super::{BUDGET, MAX_ELEMENTS};

/// No message is longer, in characters: the library's may hold whole values.
const LONGEST: usize = 200;

fn short(message: &str) -> String {
    let line: String = message.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= LONGEST { line } else { line.chars().take(LONGEST).chain(['…']).collect() }
}

/// What the parser did not like.
pub(super) fn of_parse(errors: &ParseErrors, source: &str) -> Vec<ConditionFault> {
    let fault = |error: &cel::ParseError| {
        let (line, column) = (usize::try_from(error.pos.0).ok(), usize::try_from(error.pos.1).ok());
        let offset = line.zip(column).filter(|(line, _)| *line > 0).map(|(line, column)| {
            let before: usize = source.split_inclusive('\n').take(line - 1).map(str::len).sum();
            (before + column.saturating_sub(1)).min(source.len())
        });
        ConditionFault { message: short(&error.msg), offset }
    };
    let mut faults: Vec<_> = errors.errors.iter().take(5).map(fault).collect();
    if faults.is_empty() {
        faults.push(ConditionFault { message: "is not an expression".to_owned(), offset: None });
    }
    faults
}

/// Why an evaluation had no answer.
pub(super) fn of_execution(error: &ExecutionError, program: &Program, scope: &Scope) -> EvaluationFault {
    if let Some(path) = program.missing(error, scope) {
        return EvaluationFault::MissingField { path };
    }
    let message = match error {
        ExecutionError::NoSuchKey(key) => return EvaluationFault::MissingField { path: key.to_string() },
        ExecutionError::UndeclaredReference(name) => {
            return EvaluationFault::Invalid(format!("there is no variable or function {}", short(name)));
        }
        ExecutionError::NoSuchOverload(error) => {
            let types = error.argument_types().join(" and ");
            format!("{} cannot be applied to {types}", operator(error.function()))
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
        other => other.to_string(),
    };
    EvaluationFault::Type(short(&message))
}

/// `_>_` as it is written.
fn operator(name: &str) -> &str {
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
