//! Making answers harmless: everything from outside passes here before it goes
//! near a database, a log or a screen.

use serde_json::Value;
pub use taskflow_worker::text::{line, storable};

/// Bytes as text. What is not UTF-8 is replaced, a character that was cut off at
/// the end is dropped, and so is U+0000.
pub fn text(bytes: &[u8]) -> String {
    let whole = match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() => &bytes[..error.valid_up_to()],
        _ => bytes,
    };
    storable(&String::from_utf8_lossy(whole)).into_owned()
}

/// The same document without U+0000 in its strings and keys.
pub fn document(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(storable(&text).into_owned()),
        Value::Array(items) => items.into_iter().map(document).collect(),
        Value::Object(fields) => fields
            .into_iter()
            .map(|(key, value)| (storable(&key).into_owned(), document(value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn bytes_become_text() {
        assert_eq!(text(b"plain"), "plain");
        assert_eq!(text(b"a\0b"), "a\u{FFFD}b");
        assert_eq!(text(b"a\xffb"), "a\u{FFFD}b");
        assert_eq!(text("aä".as_bytes()), "aä");
        assert_eq!(text(&"aä".as_bytes()[..2]), "a", "cut in the middle of a character");
        assert_eq!(text(b"\xff\xc3"), "\u{FFFD}\u{FFFD}");
    }

    #[test]
    fn documents_lose_their_nuls() {
        let value = json!({"a\0": ["b\0", 1, null], "c": {"d": "\0"}});
        assert_eq!(document(value), json!({"a\u{FFFD}": ["b\u{FFFD}", 1, null], "c": {"d": "\u{FFFD}"}}));
    }
}
