//! Reads `taskflow.toml`: which settings it gives, at which line.

use std::collections::BTreeSet;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::{Fault, Origin};
use super::layers::Given;
use super::setting::ALL;

/// The settings that a file gives, and all that is wrong with it.
pub(super) fn read(path: &str, text: &str) -> (Vec<(&'static str, Given)>, Vec<Fault>) {
    let mut reader = Reader { path, text, values: Vec::new(), faults: Vec::new() };
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let at = error.span().map_or(0, |span| span.start);
        reader.fault(at, error.message().trim().to_owned(), "TOML, as key = \"value\"".to_owned());
    }
    for (section, content) in table.get_ref() {
        reader.section(section.get_ref(), section.span().start, content);
    }
    // The table is sorted by key; a reader goes through the file from the top.
    reader.faults.sort_by_key(|fault| match fault.origin {
        Origin::File { line, .. } => line,
        _ => 0,
    });
    (reader.values, reader.faults)
}

struct Reader<'a> {
    path: &'a str,
    text: &'a str,
    values: Vec<(&'static str, Given)>,
    faults: Vec<Fault>,
}

impl Reader<'_> {
    fn section(&mut self, name: &str, at: usize, content: &Spanned<DeValue<'_>>) {
        if !ALL.iter().any(|setting| setting.key.split('.').next() == Some(name)) {
            let known = ALL.iter().filter_map(|setting| setting.key.split('.').next());
            let known: BTreeSet<_> = known.collect();
            let right = format!("one of the sections {}", Vec::from_iter(known).join(", "));
            return self.fault(at, format!("there is no section `{name}`"), right);
        }
        let Some(table) = content.get_ref().as_table() else {
            return self.fault(
                at,
                format!("`{name}` is not a section"),
                format!("[{name}] and its keys below"),
            );
        };
        for (key, value) in table {
            self.value(&format!("{name}.{}", key.get_ref()), key.span().start, value.get_ref());
        }
    }

    fn value(&mut self, key: &str, at: usize, value: &DeValue<'_>) {
        let Some(setting) = ALL.iter().find(|setting| setting.key == key && !setting.env.is_empty()) else {
            let section = key.split('.').next().unwrap_or_default();
            let known = ALL.iter().filter(|setting| !setting.env.is_empty()).map(|setting| setting.key);
            let known: Vec<_> = known.filter(|known| known.split('.').next() == Some(section)).collect();
            return self.fault(
                at,
                format!("there is no setting `{key}`"),
                format!("one of {}", known.join(", ")),
            );
        };
        match text_of(value) {
            Some(text) => {
                let origin = self.origin(at);
                self.values.push((setting.key, Given { text, origin }));
            }
            None => self.fault(
                at,
                format!("`{key}` cannot be of the type {}", value.type_str()),
                setting.value.to_owned(),
            ),
        }
    }

    fn fault(&mut self, at: usize, wrong: String, right: String) {
        let origin = self.origin(at);
        self.faults.push(Fault { origin, key: None, wrong, right });
    }

    fn origin(&self, at: usize) -> Origin {
        let before = self.text.get(..at).unwrap_or_default();
        Origin::File { path: self.path.to_owned(), line: before.matches('\n').count() + 1 }
    }
}

/// A value as the other layers would write it.
fn text_of(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.as_str().replace('_', "")),
        DeValue::Boolean(truth) => Some(truth.to_string()),
        DeValue::Array(items) => {
            let items: Option<Vec<_>> = items.iter().map(|item| item.get_ref().as_str()).collect();
            Some(items?.join(","))
        }
        _ => None,
    }
}
