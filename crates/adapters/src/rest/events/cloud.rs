//! CloudEvents 1.0: one in headers and body, one as a document, or many.

use std::collections::BTreeSet;

use axum::http::{HeaderMap, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value as Document};
use taskflow_application::automation::NewEvent;
use taskflow_domain::{Json, Timestamp};

use super::super::fault::{Faults, Path, Place};
use super::super::jobs::MAX_DOCUMENT;
use super::super::json::{Shape, Value, check, decode};
use super::super::problem::{Code, Problem};

/// The most events of one request.
const MAX_EVENTS: usize = 1_000;
/// The longest value of an attribute, in bytes.
const MAX_ATTRIBUTE: usize = 1_024;

/// How events are written into a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// One, in headers and body.
    Binary,
    /// One, as a document.
    Structured,
    /// Many, as an array of documents.
    Batch,
}

impl Mode {
    /// The mode that the media type names.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let media = media_type(headers);
        let refuse = |detail: &str| Err(Problem::new(Code::UnsupportedMediaType, detail));
        match media.as_str() {
            "application/cloudevents+json" => Ok(Self::Structured),
            "application/cloudevents-batch+json" => Ok(Self::Batch),
            other if other.starts_with("application/cloudevents") => refuse("events are written in JSON"),
            _ if headers.contains_key("ce-specversion") => Ok(Self::Binary),
            _ => refuse(
                "CloudEvents are sent as application/cloudevents+json, as application/cloudevents-batch+json, \
                 or with the headers ce-specversion, ce-id, ce-source and ce-type",
            ),
        }
    }
}

fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Reads all events of a request. Every fault is told at once.
pub(super) fn read(mode: Mode, headers: &HeaderMap, body: &[u8]) -> Result<Vec<NewEvent>, Problem> {
    let mut faults = Faults::default();
    let events = match mode {
        Mode::Binary => binary(headers, body, &mut faults)?.into_iter().collect(),
        Mode::Structured | Mode::Batch => {
            let text = checked(body, &mut faults)?;
            let value = Value::of_checked(text);
            if mode == Mode::Batch {
                let read = decode::list(0..=MAX_EVENTS, structured);
                read(value, &Path::ROOT, &mut faults).unwrap_or_default()
            } else {
                structured(value, &Path::ROOT, &mut faults).into_iter().collect()
            }
        }
    };
    if faults.is_empty() { Ok(events) } else { Err(Problem::invalid(faults)) }
}

/// What an event says of itself, its data aside.
#[derive(Default)]
struct Attributes {
    list: Map<String, Document>,
    /// Those of which a fault was told already: no other is made of their absence.
    told: BTreeSet<String>,
}

impl Attributes {
    fn take(&mut self, name: &str) -> Option<String> {
        match self.list.remove(name) {
            Some(Document::String(text)) => Some(text),
            _ => None,
        }
    }

    /// The event, or what is wrong with it, by the names of attributes.
    fn event(mut self, data: Json, note: &mut dyn FnMut(&str, String)) -> Option<NewEvent> {
        let told = std::mem::take(&mut self.told);
        let mut note = |name: &str, detail: String| {
            if !told.contains(name) {
                note(name, detail);
            }
        };
        if self.take("specversion").as_deref() != Some("1.0") {
            note("specversion", "must be 1.0".to_owned());
        }
        let mut required = |name: &str| {
            let text = self.take(name).filter(|text| !text.is_empty());
            if text.is_none() {
                note(name, "is required".to_owned());
            }
            text
        };
        let (id, source, kind) = (required("id"), required("source"), required("type"));
        if source.as_deref().is_some_and(|source| source.starts_with("webhook:")) {
            note("source", "sources that begin with webhook: are those of webhook rules".to_owned());
        }
        if source.as_deref().is_some_and(|source| source.starts_with("manual:")) {
            note("source", "sources that begin with manual: are those of starts by hand".to_owned());
        }
        let time = self.take("time").and_then(|text| {
            let time = Timestamp::parse_rfc3339(&text);
            if time.is_none() {
                note("time", "must be an RFC 3339 time".to_owned());
            }
            time
        });
        if kind.as_deref().is_some_and(|kind| kind.starts_with("job.")) {
            note("type", "types that begin with job. are the engine's own".to_owned());
        }
        Some(NewEvent {
            id: id?,
            source: source?,
            kind: kind?,
            subject: self.take("subject"),
            time,
            traceparent: self.list.get("traceparent").and_then(Document::as_str).map(str::to_owned),
            headers: Json::from(&Document::Object(self.list)),
            data,
        })
    }
}

/// Whether an attribute can be called so.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

fn structured(value: Value<'_>, path: &Path<'_>, faults: &mut Faults) -> Option<NewEvent> {
    let Shape::Object(members) = value.shape() else {
        faults.at(path, "must be an object");
        return None;
    };
    let mut attributes = Attributes::default();
    let mut data = None;
    for (name, member) in members {
        let here = path.key(&name);
        if name == "data" || name == "data_base64" {
            if data.is_some() {
                faults.at(&here, "data and data_base64 are one or the other");
            }
            data = decode::document(MAX_DOCUMENT)(member, &here, faults);
            continue;
        }
        let text = match member.shape() {
            Shape::Null => continue,
            Shape::Text(text) => text.into_owned(),
            _ if TEXTS.contains(&&*name) => {
                faults.at(&here, "must be a string");
                attributes.told.insert(name.into_owned());
                continue;
            }
            Shape::Bool(answer) => answer.to_string(),
            Shape::Number(number) => number.to_owned(),
            _ => {
                faults.at(&here, "an attribute is a string, a boolean or a number");
                continue;
            }
        };
        if !is_name(&name) {
            faults.at(&here, "the name of an attribute has lower-case letters and digits");
        } else if text.len() > MAX_ATTRIBUTE {
            faults.at(&here, format!("must have at most {MAX_ATTRIBUTE} bytes"));
            attributes.told.insert(name.into_owned());
        } else {
            attributes.list.insert(name.into_owned(), Document::String(text));
        }
    }
    let data = data.unwrap_or_else(Json::null);
    attributes.event(data, &mut |name, detail| faults.at(&path.key(name), detail))
}

/// Attributes of the standard itself are texts; those of extensions may be more.
const TEXTS: &[&str] =
    &["specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema"];

/// The names of headers that problems speak of.
const NAMED: &[(&str, &str)] = &[
    ("specversion", "ce-specversion"),
    ("id", "ce-id"),
    ("source", "ce-source"),
    ("type", "ce-type"),
    ("time", "ce-time"),
];

fn header_of(name: &str) -> Place {
    let known = NAMED.iter().find(|(attribute, _)| *attribute == name);
    Place::Header(known.map_or("ce-*", |(_, header)| *header).into())
}

fn binary(headers: &HeaderMap, body: &[u8], faults: &mut Faults) -> Result<Option<NewEvent>, Problem> {
    let mut attributes = Attributes::default();
    for (name, value) in headers {
        let Some(name) = name.as_str().strip_prefix("ce-") else { continue };
        let text = value.to_str().ok().map(|text| percent_decode_str(text.trim_matches('"')).decode_utf8());
        match text {
            Some(Ok(text)) if is_name(name) && text.len() <= MAX_ATTRIBUTE && !text.contains('\0') => {
                if attributes.list.insert(name.to_owned(), Document::String(text.into_owned())).is_some() {
                    faults.note(header_of(name), "must occur once");
                }
            }
            _ => {
                let detail = format!(
                    "must be percent-encoded UTF-8 of at most {MAX_ATTRIBUTE} bytes, with a lower-case name"
                );
                faults.note(header_of(name), detail);
                attributes.told.insert(name.to_owned());
            }
        }
    }
    let media = media_type(headers);
    if !media.is_empty() {
        attributes.list.insert("datacontenttype".to_owned(), Document::String(media.clone()));
    }
    let data = body_data(&media, body, faults)?;
    let event = attributes.event(Json::null(), &mut |name, detail| faults.note(header_of(name), detail));
    Ok(event.map(|event| NewEvent { data, ..event }))
}

/// The body as a document: JSON as it is, text as a string, and the rest in Base64.
fn body_data(media: &str, body: &[u8], faults: &mut Faults) -> Result<Json, Problem> {
    if body.is_empty() {
        return Ok(Json::null());
    }
    if body.len() > MAX_DOCUMENT {
        faults.at(&Path::ROOT, format!("must have at most {MAX_DOCUMENT} bytes"));
        return Ok(Json::null());
    }
    let json = media.is_empty() || media == "application/json" || media.ends_with("+json");
    if json {
        let text = checked(body, faults)?;
        return Ok(Json::from_valid(text));
    }
    Ok(match std::str::from_utf8(body) {
        Ok(text) => Json::from(&Document::String(text.replace('\0', ""))),
        Err(_) => Json::from(&Document::String(STANDARD.encode(body))),
    })
}

/// A body that has to be JSON, and is.
fn checked<'a>(body: &'a [u8], faults: &mut Faults) -> Result<&'a str, Problem> {
    let malformed =
        |pointer: String, detail: String| Problem::at(Code::MalformedJson, Place::Body(pointer), detail);
    let text = std::str::from_utf8(body)
        .map_err(|_| malformed("#".to_owned(), "the body is not UTF-8".to_owned()))?;
    check(text, faults).map_err(|fault| malformed(fault.pointer, fault.detail))?;
    Ok(text)
}
