//! Which jobs: filters of lists and of actions on many jobs.

use taskflow_application::jobs::{label_key, label_value};
use taskflow_application::ports::JobFilter;
use taskflow_domain::{CorrelationId, JobState, Kind, Priority, QueueName, RuleId, Timestamp};

use super::super::fault::{Faults, Path};
use super::super::json::{Object, Value, decode};
use super::super::query::Query;
use super::wish::{PRIORITIES, labels};

const STATES: &[(&str, JobState)] = &[
    ("WAITING", JobState::Waiting),
    ("SCHEDULED", JobState::Scheduled),
    ("PENDING", JobState::Pending),
    ("RUNNING", JobState::Running),
    ("PAUSED", JobState::Paused),
    ("SUCCEEDED", JobState::Succeeded),
    ("FAILED", JobState::Failed),
    ("DEAD", JobState::Dead),
    ("CANCELLED", JobState::Cancelled),
];

const BAD_STATE: &str = "must be one of WAITING, SCHEDULED, PENDING, RUNNING, PAUSED, SUCCEEDED, FAILED, \
                         DEAD, CANCELLED";

/// A state at most once, in the order of their numbers, so that the same filter
/// is the same however it was written.
fn in_order(mut states: Vec<JobState>) -> Vec<JobState> {
    states.sort_unstable();
    states.dedup();
    states
}

fn priority(text: &str) -> Result<Priority, &'static str> {
    Priority::parse(text).ok_or("must be one of critical, high, medium, low, background")
}

fn uuid(text: &str) -> Result<uuid::Uuid, &'static str> {
    decode::hyphenated(text).ok_or("must be a UUID, such as 01970000-0000-7000-8000-000000000000")
}

fn time(text: &str) -> Result<Timestamp, &'static str> {
    Timestamp::parse_rfc3339(text).ok_or("must be an RFC 3339 time, such as 2026-01-31T09:30:00Z")
}

/// Reads the filter of a list from query parameters.
pub(super) fn of_query(query: &mut Query) -> JobFilter {
    let mut states = Vec::new();
    for text in query.many("state") {
        match JobState::parse(&text) {
            Some(state) => states.push(state),
            None => query.fault("state", BAD_STATE),
        }
    }
    let mut filter = JobFilter {
        states: in_order(states),
        queue: query.one("queue", QueueName::new),
        kind: query.one("kind", Kind::new),
        priority: query.one("priority", priority),
        correlation_id: query.one("correlation_id", uuid).map(CorrelationId),
        rule_id: query.one("rule_id", uuid).map(RuleId),
        created_after: query.one("created_after", time),
        created_before: query.one("created_before", time),
        ..JobFilter::default()
    };
    for (key, value) in query.prefixed("label.", "label.<key>") {
        if let Err(detail) = label_key(&key).and_then(|()| label_value(&value)) {
            query.fault(&format!("label.{key}"), detail);
        } else if filter.labels.insert(key.clone(), value).is_some() {
            query.fault(&format!("label.{key}"), "must occur once");
        }
    }
    filter
}

/// Reads the filter of an action from its body.
pub(super) fn of_body(value: Value<'_>, path: &Path<'_>, faults: &mut Faults) -> Option<JobFilter> {
    let mut object = Object::open(value, path, faults)?;
    let state =
        |value: Value<'_>, path: &Path<'_>, faults: &mut Faults| decode::choice(STATES)(value, path, faults);
    // An empty list would mean every state, which nobody means who writes it.
    let states = object.optional("state", decode::list(1..=STATES.len(), state));
    let filter = JobFilter {
        states: in_order(states.unwrap_or_default()),
        queue: object.optional("queue", decode::made(QueueName::new)),
        kind: object.optional("kind", decode::made(Kind::new)),
        priority: object.optional("priority", decode::choice(PRIORITIES)),
        correlation_id: object.optional("correlation_id", decode::uuid).map(CorrelationId),
        rule_id: object.optional("rule_id", decode::uuid).map(RuleId),
        labels: object.optional("labels", labels).unwrap_or_default(),
        created_after: object.optional("created_after", decode::time),
        created_before: object.optional("created_before", decode::time),
    };
    object.close();
    Some(filter)
}
