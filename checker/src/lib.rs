//! Judges what a run of TaskFlow left behind: the calls of its clients, the
//! histories of its jobs, the log of its targets and its last tables.
//!
//! It shares no code with the engine. Each rule of [`rules`] looks at the whole
//! [`History`] and says what it found, with an explanation that a person can
//! follow without the program.

pub mod firings;
pub mod history;
pub mod lives;
pub mod read;
pub mod rules;
pub mod table;

use std::fmt;

pub use history::History;
pub use lives::Lives;

/// Something that must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The rule that it breaks: `C1` to `C17`.
    pub rule: &'static str,
    /// What is wrong, and how one sees it.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.what)
    }
}

/// What is wrong with a run by one rule, for a history that holds no more than it needs.
pub fn judge_by(rule: &str, history: &History) -> Vec<Violation> {
    let lives = Lives::of(history);
    rules::ALL.iter().filter(|known| known.name == rule).flat_map(|known| known.judge(&lives)).collect()
}

/// Everything that is wrong with a run.
pub fn judge(history: &History) -> Vec<Violation> {
    let lives = Lives::of(history);
    rules::ALL.iter().flat_map(|rule| rule.judge(&lives)).collect()
}
