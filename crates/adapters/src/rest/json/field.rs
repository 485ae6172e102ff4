//! Reading fields: every fault is noted, and reading goes on with the next one.

use std::borrow::Cow;

use super::value::{Shape, Value};
use crate::rest::fault::{Faults, Path};

/// An object whose fields are taken one by one. What is left at the end was not
/// asked for, and is a fault each.
pub(crate) struct Object<'a, 'p, 'f> {
    path: &'p Path<'p>,
    faults: &'f mut Faults,
    members: Vec<(Cow<'a, str>, Value<'a>)>,
    known: Vec<&'static str>,
}

impl<'a, 'p, 'f> Object<'a, 'p, 'f> {
    /// Opens `value`, which must be an object.
    pub(crate) fn open(value: Value<'a>, path: &'p Path<'p>, faults: &'f mut Faults) -> Option<Self> {
        match value.shape() {
            Shape::Object(members) => Some(Self { path, faults, members, known: Vec::new() }),
            other => {
                faults.at(path, format!("must be an object, not {}", other.name()));
                None
            }
        }
    }

    /// The field `key` as it was sent, `null` included.
    pub(crate) fn raw(&mut self, key: &'static str) -> Option<Value<'a>> {
        self.known.push(key);
        let index = self.members.iter().position(|(name, _)| name == key)?;
        Some(self.members.remove(index).1)
    }

    /// The field `key`, if it is there and not `null`.
    pub(crate) fn optional<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(Value<'a>, &Path<'_>, &mut Faults) -> Option<T>,
    ) -> Option<T> {
        let value = self.raw(key).filter(|value| !value.is_null())?;
        read(value, &self.path.key(key), self.faults)
    }

    /// The field `key`, which must be there.
    pub(crate) fn required<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(Value<'a>, &Path<'_>, &mut Faults) -> Option<T>,
    ) -> Option<T> {
        if let Some(value) = self.raw(key) {
            return read(value, &self.path.key(key), self.faults);
        }
        self.faults.at(&self.path.key(key), "is required");
        None
    }

    /// Notes a fault of the field `key`.
    pub(crate) fn fault(&mut self, key: &str, detail: impl Into<String>) {
        self.faults.at(&self.path.key(key), detail);
    }

    /// Refuses what is left.
    pub(crate) fn close(self) {
        for (key, _) in &self.members {
            // A doubled key is told by `check`; its second occurrence is known.
            if !self.known.iter().any(|known| known == key) {
                let detail = match self.known.as_slice() {
                    [] => "unknown field; this body has none, and a reason goes into the header \
                           Taskflow-Reason"
                        .to_owned(),
                    known => format!("unknown field; known are {}", known.join(", ")),
                };
                self.faults.at(&self.path.key(key), detail);
            }
        }
    }
}

/// What a field may hold. Each answers the value, or notes a fault.
pub(crate) mod decode {
    use std::collections::BTreeMap;
    use std::fmt::Display;
    use std::ops::RangeInclusive;

    use taskflow_domain::{Json, Timestamp};
    use uuid::Uuid;

    use super::{Cow, Faults, Path, Shape, Value};

    fn wrong<T>(shape: &Shape<'_>, wanted: &str, path: &Path<'_>, faults: &mut Faults) -> Option<T> {
        faults.at(path, format!("must be {wanted}, not {}", shape.name()));
        None
    }

    /// A string.
    pub(crate) fn text<'a>(value: Value<'a>, path: &Path<'_>, faults: &mut Faults) -> Option<Cow<'a, str>> {
        match value.shape() {
            Shape::Text(text) => Some(text),
            other => wrong(&other, "a string", path, faults),
        }
    }

    /// A string of at most `most` characters.
    pub(crate) fn text_of<'a>(
        most: usize,
    ) -> impl FnOnce(Value<'a>, &Path<'_>, &mut Faults) -> Option<String> {
        move |value, path, faults| {
            let text = text(value, path, faults)?;
            if text.chars().count() > most {
                faults.at(path, format!("must have at most {most} characters"));
                return None;
            }
            Some(text.into_owned())
        }
    }

    /// A string that `make` accepts.
    pub(crate) fn made<'a, T, E: Display>(
        make: impl FnOnce(&str) -> Result<T, E>,
    ) -> impl FnOnce(Value<'a>, &Path<'_>, &mut Faults) -> Option<T> {
        move |value, path, faults| {
            let text = text(value, path, faults)?;
            make(&text).map_err(|error| faults.at(path, error.to_string())).ok()
        }
    }

    /// One of some words.
    pub(crate) fn choice<'a, T: Copy>(
        words: &'static [(&'static str, T)],
    ) -> impl FnOnce(Value<'a>, &Path<'_>, &mut Faults) -> Option<T> {
        move |value, path, faults| {
            let text = text(value, path, faults)?;
            let met = words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning);
            if met.is_none() {
                let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
                faults.at(path, format!("must be one of {}", words.join(", ")));
            }
            met
        }
    }

    /// `true` or `false`.
    pub(crate) fn boolean(value: Value<'_>, path: &Path<'_>, faults: &mut Faults) -> Option<bool> {
        match value.shape() {
            Shape::Bool(answer) => Some(answer),
            other => wrong(&other, "true or false", path, faults),
        }
    }

    /// A whole number in a range. `1.0` and `1e3` are whole, as JSON Schema has it.
    pub(crate) fn whole<'a>(
        range: RangeInclusive<u64>,
    ) -> impl FnOnce(Value<'a>, &Path<'_>, &mut Faults) -> Option<u64> {
        whole_in(range.clone(), range)
    }

    /// A whole number whose range is judged later, together with what else is wrong
    /// with it; what is no such number at all is told that range here.
    pub(crate) fn whole_of<'a>(
        range: RangeInclusive<u64>,
    ) -> impl FnOnce(Value<'a>, &Path<'_>, &mut Faults) -> Option<u64> {
        whole_in(0..=u64::MAX, range)
    }

    fn whole_in<'a>(
        taken: RangeInclusive<u64>,
        told: RangeInclusive<u64>,
    ) -> impl FnOnce(Value<'a>, &Path<'_>, &mut Faults) -> Option<u64> {
        move |value, path, faults| {
            let number = match value.shape() {
                Shape::Number(number) => number,
                other => return wrong(&other, "a whole number", path, faults),
            };
            let met = number.parse::<u64>().ok().or_else(|| {
                let float = number.parse::<f64>().ok()?;
                let exact = float.fract() == 0.0 && (0.0..9_007_199_254_740_992.0).contains(&float);
                exact.then_some(float as u64)
            });
            let met = met.filter(|met| taken.contains(met));
            if met.is_none() {
                let (from, to) = (told.start(), told.end());
                faults.at(path, format!("must be a whole number from {from} to {to}"));
            }
            met
        }
    }

    /// A number.
    pub(crate) fn number(value: Value<'_>, path: &Path<'_>, faults: &mut Faults) -> Option<f64> {
        match value.shape() {
            Shape::Number(number) => number.parse().ok(),
            other => wrong(&other, "a number", path, faults),
        }
    }

    /// A point in time.
    pub(crate) fn time(value: Value<'_>, path: &Path<'_>, faults: &mut Faults) -> Option<Timestamp> {
        let text = text(value, path, faults)?;
        let time = Timestamp::parse_rfc3339(&text);
        if time.is_none() {
            faults.at(path, "must be an RFC 3339 time, such as 2026-01-31T09:30:00Z");
        }
        time
    }

    /// A point in time that has not come.
    pub(crate) fn time_after<'a>(
        now: Timestamp,
    ) -> impl FnOnce(Value<'a>, &Path<'_>, &mut Faults) -> Option<Timestamp> {
        move |value, path, faults| {
            let time = time(value, path, faults)?;
            if time <= now {
                faults.at(path, format!("must lie in the future; it is {now}"));
                return None;
            }
            Some(time)
        }
    }

    /// A UUID in its usual form.
    pub(crate) fn uuid(value: Value<'_>, path: &Path<'_>, faults: &mut Faults) -> Option<Uuid> {
        let text = text(value, path, faults)?;
        let uuid = hyphenated(&text);
        if uuid.is_none() {
            faults.at(path, "must be a UUID, such as 01970000-0000-7000-8000-000000000000");
        }
        uuid
    }

    /// Reads a UUID in its usual form, and in no other.
    pub(crate) fn hyphenated(text: &str) -> Option<Uuid> {
        if text.len() == 36 { Uuid::try_parse(text).ok() } else { None }
    }

    /// Any document of at most `most` bytes, kept as it was sent.
    pub(crate) fn document<'a>(
        most: usize,
    ) -> impl FnOnce(Value<'a>, &Path<'_>, &mut Faults) -> Option<Json> {
        move |value, path, faults| {
            if value.raw().len() > most {
                faults.at(path, format!("must have at most {most} bytes"));
                return None;
            }
            Some(Json::from_valid(value.raw()))
        }
    }

    /// An array of so many elements. Elements with faults are left out.
    pub(crate) fn list<'a, T>(
        range: RangeInclusive<usize>,
        mut read: impl FnMut(Value<'a>, &Path<'_>, &mut Faults) -> Option<T>,
    ) -> impl FnOnce(Value<'a>, &Path<'_>, &mut Faults) -> Option<Vec<T>> {
        move |value, path, faults| {
            let elements = match value.shape() {
                Shape::Array(elements) => elements,
                other => return wrong(&other, "an array", path, faults),
            };
            if !range.contains(&elements.len()) {
                let (from, to) = (range.start(), range.end());
                faults.at(path, format!("must have {from} to {to} elements, not {}", elements.len()));
                return None;
            }
            let read = |(index, element)| read(element, &path.index(index), faults);
            Some(elements.into_iter().enumerate().filter_map(read).collect())
        }
    }

    /// A part of a member of an object.
    #[derive(Clone, Copy)]
    pub(crate) enum Part<'a> {
        Key(&'a str),
        Value(&'a str),
    }

    /// An object of strings, each of which `check` accepts by its key and its value.
    /// What is wrong with one hides nothing of the others.
    pub(crate) fn strings<'a>(
        most: usize,
        check: impl Fn(Part<'_>) -> Result<(), String>,
    ) -> impl FnOnce(Value<'a>, &Path<'_>, &mut Faults) -> Option<BTreeMap<String, String>> {
        move |value, path, faults| {
            let members = match value.shape() {
                Shape::Object(members) => members,
                other => return wrong(&other, "an object of strings", path, faults),
            };
            if members.len() > most {
                faults.at(path, format!("must have at most {most} members"));
            }
            let mut strings = BTreeMap::new();
            for (key, value) in members {
                let here = path.key(&key);
                let text = text(value, &here, faults);
                let parts = [Some(Part::Key(&key)), text.as_deref().map(Part::Value)];
                let mut kept = text.as_deref().unwrap_or_default();
                for detail in parts.into_iter().flatten().filter_map(|part| check(part).err()) {
                    faults.at(&here, detail);
                    // The key stands all the same, for those who judge later what there is.
                    kept = "";
                }
                let kept = kept.to_owned();
                strings.insert(key.into_owned(), kept);
            }
            Some(strings)
        }
    }
}

#[cfg(test)]
mod tests {
    use taskflow_domain::Kind;

    use super::*;
    use crate::rest::fault::{Fault, Place};

    fn read(text: &str) -> (Option<u64>, Vec<String>) {
        let mut faults = Faults::default();
        let mut number = None;
        if let Some(mut object) = Object::open(Value::of_checked(text), &Path::ROOT, &mut faults) {
            object.required("kind", decode::made(Kind::new));
            number = object.optional("n", decode::whole(1..=9));
            object.optional("at", decode::time);
            object.optional("names", decode::list(0..=2, decode::text));
            object.close();
        }
        let told = |fault: Fault| match fault.place {
            Place::Body(pointer) => format!("{pointer}: {}", fault.detail),
            other => panic!("{other:?}"),
        };
        (number, faults.into_parts().0.into_iter().map(told).collect())
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let (_, told) = read(r#"{"n":10,"at":"soon","names":["a",1],"Kind":"x"}"#);
        assert_eq!(
            told,
            [
                "#/kind: is required",
                "#/n: must be a whole number from 1 to 9",
                "#/at: must be an RFC 3339 time, such as 2026-01-31T09:30:00Z",
                "#/names/1: must be a string, not a number",
                "#/Kind: unknown field; known are kind, n, at, names",
            ]
        );
        assert_eq!(read("[]").1, ["#: must be an object, not an array"]);
        assert_eq!(read(r#"{"kind":null}"#).1, ["#/kind: must be a string, not null"]);
    }

    #[test]
    fn whole_numbers_are_those_of_json_schema() {
        for (text, number) in
            [("3", Some(3)), ("3.0", Some(3)), ("0.3e1", Some(3)), ("3.5", None), ("-3", None)]
        {
            assert_eq!(read(&format!("{{\"kind\":\"k\",\"n\":{text}}}")).0, number, "{text}");
        }
        assert_eq!(read(r#"{"kind":"k","n":null}"#), (None, vec![]));
    }
}
