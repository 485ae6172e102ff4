//! One pass over a text: is it JSON, and JSON that the engine can keep?

use std::borrow::Cow;

use taskflow_application::document::MAX_NESTING;

use super::value::unescape;
use crate::rest::fault::{Faults, Path};

/// Objects and arrays may be nested this deep.
pub(crate) const MAX_DEPTH: usize = MAX_NESTING;

/// A text that is not JSON.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed {
    /// What was met, and where, for people.
    pub(crate) detail: String,
    /// The value in which it was met.
    pub(crate) pointer: String,
}

/// Reads `text` to its end. What breaks the grammar ends the reading; what the
/// engine cannot keep is noted in `faults`, all of it.
pub(crate) fn check(text: &str, faults: &mut Faults) -> Result<(), Malformed> {
    let mut reader = Reader { text, bytes: text.as_bytes(), at: 0, keys: Vec::new(), faults };
    reader.blank();
    reader.value(&Path::ROOT, 0)?;
    reader.blank();
    if reader.at < text.len() {
        return Err(reader.malformed(&Path::ROOT, "expected the end of the document"));
    }
    Ok(())
}

struct Reader<'a, 'f> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    /// The keys of the objects that are open, innermost last.
    keys: Vec<Cow<'a, str>>,
    faults: &'f mut Faults,
}

type Read<T> = Result<T, Malformed>;

impl<'a> Reader<'a, '_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn blank(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// The next byte if it is `wanted`.
    fn eat(&mut self, wanted: u8) -> bool {
        let met = self.peek() == Some(wanted);
        self.at += usize::from(met);
        met
    }

    fn malformed(&self, path: &Path<'_>, expected: &str) -> Malformed {
        let before = &self.bytes[..self.at.min(self.bytes.len())];
        let line = before.split(|&byte| byte == b'\n').count();
        let start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline + 1);
        let column = String::from_utf8_lossy(&before[start..]).chars().count() + 1;
        let detail = if self.at >= self.bytes.len() {
            format!("{expected}, but the document ends at line {line}, column {column}")
        } else {
            format!("{expected} at line {line}, column {column}")
        };
        Malformed { detail, pointer: path.pointer() }
    }

    fn value(&mut self, path: &Path<'_>, depth: usize) -> Read<()> {
        match self.peek() {
            Some(b'{') => self.object(path, depth + 1),
            Some(b'[') => self.array(path, depth + 1),
            Some(b'"') => self.string(path).map(|_| ()),
            Some(b'-' | b'0'..=b'9') => self.number(path),
            Some(b't') => self.word(path, "true"),
            Some(b'f') => self.word(path, "false"),
            Some(b'n') => self.word(path, "null"),
            _ => Err(self.malformed(path, "expected a value")),
        }
    }

    fn word(&mut self, path: &Path<'_>, word: &str) -> Read<()> {
        if self.bytes[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            Ok(())
        } else {
            Err(self.malformed(path, "expected a value"))
        }
    }

    fn deeper(&self, path: &Path<'_>, depth: usize) -> Read<()> {
        if depth > MAX_DEPTH {
            return Err(self.malformed(path, "arrays and objects are nested more than 64 deep"));
        }
        Ok(())
    }

    fn array(&mut self, path: &Path<'_>, depth: usize) -> Read<()> {
        self.deeper(path, depth)?;
        self.at += 1;
        self.blank();
        if self.eat(b']') {
            return Ok(());
        }
        let mut index = 0;
        loop {
            self.blank();
            self.value(&path.index(index), depth)?;
            self.blank();
            if self.eat(b']') {
                return Ok(());
            }
            if !self.eat(b',') {
                return Err(self.malformed(path, "expected ',' or ']'"));
            }
            index += 1;
        }
    }

    fn object(&mut self, path: &Path<'_>, depth: usize) -> Read<()> {
        self.deeper(path, depth)?;
        self.at += 1;
        let outer = self.keys.len();
        self.blank();
        if self.eat(b'}') {
            return Ok(());
        }
        loop {
            self.blank();
            if self.peek() != Some(b'"') {
                return Err(self.malformed(path, "expected a key in double quotes"));
            }
            let key = self.string(path)?;
            self.blank();
            if !self.eat(b':') {
                return Err(self.malformed(&path.key(&key), "expected ':'"));
            }
            self.blank();
            self.value(&path.key(&key), depth)?;
            self.keys.push(key);
            self.blank();
            if self.eat(b'}') {
                break;
            }
            if !self.eat(b',') {
                return Err(self.malformed(path, "expected ',' or '}'"));
            }
        }
        let keys = &mut self.keys[outer..];
        keys.sort_unstable();
        for pair in keys.windows(2) {
            if pair[0] == pair[1] {
                self.faults.at(&path.key(&pair[0]), "the key occurs more than once");
            }
        }
        self.keys.truncate(outer);
        Ok(())
    }

    fn digits(&mut self, path: &Path<'_>) -> Read<()> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start { Err(self.malformed(path, "expected a digit")) } else { Ok(()) }
    }

    fn number(&mut self, path: &Path<'_>) -> Read<()> {
        let start = self.at;
        self.eat(b'-');
        if !self.eat(b'0') {
            self.digits(path)?;
        }
        if self.eat(b'.') {
            self.digits(path)?;
        }
        if self.eat(b'e') || self.eat(b'E') {
            _ = self.eat(b'+') || self.eat(b'-');
            self.digits(path)?;
        }
        let number = &self.text[start..self.at];
        // Shorter ones without an exponent cannot leave the range of a double.
        let suspect = number.len() > 300 || number.contains(['e', 'E']);
        if suspect && !number.parse::<f64>().is_ok_and(f64::is_finite) {
            self.faults.at(path, "the number is out of the range of a double");
        }
        Ok(())
    }

    fn string(&mut self, path: &Path<'_>) -> Read<Cow<'a, str>> {
        self.at += 1;
        let start = self.at;
        let mut plain = true;
        loop {
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    plain = false;
                    self.at += 1;
                    self.escape(path)?;
                }
                Some(0..=0x1f) => {
                    return Err(self.malformed(path, "a control character in a string must be escaped"));
                }
                Some(_) => self.at += 1,
                None => return Err(self.malformed(path, "expected '\"'")),
            }
        }
        let inside = &self.text[start..self.at];
        self.at += 1;
        Ok(if plain { Cow::Borrowed(inside) } else { Cow::Owned(unescape(inside)) })
    }

    fn escape(&mut self, path: &Path<'_>) -> Read<()> {
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 1;
                Ok(())
            }
            Some(b'u') => {
                let unit = self.unit(path)?;
                match unit {
                    0 => self.faults.at(path, "the character U+0000 cannot be kept"),
                    0xd800..=0xdbff => {
                        let paired = self.bytes[self.at..].starts_with(b"\\u");
                        self.at += usize::from(paired);
                        if !paired || !(0xdc00..=0xdfff).contains(&self.unit(path)?) {
                            self.faults.at(path, "half of a surrogate pair is not a character");
                        }
                    }
                    0xdc00..=0xdfff => self.faults.at(path, "half of a surrogate pair is not a character"),
                    _ => {}
                }
                Ok(())
            }
            _ => Err(self.malformed(path, "expected an escape sequence")),
        }
    }

    /// The code unit of `uHHHH`, standing on the `u`.
    fn unit(&mut self, path: &Path<'_>) -> Read<u32> {
        let digits = self.bytes.get(self.at + 1..self.at + 5);
        let unit = digits
            .filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u32::from_str_radix(digits, 16).ok());
        match unit {
            Some(unit) => {
                self.at += 5;
                Ok(unit)
            }
            None => Err(self.malformed(path, "expected four hexadecimal digits after '\\u'")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rest::fault::Place;

    fn faults(text: &str) -> Vec<(String, String)> {
        let mut faults = Faults::default();
        check(text, &mut faults).unwrap();
        let list = faults.into_parts().0;
        list.into_iter()
            .map(|fault| match fault.place {
                Place::Body(pointer) => (pointer, fault.detail),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    fn malformed(text: &str) -> Malformed {
        check(text, &mut Faults::default()).unwrap_err()
    }

    #[test]
    fn the_grammar_is_that_of_serde() {
        let texts = [
            "null",
            "true",
            "false",
            "0",
            "-0",
            "1.5",
            "-1e5",
            "1E+2",
            "\"\"",
            "\"\\u00e9\\n\"",
            "[]",
            "{}",
            " [ 1 , {\"a\" : [ ] } ] \n",
            "",
            " ",
            "tru",
            "01",
            "1.",
            ".5",
            "+1",
            "1e",
            "-",
            "\"",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\u+123\"",
            "[1,]",
            "[,1]",
            "{,}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{a:1}",
            "[1 2]",
            "1 2",
            "nan",
            "Infinity",
            "\"\t\"",
            "'a'",
            "[",
            "{",
            "]",
            "\u{feff}1",
            "/**/1",
            "\"\u{7f}\"",
            "{\"a\":1 \"b\":2}",
            "\\u0031",
            "nulll",
        ];
        for text in texts {
            let ours = check(text, &mut Faults::default()).is_ok();
            assert_eq!(ours, serde_json::from_str::<serde_json::Value>(text).is_ok(), "{text:?}");
        }
    }

    #[test]
    fn a_break_is_told_with_its_place() {
        let at = malformed("{\n  \"a\": [1, x]\n}");
        assert_eq!(at.detail, "expected a value at line 2, column 12");
        assert_eq!(at.pointer, "#/a/1");
        assert!(malformed("[").detail.contains("the document ends at line 1, column 2"));
    }

    #[test]
    fn what_cannot_be_kept_is_told_at_once() {
        let text =
            r#"{"a":"\u0000","b":["\ud800","\udc00x","\ud83d\ude00"],"c":1e400,"c":-1e400,"\u0063":0}"#;
        let pointers: Vec<_> = faults(text).into_iter().map(|fault| fault.0).collect();
        assert_eq!(pointers, ["#/a", "#/b/0", "#/b/1", "#/c", "#/c", "#/c", "#/c"]);
        assert_eq!(faults("[1e308, 1e-400]"), []);
        assert_eq!(faults(&"9".repeat(400)).len(), 1);
        assert_eq!(faults(r#""\ud800\u0041""#).len(), 1);
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(check(&nested(MAX_DEPTH), &mut Faults::default()).is_ok());
        assert!(malformed(&nested(MAX_DEPTH + 1)).detail.contains("64 deep"));
        assert!(malformed(&"[".repeat(1_000_000)).detail.contains("64 deep"));
    }
}
