//! How much one entry holds.
//!
//! A rule may be hundreds of kilobytes long, and whoever may change it could fill
//! the log, which nothing ever deletes. So what an entry tells of a state ends at a
//! bound. Beyond it, what both states share is left out first; then the longest
//! parts give way to their length and their SHA-256, by which they can be known
//! again where they are kept whole.

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use taskflow_domain::Json;

use super::Seal;
use crate::ports::AuditNote;

/// The most bytes of each of the two states.
pub const MOST: usize = 8 * 1024;
/// What the place of a part that gave way takes, with what surrounds it.
const PLACE: usize = 140;

impl AuditNote {
    /// The note with states that keep to [`MOST`].
    #[must_use]
    pub fn bounded(mut self) -> Self {
        let long = |state: &Option<Json>| state.as_ref().is_some_and(|state| state.as_str().len() > MOST);
        if !long(&self.before) && !long(&self.after) {
            return self;
        }
        let read = |state: &Option<Json>| {
            state
                .as_ref()
                .map(|state| serde_json::from_str(state.as_str()).unwrap_or_else(|_| gone(state.as_str())))
        };
        let (mut before, mut after) = (read(&self.before), read(&self.after));
        if let (Some(before), Some(after)) = (&mut before, &mut after) {
            leave_out(before, after);
        }
        let bound = |state: Option<Value>| state.map(|state| Json::from(&fit(state, MOST)));
        (self.before, self.after) = (bound(before), bound(after));
        self
    }
}

/// Takes out of both objects, at any depth, the members that they share.
fn leave_out(before: &mut Value, after: &mut Value) {
    let (Value::Object(before), Value::Object(after)) = (before, after) else { return };
    before.retain(|name, was| match after.get_mut(name) {
        Some(is) if was == is => {
            after.remove(name);
            false
        }
        Some(is) => {
            leave_out(was, is);
            true
        }
        None => true,
    });
}

/// What stands in the place of a part that gave way.
fn gone(text: &str) -> Value {
    json!({ "left_out": { "bytes": text.len(), "sha256": Seal(Sha256::digest(text).into()).to_string() } })
}

fn length(value: &Value) -> usize {
    value.to_string().len()
}

/// The value in at most `room` bytes, or as little as the place of one part.
fn fit(value: Value, room: usize) -> Value {
    let length = length(&value);
    if length <= room.max(PLACE) {
        return value;
    }
    match value {
        Value::Object(members) if frame(members.keys()) <= room => {
            let frame = frame(members.keys());
            let (names, values): (Vec<_>, Vec<_>) = members.into_iter().unzip();
            let values = share(values, room - frame);
            Value::Object(names.into_iter().zip(values).collect::<Map<_, _>>())
        }
        Value::Array(items) if (PLACE + 1) * items.len() <= room => {
            let frame = (PLACE + 1) * items.len();
            Value::Array(share(items, room - frame))
        }
        long => gone(&long.to_string()),
    }
}

/// What an object takes if all of its members give way.
fn frame<'a>(names: impl Iterator<Item = &'a String>) -> usize {
    // A character takes six bytes at most as an escape.
    names.map(|name| 6 * name.len() + 4 + PLACE).sum()
}

/// Divides `room`, beyond a place for each, among `values`: the short ones stay whole.
fn share(values: Vec<Value>, room: usize) -> Vec<Value> {
    let mut order: Vec<_> = values.iter().map(length).enumerate().collect();
    order.sort_by_key(|(_, length)| *length);
    let mut values: Vec<_> = values.into_iter().map(Some).collect();
    let mut fitted = vec![Value::Null; values.len()];
    let (mut left, mut to_come) = (room, values.len());
    for (at, length) in order {
        let part = left / to_come;
        if let Some(value) = values[at].take() {
            fitted[at] = fit(value, PLACE + part);
        }
        left -= part.min(length.saturating_sub(PLACE));
        to_come -= 1;
    }
    fitted
}

#[cfg(test)]
mod tests {
    use taskflow_domain::{Actor, Timestamp};

    use super::*;

    fn note(before: Option<&Value>, after: Option<&Value>) -> AuditNote {
        AuditNote {
            at: Timestamp::MIN,
            actor: Actor::operator(),
            tenant: None,
            action: "rule.put".into(),
            object: "rule:1".into(),
            reason: None,
            before: before.map(Json::from),
            after: after.map(Json::from),
            request_id: "r".into(),
        }
    }

    fn read(state: Option<&Json>) -> Value {
        serde_json::from_str(state.unwrap().as_str()).unwrap()
    }

    #[test]
    fn what_is_short_is_told_whole() {
        let state = json!({ "a": "b".repeat(MOST - 40), "same": 1 });
        let note = note(Some(&state), Some(&state));
        assert_eq!(note.clone().bounded(), note);
    }

    #[test]
    fn what_changed_is_told_and_what_is_long_can_be_known_again() {
        let long = "x".repeat(MOST * 3);
        let before = json!({ "revision": 1, "document": { "name": "n", "payload": long, "when": "a" } });
        let after = json!({ "revision": 2, "document": { "name": "n", "payload": long, "when": "b" } });
        let told = note(Some(&before), Some(&after)).bounded();
        assert_eq!(read(told.before.as_ref()), json!({ "revision": 1, "document": { "when": "a" } }));
        assert_eq!(read(told.after.as_ref()), json!({ "revision": 2, "document": { "when": "b" } }));
        let told = note(None, Some(&after)).bounded();
        let told = read(told.after.as_ref());
        assert_eq!((&told["revision"], &told["document"]["name"]), (&json!(2), &json!("n")));
        assert_eq!(told["document"]["payload"], gone(&json!(long).to_string()));
    }

    /// Whatever the shape, and whatever stands in names and texts.
    #[test]
    fn nothing_is_longer_than_the_bound() {
        let mut deep = json!("\u{1}".repeat(5_000));
        for depth in 0..60 {
            deep = if depth % 2 == 0 {
                json!([deep, "z".repeat(depth * 9)])
            } else {
                json!({ "d": deep, "e": [1, 2] })
            };
        }
        let name = |n: usize| format!("{}{n}", "\u{1}".repeat(n % 700));
        let shapes = [
            json!("\u{1}".repeat(20_000)),
            json!((0..4_000).collect::<Vec<_>>()),
            json!(vec!["y".repeat(400); 30]),
            Value::Object((0..3_000).map(|n| (format!("k{n}"), json!(n))).collect()),
            Value::Object((0..40).map(|n| (name(n * 31), json!("v".repeat(n * 40)))).collect()),
            json!({ "actions": (0..20).map(|n| json!({ "kind": "k", "payload": "p".repeat(n * 900) })).collect::<Vec<_>>() }),
            deep,
        ];
        for shape in &shapes {
            assert!(length(shape) > MOST);
            let told = note(Some(&json!({})), Some(shape)).bounded();
            let bytes = told.after.as_ref().unwrap().as_str().len();
            assert!(bytes <= MOST, "{bytes} of {}", &shape.to_string()[..40]);
            assert_eq!(told.clone().bounded(), told, "the bound is kept once");
        }
    }
}
