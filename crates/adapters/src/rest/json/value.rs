//! Looking at parts of a checked JSON text.

use std::borrow::Cow;

/// One value of a text that [`super::check`] has passed, as it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Value<'a>(&'a str);

/// A value with its outermost layer open.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Shape<'a> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, as it was written.
    Number(&'a str),
    /// A string, with its escapes resolved.
    Text(Cow<'a, str>),
    /// The elements.
    Array(Vec<Value<'a>>),
    /// The members, in the order in which they were sent.
    Object(Vec<(Cow<'a, str>, Value<'a>)>),
}

impl<'a> Value<'a> {
    /// The whole of a checked text.
    pub(crate) fn of_checked(text: &'a str) -> Self {
        Self(text.trim_matches([' ', '\t', '\n', '\r']))
    }

    /// The text of the value, exactly as it was sent.
    pub(crate) fn raw(self) -> &'a str {
        self.0
    }

    /// Whether it is `null`.
    pub(crate) fn is_null(self) -> bool {
        self.0 == "null"
    }

    /// Opens the outermost layer.
    pub(crate) fn shape(self) -> Shape<'a> {
        match self.0.as_bytes().first() {
            Some(b'"') => Shape::Text(text(self.0)),
            Some(b'[') => Shape::Array(elements(self.0)),
            Some(b'{') => Shape::Object(members(self.0)),
            Some(b't') => Shape::Bool(true),
            Some(b'f') => Shape::Bool(false),
            Some(b'-' | b'0'..=b'9') => Shape::Number(self.0),
            _ => Shape::Null,
        }
    }
}

impl Shape<'_> {
    /// What it is, for people.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "a string",
            Self::Array(_) => "an array",
            Self::Object(_) => "an object",
        }
    }
}

fn text(quoted: &str) -> Cow<'_, str> {
    let inside = quoted.get(1..quoted.len() - 1).unwrap_or_default();
    if inside.contains('\\') { Cow::Owned(unescape(inside)) } else { Cow::Borrowed(inside) }
}

fn elements(array: &str) -> Vec<Value<'_>> {
    let mut scan = Scan { text: array, at: 1 };
    let mut elements = Vec::new();
    while let Some(value) = scan.next_value() {
        elements.push(value);
    }
    elements
}

fn members(object: &str) -> Vec<(Cow<'_, str>, Value<'_>)> {
    let mut scan = Scan { text: object, at: 1 };
    let mut members = Vec::new();
    while let (Some(key), Some(value)) = (scan.next_value(), scan.next_value()) {
        members.push((text(key.0), value));
    }
    members
}

/// Goes from value to value inside one container.
struct Scan<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scan<'a> {
    fn next_value(&mut self) -> Option<Value<'a>> {
        let bytes = self.text.as_bytes();
        while matches!(bytes.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r' | b',' | b':')) {
            self.at += 1;
        }
        let start = self.at;
        match bytes.get(start)? {
            b']' | b'}' => return None,
            b'"' => self.skip_string(),
            b'[' | b'{' => self.skip_container(),
            _ => {
                let ends = |byte: &u8| matches!(byte, b',' | b']' | b'}' | b' ' | b'\t' | b'\n' | b'\r');
                let length = bytes[start..].iter().position(ends).unwrap_or(bytes.len() - start);
                self.at += length;
            }
        }
        self.text.get(start..self.at).map(Value)
    }

    fn skip_string(&mut self) {
        let bytes = self.text.as_bytes();
        self.at += 1;
        while let Some(byte) = bytes.get(self.at) {
            self.at += match byte {
                b'\\' => 2,
                _ => 1,
            };
            if *byte == b'"' {
                break;
            }
        }
    }

    fn skip_container(&mut self) {
        let bytes = self.text.as_bytes();
        let mut depth = 0_usize;
        while let Some(byte) = bytes.get(self.at) {
            match byte {
                b'"' => {
                    self.skip_string();
                    continue;
                }
                b'[' | b'{' => depth += 1,
                b']' | b'}' => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                break;
            }
        }
    }
}

/// Resolves the escapes of a string. What is not a character, which `check` has
/// told by then, becomes U+FFFD.
pub(super) fn unescape(inside: &str) -> String {
    let mut out = String::with_capacity(inside.len());
    let mut chars = inside.chars();
    let mut high: Option<u16> = None;
    while let Some(c) = chars.next() {
        let escaped = if c == '\\' { chars.next() } else { None };
        if escaped == Some('u') {
            let digits: String = chars.by_ref().take(4).collect();
            let unit = u16::from_str_radix(&digits, 16).unwrap_or(0xfffd);
            match high.take() {
                Some(first) => push_units(&mut out, &[first, unit]),
                None if (0xd800..=0xdbff).contains(&unit) => high = Some(unit),
                None => push_units(&mut out, &[unit]),
            }
            continue;
        }
        if let Some(first) = high.take() {
            push_units(&mut out, &[first]);
        }
        out.push(match escaped {
            None => c,
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some(other) => other,
        });
    }
    if let Some(first) = high {
        push_units(&mut out, &[first]);
    }
    out
}

fn push_units(out: &mut String, units: &[u16]) {
    out.extend(char::decode_utf16(units.iter().copied()).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_as_they_were_sent() {
        let text = " { \"a\" : [1, \"]\\\"\", {\"b\":[]}] ,\"\\u0063\":-1.50, \"d\":\"x\" } ";
        let Shape::Object(members) = Value::of_checked(text).shape() else { panic!() };
        let shown: Vec<_> = members.iter().map(|(key, value)| (key.as_ref(), value.raw())).collect();
        assert_eq!(shown, [("a", "[1, \"]\\\"\", {\"b\":[]}]"), ("c", "-1.50"), ("d", "\"x\"")]);
        let Shape::Array(elements) = members[0].1.shape() else { panic!() };
        assert_eq!(elements.len(), 3);
        assert_eq!(elements[1].shape(), Shape::Text("]\"".into()));
        assert_eq!(Value::of_checked("[ ]").shape(), Shape::Array(vec![]));
        assert_eq!(Value::of_checked("{ }").shape(), Shape::Object(vec![]));
    }

    #[test]
    fn escapes_agree_with_serde() {
        for inside in [r#"a\"b\\c\/d\b\f\n\r\t"#, r"\u00e9\ud83d\ude00x", "é😀", ""] {
            let quoted = format!("\"{inside}\"");
            assert_eq!(unescape(inside), serde_json::from_str::<String>(&quoted).unwrap());
        }
        assert_eq!(unescape(r"\ud800x\ud83dA\udc00"), "\u{fffd}x\u{fffd}A\u{fffd}");
        assert_eq!(unescape(r"\ud800"), "\u{fffd}");
    }
}
