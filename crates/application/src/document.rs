//! What a document must be to be kept, wherever it comes from.

use serde_json::Value;

/// Arrays and objects are nested at most so deep.
pub const MAX_NESTING: usize = 64;

/// Whether a text in it, or a name, has U+0000, which not every store can keep.
pub fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(members) => members.iter().any(|(name, value)| name.contains('\0') || has_nul(value)),
        _ => false,
    }
}

/// The same with U+FFFD in its place, as for bytes that are no text.
#[must_use]
pub fn without_nul(value: Value) -> Value {
    let text = |text: String| text.replace('\0', "\u{fffd}");
    match value {
        Value::String(of) => Value::String(text(of)),
        Value::Array(items) => items.into_iter().map(without_nul).collect(),
        Value::Object(members) => {
            members.into_iter().map(|(name, value)| (text(name), without_nul(value))).collect()
        }
        other => other,
    }
}

/// How deep arrays and objects are nested in it.
pub fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nul_is_found_and_replaced_wherever_it_is() {
        let clean = json!({ "a": [1, null, "b"], "c": { "d": true } });
        assert!(!has_nul(&clean));
        assert_eq!(without_nul(clean.clone()), clean);
        for bad in [json!("\0"), json!(["x", { "y": "a\0b" }]), json!({ "n\0": 1 })] {
            assert!(has_nul(&bad) && !has_nul(&without_nul(bad.clone())), "{bad}");
        }
    }

    #[test]
    fn depth_is_that_of_the_deepest() {
        assert_eq!(depth(&json!(1)), 0);
        assert_eq!(depth(&json!([[], { "a": [[1]] }])), 4);
    }
}
