//! Documents with `${…}` in their texts.
//!
//! What stands between the braces is a CEL expression. Alone in a text it keeps
//! the type of its answer; inside a longer text it is rendered as text. `$${`
//! stands for `${` itself. Keys of objects are never templates. The expressions
//! are collected first and asked all together, so that a document costs one call
//! of the engine.

use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::Value;

use crate::ports::EvaluationFault;

/// The most expressions of one document.
pub const MAX_EXPRESSIONS: usize = 200;
/// A rendered document has at most this many bytes.
pub const MAX_RENDERED: usize = 256 * 1024;

/// One thing that is wrong with a template, or with what it rendered to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{pointer}: {message}")]
pub struct TemplateFault {
    /// Where in the document: a JSON pointer, beginning with the document's own.
    pub pointer: String,
    /// What.
    pub message: String,
}

/// One expression of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placeholder {
    /// Where in the document: a JSON pointer, beginning with the document's own.
    pub pointer: String,
    /// Its CEL source.
    pub source: Arc<str>,
}

#[derive(Clone, Debug, PartialEq)]
enum Node {
    /// As it stands.
    Fixed(Value),
    /// The answer to the expression of this index.
    Alone(usize),
    /// Texts and answers in a row.
    Text(Vec<Part>),
    Array(Vec<Node>),
    Object(Vec<(String, Node)>),
}

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Fixed(String),
    Answer(usize),
}

/// A document that was read for `${…}`.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    root: Node,
    placeholders: Vec<Placeholder>,
}

impl Template {
    /// Reads `document`, which stands at `pointer` (such as `/actions/0`) of what
    /// its author wrote. Every fault is told.
    pub fn parse(document: &Value, pointer: &str) -> Result<Self, Vec<TemplateFault>> {
        let (template, faults) = Self::read(document, pointer);
        if faults.is_empty() { Ok(template) } else { Err(faults) }
    }

    /// The same, and the expressions that could be read are handed over although
    /// something is wrong, so that their own faults are told with the others. With
    /// faults it is no template to be rendered.
    pub fn read(document: &Value, pointer: &str) -> (Self, Vec<TemplateFault>) {
        let mut reader = Reader { placeholders: Vec::new(), faults: Vec::new() };
        let root = reader.node(document, pointer);
        if reader.placeholders.len() > MAX_EXPRESSIONS {
            let message = format!("has more than {MAX_EXPRESSIONS} expressions");
            reader.faults.push(TemplateFault { pointer: pointer.to_owned(), message });
        }
        (Self { root, placeholders: reader.placeholders }, reader.faults)
    }

    /// The expressions, in the order in which their answers are wanted.
    pub fn placeholders(&self) -> &[Placeholder] {
        &self.placeholders
    }

    /// Of a text with answers in it: what stands before the first of them, and the
    /// shortest that it can render to. `None` of every other document.
    pub fn shortest(&self) -> Option<(&str, String)> {
        let Node::Text(parts) = &self.root else { return None };
        let before = match parts.first() {
            Some(Part::Fixed(text)) => text.as_str(),
            _ => "",
        };
        let fixed = parts.iter().filter_map(|part| match part {
            Part::Fixed(text) => Some(text.as_str()),
            Part::Answer(_) => None,
        });
        Some((before, fixed.collect()))
    }

    /// The document with the answers in their places. Every expression without an
    /// answer is told.
    pub fn render(&self, answers: &[Result<Value, EvaluationFault>]) -> Result<Value, Vec<TemplateFault>> {
        let mut faults = Vec::new();
        for (index, placeholder) in self.placeholders.iter().enumerate() {
            let message = match answers.get(index) {
                Some(Ok(_)) => continue,
                Some(Err(fault)) => fault.to_string(),
                None => EvaluationFault::Broken.to_string(),
            };
            faults.push(TemplateFault { pointer: placeholder.pointer.clone(), message });
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let mut room = MAX_RENDERED;
        fill(&self.root, answers, &mut room).ok_or_else(|| {
            let pointer = self.placeholders.first().map(|first| first.pointer.clone()).unwrap_or_default();
            vec![TemplateFault { pointer, message: format!("renders to more than {MAX_RENDERED} bytes") }]
        })
    }
}

/// One step of a JSON pointer.
pub fn push_key(pointer: &mut String, key: &str) {
    pointer.push('/');
    for c in key.chars() {
        match c {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            other => pointer.push(other),
        }
    }
}

struct Reader {
    placeholders: Vec<Placeholder>,
    faults: Vec<TemplateFault>,
}

impl Reader {
    fn node(&mut self, value: &Value, pointer: &str) -> Node {
        match value {
            Value::String(text) => self.text(text, pointer),
            Value::Array(elements) => {
                let element = |(index, element)| self.node(element, &format!("{pointer}/{index}"));
                Node::Array(elements.iter().enumerate().map(element).collect())
            }
            Value::Object(members) => {
                let member = |(key, member): (&String, &Value)| {
                    let mut here = pointer.to_owned();
                    push_key(&mut here, key);
                    (key.clone(), self.node(member, &here))
                };
                Node::Object(members.iter().map(member).collect())
            }
            other => Node::Fixed(other.clone()),
        }
    }

    fn text(&mut self, text: &str, pointer: &str) -> Node {
        if !text.contains("${") {
            return Node::Fixed(Value::String(text.to_owned()));
        }
        let mut parts = Vec::new();
        let mut fixed = String::new();
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            let (before, after) = (&rest[..at], &rest[at + 2..]);
            if let Some(before) = before.strip_suffix('$') {
                fixed.push_str(before);
                fixed.push_str("${");
                rest = after;
                continue;
            }
            fixed.push_str(before);
            let Some(length) = expression_length(after) else {
                self.fault(pointer, "a '${' has no '}'; for '${' itself write '$${'");
                return Node::Fixed(Value::Null);
            };
            let source = after[..length].trim();
            rest = &after[length + 1..];
            if source.is_empty() {
                self.fault(pointer, "there is no expression in '${}'");
                continue;
            }
            if !fixed.is_empty() {
                parts.push(Part::Fixed(std::mem::take(&mut fixed)));
            }
            parts.push(Part::Answer(self.placeholders.len()));
            self.placeholders.push(Placeholder { pointer: pointer.to_owned(), source: source.into() });
        }
        fixed.push_str(rest);
        if !fixed.is_empty() {
            parts.push(Part::Fixed(fixed));
        }
        match parts.as_slice() {
            [Part::Answer(index)] => Node::Alone(*index),
            [Part::Fixed(text)] => Node::Fixed(Value::String(text.clone())),
            _ => Node::Text(parts),
        }
    }

    fn fault(&mut self, pointer: &str, message: &str) {
        self.faults.push(TemplateFault { pointer: pointer.to_owned(), message: message.to_owned() });
    }
}

/// How many bytes there are up to the brace that ends the expression. Braces in
/// strings, and pairs of them, are the expression's own.
fn expression_length(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut at, mut open) = (0, 0_usize);
    while at < bytes.len() {
        match bytes[at] {
            b'{' => open += 1,
            b'}' if open == 0 => return Some(at),
            b'}' => open -= 1,
            b'"' | b'\'' => at = string_end(bytes, at)?,
            _ => {}
        }
        at += 1;
    }
    None
}

/// The place of the quote that ends the string which begins at `start`. In a raw
/// string (`r'…'`) a backslash is a backslash.
fn string_end(bytes: &[u8], start: usize) -> Option<usize> {
    let quote = bytes[start];
    let letter = |at: usize| bytes.get(at).copied().unwrap_or_default();
    let raw = start > 0
        && matches!(letter(start - 1), b'r' | b'R')
        && !(start > 1
            && (letter(start - 2).is_ascii_alphanumeric() && !matches!(letter(start - 2), b'b' | b'B')));
    let triple = bytes[start..].starts_with(&[quote; 3]);
    let mut at = start + if triple { 3 } else { 1 };
    while at < bytes.len() {
        if bytes[at] == b'\\' && !raw {
            at += 1;
        } else if triple && bytes[at..].starts_with(&[quote; 3]) {
            return Some(at + 2);
        } else if !triple && bytes[at] == quote {
            return Some(at);
        }
        at += 1;
    }
    None
}

/// Takes `size` from what is left.
fn take(room: &mut usize, size: usize) -> Option<()> {
    *room = room.checked_sub(size)?;
    Some(())
}

/// What a value takes in a document, nearly.
fn size(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 5,
        Value::Number(number) => number.to_string().len(),
        Value::String(text) => text.len() + 2,
        Value::Array(elements) => elements.iter().map(|element| size(element) + 1).sum::<usize>() + 2,
        Value::Object(members) => {
            members.iter().map(|(key, member)| key.len() + size(member) + 4).sum::<usize>() + 2
        }
    }
}

fn fill(node: &Node, answers: &[Result<Value, EvaluationFault>], room: &mut usize) -> Option<Value> {
    let answer = |index: usize| answers.get(index).and_then(|answer| answer.as_ref().ok());
    match node {
        Node::Fixed(value) => {
            take(room, size(value))?;
            Some(value.clone())
        }
        Node::Alone(index) => {
            let value = answer(*index)?;
            take(room, size(value))?;
            Some(value.clone())
        }
        Node::Text(parts) => {
            let mut text = String::new();
            for part in parts {
                let before = text.len();
                match part {
                    Part::Fixed(fixed) => text.push_str(fixed),
                    Part::Answer(index) => push_value(&mut text, answer(*index)?),
                }
                take(room, text.len() - before)?;
            }
            Some(Value::String(text))
        }
        Node::Array(nodes) => {
            let elements = nodes.iter().map(|node| fill(node, answers, room));
            elements.collect::<Option<_>>().map(Value::Array)
        }
        Node::Object(members) => {
            let members = members.iter().map(|(key, node)| {
                take(room, key.len())?;
                Some((key.clone(), fill(node, answers, room)?))
            });
            members.collect::<Option<_>>().map(Value::Object)
        }
    }
}

/// A value as text: a string as it is, everything else as JSON.
fn push_value(text: &mut String, value: &Value) {
    match value {
        Value::String(string) => text.push_str(string),
        other => _ = write!(text, "{other}"),
    }
}

#[cfg(test)]
mod tests;
