//! Conditions and the expressions of templates: CEL, behind a port.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use taskflow_domain::Timestamp;

/// What an expression must answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wanted {
    /// `true` or `false`: a condition.
    Verdict,
    /// Any value that JSON has: a template.
    Any,
}

/// What an expression is asked about: values by the names of variables, and the
/// time. All of them are known when the rule is saved; a value may be missing
/// only inside of one.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// The variables except `now`. Absent ones are unknown to the expression.
    pub variables: BTreeMap<&'static str, Value>,
    /// The variable `now`, a CEL timestamp; unknown if absent.
    pub now: Option<Timestamp>,
}

impl Scope {
    /// A scope without variables, at `now`.
    pub fn at(now: Timestamp) -> Self {
        Self { variables: BTreeMap::new(), now: Some(now) }
    }

    /// The same with the variable `name`.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: Value) -> Self {
        self.variables.insert(name, value);
        self
    }
}

/// What an author may rely on in a value, whatever happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Nothing: it is somebody else's document, or may be null.
    Any,
    /// A text.
    Text,
    /// A number.
    Number,
    /// An instant.
    Time,
    /// An object with these members and no others.
    Object(&'static [Known]),
}

/// A variable or a member of one, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub shape: Shape,
}

impl Known {
    /// Something of that name and shape.
    pub const fn new(name: &'static str, shape: Shape) -> Self {
        Self { name, shape }
    }

    /// The shape of `name` among `known`.
    pub fn find(known: &[Self], name: &str) -> Option<Shape> {
        known.iter().find(|one| one.name == name).map(|one| one.shape)
    }

    /// All names.
    pub fn names(known: &[Self]) -> String {
        known.iter().map(|one| one.name).collect::<Vec<_>>().join(", ")
    }
}

/// An expression to be checked before it is kept.
#[derive(Clone, Debug)]
pub struct Question {
    /// Its source.
    pub source: Arc<str>,
    /// What it must answer, as far as that can be seen before it is asked.
    pub wanted: Wanted,
    /// The variables that it may name, `now` included.
    pub variables: &'static [Known],
}

/// Why an expression is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ConditionFault {
    /// What is wrong, for people.
    pub message: String,
    /// Where in the source, in bytes, if it is at one place.
    pub offset: Option<usize>,
}

/// Why an expression had no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvaluationFault {
    /// A field that it names is not there. The path is that of the source, such
    /// as `event.data.user.id`, up to the first field that is missing.
    #[error("there is no field {path}")]
    MissingField {
        /// Which.
        path: String,
    },
    /// It compares or computes what does not go together, or it answers what it
    /// must not.
    #[error("{0}")]
    Type(String),
    /// It went beyond what one evaluation may cost, or its input is too large.
    #[error("{0}")]
    TooCostly(String),
    /// It cannot be compiled. It could when it was saved, under another version.
    #[error("{0}")]
    Invalid(String),
    /// The engine failed. It is running still.
    #[error("the expression could not be evaluated")]
    Broken,
}

/// Evaluates expressions. A hostile expression is refused or stopped: neither
/// memory nor time nor the stack of the process is its to spend.
#[async_trait]
pub trait ConditionEngine: Send + Sync {
    /// Checks expressions, each by itself: every fault of each, in order; none if
    /// it can be kept.
    async fn check(&self, questions: Vec<Question>) -> Vec<Vec<ConditionFault>>;

    /// Answers expressions about one scope, in order. Compiled forms are kept, so
    /// that the same source is read once.
    async fn evaluate(
        &self,
        sources: Vec<(Arc<str>, Wanted)>,
        scope: Arc<Scope>,
    ) -> Vec<Result<Value, EvaluationFault>>;
}
