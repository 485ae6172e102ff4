//! Reading where a job executes.

use std::collections::BTreeMap;

use std::ops::RangeInclusive;

use taskflow_application::jobs::{header_value, target_url};
use taskflow_domain::target::{Builtin, HttpTarget, Method, Target};

use crate::executor::validate_header;

use super::super::fault::{Faults, Path};
use super::super::json::decode::Part;
use super::super::json::{Object, Value, decode};

/// A text with expressions has at most this many bytes.
const MAX_TEMPLATE: usize = 16 * 1024;
/// A call has at most this many headers of its own.
const MAX_HEADERS: usize = 50;
/// The name of a header has at most this many bytes.
const MAX_HEADER_NAME: usize = 100;
/// A target lists at most this many statuses.
const MAX_STATUSES: usize = 100;
const STATUSES: RangeInclusive<u64> = 100..=599;
const MS: RangeInclusive<u64> = 0..=86_400_000;

#[derive(Clone, Copy)]
enum Kind {
    Http,
    Builtin,
}

/// What the texts of a target are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Texts {
    /// Taken as they stand.
    Plain,
    /// Those that hold an expression are judged when it is answered.
    Templates,
}

impl Texts {
    fn judged_later(self, text: &str) -> bool {
        self == Self::Templates && text.contains("${")
    }
}

/// Reads a target.
pub(super) fn target(value: Value<'_>, path: &Path<'_>, faults: &mut Faults) -> Option<Target> {
    read(value, path, faults, Texts::Plain)
}

/// Reads a target of which some texts may be templates.
pub(in super::super) fn templated_target(
    value: Value<'_>,
    path: &Path<'_>,
    faults: &mut Faults,
) -> Option<Target> {
    read(value, path, faults, Texts::Templates)
}

fn read(value: Value<'_>, path: &Path<'_>, faults: &mut Faults, texts: Texts) -> Option<Target> {
    let mut object = Object::open(value, path, faults)?;
    let kinds = &[("http", Kind::Http), ("builtin", Kind::Builtin)];
    let target = match object.required("type", decode::choice(kinds))? {
        Kind::Http => http(&mut object, texts).map(Target::Http),
        Kind::Builtin => builtin(&mut object),
    };
    object.close();
    target
}

fn http(object: &mut Object<'_, '_, '_>, texts: Texts) -> Option<HttpTarget> {
    let methods = &[
        ("GET", Method::Get),
        ("POST", Method::Post),
        ("PUT", Method::Put),
        ("PATCH", Method::Patch),
        ("DELETE", Method::Delete),
    ];
    let url = |text: &str| if texts.judged_later(text) { template(text) } else { url(text) };
    let header = |part: Part<'_>| match part {
        Part::Key(name) => header_name(name),
        Part::Value(value) if texts.judged_later(value) => template(value).map(drop),
        Part::Value(value) => header_value(value),
    };
    let url = object.required("url", decode::made(url));
    let method = object.optional("method", decode::choice(methods)).unwrap_or_default();
    let headers = object.optional("headers", decode::strings(MAX_HEADERS, header)).unwrap_or_default();
    let permanent = object.optional("permanent_statuses", decode::list(0..=MAX_STATUSES, status));
    let retryable = object.optional("retryable_statuses", decode::list(0..=MAX_STATUSES, status));
    Some(HttpTarget {
        url: url?,
        method,
        headers,
        sealed_headers: BTreeMap::new(),
        permanent_statuses: permanent.unwrap_or_default(),
        retryable_statuses: retryable.unwrap_or_default(),
    })
}

fn builtin(object: &mut Object<'_, '_, '_>) -> Option<Target> {
    let names = &[
        ("noop", Builtin::Noop),
        ("echo", Builtin::Echo),
        ("sleep", Builtin::Sleep),
        ("fail", Builtin::Fail),
    ];
    let name = object.required("name", decode::choice(names));
    let ms = object.optional("ms", decode::whole(MS));
    Some(Target::Builtin { name: name?, ms })
}

fn status(value: Value<'_>, path: &Path<'_>, faults: &mut Faults) -> Option<u16> {
    decode::whole(STATUSES)(value, path, faults).map(|status| status as u16)
}

fn template(text: &str) -> Result<String, String> {
    if text.len() > MAX_TEMPLATE {
        return Err(format!("must have at most {MAX_TEMPLATE} bytes"));
    }
    Ok(text.to_owned())
}

/// Where a target may be at all, in the form in which it is kept; what a worker
/// may reach is the worker's to say.
fn url(text: &str) -> Result<String, String> {
    target_url(text).map(|_| text.to_owned())
}

fn header_name(name: &str) -> Result<(), String> {
    if name.len() > MAX_HEADER_NAME {
        return Err(format!("the name of a header has at most {MAX_HEADER_NAME} characters"));
    }
    validate_header(name, "").map_err(|fault| fault.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_those_that_can_be_called() {
        for good in ["http://127.0.0.1:9000/send", "https://a.example/x?y=1", "http://[::1]/"] {
            assert!(url(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "/x",
            "ftp://a/",
            "file:///etc/passwd",
            "http://",
            "http://u:p@a/",
            "http://a/#f",
            "http://a b/",
        ] {
            assert!(url(bad).is_err(), "{bad}");
        }
        assert!(url(&format!("http://a/{}", "x".repeat(2039))).is_ok());
        assert!(url(&format!("http://a/{}", "x".repeat(2040))).is_err());
    }

    #[test]
    fn headers_cannot_smuggle() {
        let header = |name, value| header_name(name).and_then(|()| header_value(value));
        assert_eq!(header("X-Source", "taskflow"), Ok(()));
        assert_eq!(header("X-Empty", ""), Ok(()));
        for (name, value) in [
            ("Host", "a"),
            ("taskflow-job-id", "1"),
            ("a b", "c"),
            ("", "c"),
            ("X", "a\r\nY: b"),
            ("X", " a"),
            ("X", "é"),
        ] {
            assert!(header(name, value).is_err(), "{name:?} {value:?}");
        }
    }
}
