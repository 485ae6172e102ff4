//! The fields that an expression names, such as `event.data.user.id`.

use std::collections::BTreeMap;

use serde_json::Value;
use taskflow_application::ports::Scope;

/// A variable and fields of fields of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Chain {
    /// The variable first.
    pub(super) steps: Vec<String>,
    /// Whether the last field may be missing: it stands in `has(…)`.
    pub(super) tested: bool,
}

impl Chain {
    /// What it leads to.
    pub(super) fn find<'s>(&self, scope: &'s Scope) -> Option<&'s Value> {
        let (variable, fields) = self.steps.split_first()?;
        let value = scope.variables.get(variable.as_str())?;
        fields.iter().try_fold(value, |value, field| value.get(field.as_str()))
    }

    /// The path up to the first field that is not there, if one has to be.
    pub(super) fn missing(&self, scope: &Scope) -> Option<String> {
        let (variable, fields) = self.steps.split_first()?;
        let mut value = scope.variables.get(variable.as_str())?;
        let needed = fields.len() - usize::from(self.tested && !fields.is_empty());
        for (index, field) in fields.iter().take(needed).enumerate() {
            match value.get(field.as_str()) {
                Some(member) => value = member,
                None => return Some(self.steps[..=index + 1].join(".")),
            }
        }
        None
    }
}

/// The parts of a variable that an expression looks at: only these are handed
/// to it, so that a large event costs a small condition nothing.
#[derive(Debug, Default)]
pub(super) struct Parts {
    whole: bool,
    members: BTreeMap<String, Parts>,
}

impl Parts {
    pub(super) fn add(&mut self, fields: &[String]) {
        match fields.split_first() {
            None => self.whole = true,
            Some((field, rest)) => self.members.entry(field.clone()).or_default().add(rest),
        }
    }

    /// The parts of a member; `None` stands for the whole of it.
    pub(super) fn member(&self, field: &str) -> Option<&Self> {
        self.members.get(field)
    }

    pub(super) const fn whole(&self) -> bool {
        self.whole
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.members.keys().map(String::as_str)
    }
}
