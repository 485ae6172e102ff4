//! Gathers what was given, layer by layer, and says where each value came from.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use super::fault::{Fault, Origin};
use super::file;
use super::setting::{ALL, LOG_FORMAT, Setting};

/// The file that is read if it exists.
const FILE: &str = "taskflow.toml";

/// A value as text, and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Given {
    /// As it was written.
    pub(super) text: String,
    /// Where it came from.
    pub(super) origin: Origin,
}

/// The value in force of every setting, unchecked.
#[derive(Clone, Debug)]
pub(crate) struct Layers {
    values: BTreeMap<&'static str, Given>,
    pub(super) faults: Vec<Fault>,
}

impl Layers {
    /// Gathers flags, the process's environment and the file. A file that is
    /// named must exist.
    pub(crate) fn gather(flags: Vec<(&'static str, String)>, named: Option<PathBuf>) -> Self {
        let layers = Self::from_parts(flags, std::env::vars_os(), named);
        layers.logging_to(std::io::stderr().is_terminal())
    }

    /// The same, where the log goes to a terminal or does not: people read the one,
    /// programs the other. What was given counts first.
    pub(super) fn logging_to(mut self, terminal: bool) -> Self {
        if terminal && self.get(&LOG_FORMAT).origin == Origin::Default {
            let text = "text".to_owned();
            self.values.insert(LOG_FORMAT.key, Given { text, origin: Origin::Default });
        }
        self
    }

    /// As [`Self::gather`], over any environment.
    pub(super) fn from_parts(
        flags: Vec<(&'static str, String)>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        named: Option<PathBuf>,
    ) -> Self {
        let environment = environment.into_iter().collect();
        let named = named.or_else(|| variable(&environment, "TASKFLOW_CONFIG").map(PathBuf::from));
        let mut layers = Self { values: BTreeMap::new(), faults: Vec::new() };
        for setting in ALL {
            let text = setting.default.to_owned();
            layers.values.insert(setting.key, Given { text, origin: Origin::Default });
        }
        layers.add_file(named.as_deref());
        layers.add_environment(&environment);
        for (key, text) in flags {
            if let Some(setting) = ALL.iter().find(|setting| setting.key == key) {
                layers.values.insert(key, Given { text, origin: Origin::Flag(setting.flag) });
            }
        }
        layers
    }

    /// What is in force for a setting.
    pub(super) fn get(&self, setting: &Setting) -> Given {
        let default = || Given { text: setting.default.to_owned(), origin: Origin::Default };
        self.values.get(setting.key).cloned().unwrap_or_else(default)
    }

    fn add_file(&mut self, named: Option<&Path>) {
        let path = named.unwrap_or(Path::new(FILE));
        let shown = path.display().to_string();
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && named.is_none() => return,
            Err(error) => {
                self.faults.push(Fault {
                    origin: Origin::Unread { path: shown },
                    key: None,
                    wrong: format!("the file cannot be read: {error}"),
                    right: "a readable TOML file, or no such name".to_owned(),
                });
                return;
            }
        };
        let (values, faults) = file::read(&shown, &text);
        self.values.extend(values);
        self.faults.extend(faults);
    }

    fn add_environment(&mut self, environment: &BTreeMap<OsString, OsString>) {
        for setting in ALL.iter().filter(|setting| !setting.env.is_empty()) {
            let Some(value) = environment.get(std::ffi::OsStr::new(setting.env)) else { continue };
            let origin = Origin::Env(setting.env.to_owned());
            match value.to_str() {
                // An empty variable is how many shells and unit files say "not set".
                Some("") => {}
                Some(text) => {
                    self.values.insert(setting.key, Given { text: text.to_owned(), origin });
                }
                None => self.faults.push(Fault {
                    origin,
                    key: Some(setting.key),
                    wrong: "it is not UTF-8".to_owned(),
                    right: setting.value.to_owned(),
                }),
            }
        }
    }
}

fn variable(environment: &BTreeMap<OsString, OsString>, name: &str) -> Option<OsString> {
    environment.get(std::ffi::OsStr::new(name)).filter(|value| !value.is_empty()).cloned()
}
