//! Prints what is in force and where each value came from, secrets hidden.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::layers::Layers;
use super::setting::{ALL, Setting};

const HIDDEN: &str = "***";

/// What is in force, as a table for people or as one JSON object.
pub(crate) fn show(layers: &Layers, as_json: bool) -> String {
    let rows = ALL.iter().map(|setting| {
        let given = layers.get(setting);
        (*setting, shown(setting, &given.text), given.origin.to_string())
    });
    if as_json {
        let entries = rows.map(|(setting, value, origin)| {
            let name = if setting.env.is_empty() { Value::Null } else { setting.env.into() };
            (
                setting.key.to_owned(),
                json!({"value": value, "from": origin, "env": name, "about": setting.help}),
            )
        });
        return format!("{:#}\n", Value::Object(entries.collect::<Map<_, _>>()));
    }
    let mut text = String::new();
    for (setting, value, origin) in rows {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{:<28} {value:<40} {origin}", setting.key);
    }
    text
}

fn shown(setting: &Setting, text: &str) -> String {
    if setting.secret && !text.is_empty() {
        HIDDEN.to_owned()
    } else if setting.key == "database.url" {
        without_password(text)
    } else {
        text.to_owned()
    }
}

/// A URL without its password, wherever it stands.
pub(super) fn without_password(url: &str) -> String {
    let (rest, query) = url.split_once('?').map_or((url, None), |(rest, query)| (rest, Some(query)));
    let mut shown = match (rest.find("://"), rest.rfind('@')) {
        (Some(scheme), Some(at)) if scheme + 3 <= at => {
            let user = &rest[scheme + 3..at];
            match user.split_once(':') {
                Some((name, _)) => format!("{}{name}:{HIDDEN}{}", &rest[..scheme + 3], &rest[at..]),
                None => rest.to_owned(),
            }
        }
        _ => rest.to_owned(),
    };
    if let Some(query) = query {
        let part = |part: &str| match part.split_once('=') {
            Some((name, _)) if name.to_lowercase().contains("password") => format!("{name}={HIDDEN}"),
            _ => part.to_owned(),
        };
        shown.push('?');
        shown += &query.split('&').map(part).collect::<Vec<_>>().join("&");
    }
    shown
}
