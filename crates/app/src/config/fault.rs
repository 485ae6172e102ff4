//! What is wrong with the configuration.

use std::fmt;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The command line, by this flag.
    Flag(&'static str),
    /// The environment, by this variable.
    Env(String),
    /// The file, at this line.
    File {
        /// Which file.
        path: String,
        /// Counted from 1.
        line: usize,
    },
    /// The file as a whole.
    Unread {
        /// Which file.
        path: String,
    },
    /// Nobody gave it.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(f, "flag --{flag}"),
            Self::Env(name) => write!(f, "environment {name}"),
            Self::File { path, line } => write!(f, "{path} line {line}"),
            Self::Unread { path } => f.write_str(path),
            Self::Default => f.write_str("default"),
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// Where it came from.
    pub(super) origin: Origin,
    /// Which setting, if it is about a known one.
    pub(super) key: Option<&'static str>,
    /// What is wrong.
    pub(super) wrong: String,
    /// What would be right.
    pub(super) right: String,
}

/// All that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Faults(pub(super) Vec<Fault>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        let faults = if count == 1 { "1 fault" } else { &format!("{count} faults") };
        write!(f, "The configuration has {faults}:")?;
        for Fault { origin, key, wrong, right } in &self.0 {
            match key {
                Some(key) => write!(f, "\n  {key} ({origin}): {wrong}")?,
                None => write!(f, "\n  {origin}: {wrong}")?,
            }
            write!(f, "\n    right would be: {right}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}
