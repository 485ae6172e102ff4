//! Reading the actions of rules: jobs of which some texts are templates.

use taskflow_application::jobs::JobWish;
use taskflow_domain::rule::Action;

use super::super::fault::{Faults, Path};
use super::super::jobs::{MAX_DOCUMENT, retry_policy, templated_target};
use super::super::json::{Object, Value, decode};

/// The longest template of one text, in characters.
const MAX_TEMPLATE: usize = 16 * 1024;

/// Reads an action. What cannot be read is noted, and something harmless stands in
/// its place, so that the others keep their numbers and are judged as well.
pub(super) fn action(value: Value<'_>, path: &Path<'_>, faults: &mut Faults) -> Action {
    read(value, path, faults).unwrap_or_else(stand_in)
}

/// An action without faults, in the place of what could not be read.
pub(super) fn stand_in() -> Action {
    Action {
        kind: "unread".to_owned(),
        queue: None,
        priority: None,
        payload: serde_json::Value::Null,
        labels: std::collections::BTreeMap::new(),
        target: None,
        retry_policy: None,
        timeout_ms: None,
        run_at: None,
        idempotency_key: None,
    }
}

fn read(value: Value<'_>, path: &Path<'_>, faults: &mut Faults) -> Option<Action> {
    let mut object = Object::open(value, path, faults)?;
    let kind = object.required("kind", decode::text_of(1_000));
    let queue = object.optional("queue", decode::text_of(MAX_TEMPLATE));
    let priority = object.optional("priority", decode::text_of(1_000));
    let payload = object.optional("payload", decode::document(MAX_DOCUMENT));
    // How many there may be is judged with all else that is wrong with the action.
    let labels = object.optional("labels", decode::strings(usize::MAX, |_| Ok(())));
    let target = object.optional("target", templated_target);
    let retry_policy = object.optional("retry_policy", retry_policy);
    let timeout_ms = object.optional("timeout_ms", decode::whole_of(1..=JobWish::MAX_TIMEOUT_MS));
    let run_at = object.optional("run_at", decode::text_of(MAX_TEMPLATE));
    let idempotency_key = object.optional("idempotency_key", decode::text_of(MAX_TEMPLATE));
    object.close();
    Some(Action {
        kind: kind.unwrap_or_else(|| stand_in().kind),
        queue,
        priority,
        payload: payload.map(|payload| payload.to_value()).unwrap_or_default(),
        labels: labels.unwrap_or_default(),
        target,
        retry_policy,
        timeout_ms,
        run_at,
        idempotency_key,
    })
}
