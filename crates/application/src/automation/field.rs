//! What the fields of an action must be, as far as it is known before anything
//! happens: texts without an expression, texts whose expressions have one answer
//! for ever, and what stands around the expressions of the others.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use taskflow_domain::rule::Action;
use taskflow_domain::{QueueName, Target, Timestamp};

use crate::jobs::{header_part, header_value, idempotency_key, label_value, target_url, url_part, url_start};
use crate::ports::EvaluationFault;
use crate::template::{Template, push_key};

/// What a field becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Becomes {
    Queue,
    RunAt,
    IdempotencyKey,
    Label,
    Url,
    Header,
}

/// One text of an action that may be a template.
pub(super) struct Field {
    pointer: String,
    becomes: Becomes,
    template: Template,
}

impl Field {
    /// Those fields of an action that a job has rules for, and that can be read.
    pub(super) fn all(action: &Action, index: usize) -> Vec<Self> {
        let mut fields = Vec::new();
        let mut add = |steps: &[&str], becomes: Becomes, text: &str| {
            let mut pointer = format!("/actions/{index}");
            for step in steps {
                push_key(&mut pointer, step);
            }
            if let Ok(template) = Template::parse(&Value::from(text), &pointer) {
                fields.push(Self { pointer, becomes, template });
            }
        };
        for (name, becomes, text) in [
            ("queue", Becomes::Queue, &action.queue),
            ("run_at", Becomes::RunAt, &action.run_at),
            ("idempotency_key", Becomes::IdempotencyKey, &action.idempotency_key),
        ] {
            if let Some(text) = text {
                add(&[name], becomes, text);
            }
        }
        for (key, value) in &action.labels {
            add(&["labels", key.as_str()], Becomes::Label, value);
        }
        if let Some(Target::Http(target)) = &action.target {
            add(&["target", "url"], Becomes::Url, &target.url);
            for (name, value) in &target.headers {
                add(&["target", "headers", name.as_str()], Becomes::Header, value);
            }
        }
        fields
    }

    /// Where it is: a JSON pointer into the rule.
    pub(super) fn pointer(&self) -> &str {
        &self.pointer
    }

    /// Its expressions.
    pub(super) fn sources(&self) -> impl Iterator<Item = &Arc<str>> {
        self.template.placeholders().iter().map(|placeholder| &placeholder.source)
    }

    /// What is wrong with it, if that is sure; `known` holds the expressions that
    /// have one answer for ever.
    pub(super) fn judge(&self, known: &BTreeMap<Arc<str>, Value>) -> Result<(), String> {
        let answers = self.sources().map(|source| known.get(source).cloned().ok_or(EvaluationFault::Broken));
        let answers: Vec<_> = answers.collect();
        if let Ok(value) = self.template.render(&answers) {
            return self.becomes.value(&value);
        }
        match self.template.shortest() {
            Some((before, shortest)) => self.becomes.around(before, &shortest),
            None => Ok(()),
        }
    }
}

impl Becomes {
    /// Judges what the field renders to.
    fn value(self, value: &Value) -> Result<(), String> {
        match value {
            Value::String(text) => self.text(text),
            Value::Number(number) => self.text(&number.to_string()),
            Value::Bool(answer) if matches!(self, Self::Label | Self::Header) => {
                self.text(&answer.to_string())
            }
            // A field that is null is one that is left out.
            Value::Null if matches!(self, Self::Queue | Self::RunAt | Self::IdempotencyKey) => Ok(()),
            _ => Err("must render to a text".to_owned()),
        }
    }

    fn text(self, text: &str) -> Result<(), String> {
        match self {
            Self::Queue => QueueName::new(text).map(drop).map_err(|error| error.to_string()),
            Self::RunAt if Timestamp::parse_rfc3339(text).is_some() => Ok(()),
            Self::RunAt => Err("must be an RFC 3339 time or a template".to_owned()),
            Self::IdempotencyKey => idempotency_key(text),
            Self::Label => label_value(text),
            Self::Url => target_url(text).map(drop),
            Self::Header => header_value(text),
        }
    }

    /// Judges a text by what stands around its expressions: `before` the first of
    /// them, and `shortest` if each of them is empty.
    fn around(self, before: &str, shortest: &str) -> Result<(), String> {
        if shortest.is_empty() {
            return Ok(());
        }
        match self {
            // Nothing is sure about a time of which a part is missing.
            Self::RunAt => Ok(()),
            // What begins the name may be the expression's.
            Self::Queue
                if before.is_empty() && !shortest.starts_with(|c: char| c.is_ascii_alphanumeric()) =>
            {
                self.text(&format!("q{shortest}"))
            }
            Self::Url => url_part(shortest).and_then(|()| url_start(before)),
            Self::Header => header_part(shortest),
            _ => self.text(shortest),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Where the faults of an action are, if `${c}` is `constant` and nothing is
    /// known of other expressions.
    fn faults(action: Value, constant: Value) -> Vec<String> {
        let action: Action = serde_json::from_value(action).unwrap();
        let known = BTreeMap::from([(Arc::<str>::from("c"), constant)]);
        let fields = Field::all(&action, 0);
        let bad = fields.iter().filter(|field| field.judge(&known).is_err());
        bad.map(|field| field.pointer().trim_start_matches("/actions/0/").to_owned()).collect()
    }

    fn action(field: &str, text: &str) -> Value {
        match field {
            "label" => json!({ "kind": "k", "labels": { "a/b": text } }),
            "url" => json!({ "kind": "k", "target": { "type": "http", "url": text } }),
            "header" => {
                let headers = json!({ "X-A": text });
                json!({ "kind": "k", "target": { "type": "http", "url": "http://a/", "headers": headers } })
            }
            field => json!({ "kind": "k", field: text }),
        }
    }

    #[test]
    fn what_no_expression_can_mend_is_told() {
        let long = "x".repeat(256);
        let filled = format!("{long}${{e}}");
        for (field, text, pointer) in [
            ("queue", "a b", "queue"),
            ("queue", "bad ${e}", "queue"),
            ("queue", "-${e}", "queue"),
            ("queue", filled.as_str(), "queue"),
            ("run_at", "soon", "run_at"),
            ("idempotency_key", "a b", "idempotency_key"),
            ("idempotency_key", "", "idempotency_key"),
            ("idempotency_key", long.as_str(), "idempotency_key"),
            ("idempotency_key", "a ${e}", "idempotency_key"),
            ("label", long.as_str(), "labels/a~1b"),
            ("label", filled.as_str(), "labels/a~1b"),
            ("url", "ftp://${e}", "target/url"),
            ("url", "http:a${e}", "target/url"),
            ("url", "http://a/${e} b", "target/url"),
            ("url", "$${e}", "target/url"),
            ("header", "é ${e}", "target/headers/X-A"),
        ] {
            assert_eq!(faults(action(field, text), json!(1)), [pointer], "{field}: {text}");
        }
    }

    #[test]
    fn what_an_expression_may_mend_is_left_to_it() {
        for (field, text) in [
            ("queue", "${e}-a"),
            ("queue", "${e}${e}"),
            ("queue", "${e}"),
            ("run_at", "2026-01-31T${e}Z"),
            ("idempotency_key", "${e}"),
            ("label", "a b ${e}"),
            ("url", "${e}://a"),
            ("url", "http${e}"),
            ("url", "https://${e}/x"),
            ("header", "Bearer ${e}"),
        ] {
            assert_eq!(faults(action(field, text), json!(1)), [""; 0], "{field}: {text}");
        }
    }

    #[test]
    fn constants_are_judged_by_their_values() {
        let fields = ["queue", "run_at", "idempotency_key", "label", "url", "header"];
        for (constant, good) in [
            (json!("a"), vec!["queue", "idempotency_key", "label", "header"]),
            (json!(1), vec!["queue", "idempotency_key", "label", "header"]),
            (json!(true), vec!["label", "header"]),
            (json!(null), vec!["queue", "run_at", "idempotency_key"]),
            (json!([1]), vec![]),
            (json!("2026-01-31T09:30:00Z"), vec!["queue", "run_at", "idempotency_key", "label", "header"]),
            (json!("http://a/"), vec!["queue", "idempotency_key", "label", "url", "header"]),
            (json!("a b"), vec!["label", "header"]),
        ] {
            let taken = fields.into_iter().filter(|field| {
                let action = action(field, "${c}");
                faults(action, constant.clone()).is_empty()
            });
            assert_eq!(taken.collect::<Vec<_>>(), good, "{constant}");
        }
    }
}
