//! Reading what a caller asks for when submitting jobs.

use std::collections::BTreeSet;

use axum::http::HeaderMap;
use sha2::{Digest, Sha256};
use taskflow_application::jobs::{
    JobWish, MAX_BATCH, MAX_LABELS, idempotency_key as judge_key, label_key, label_value,
};
use taskflow_domain::{
    CorrelationId, Jitter, JobId, Kind, Labels, Priority, QueueName, RetryPolicy, Strategy,
};

use super::super::fault::{Faults, IDEMPOTENCY_KEY, Path, Place};
use super::super::json::decode::Part;
use super::super::json::{Object, Shape, Value, decode};
use super::target::target;

/// A payload, and a result, has at most this many bytes.
pub(crate) const MAX_DOCUMENT: usize = 256 * 1024;

/// The words of the priorities.
pub(crate) const PRIORITIES: &[(&str, Priority)] = &[
    ("critical", Priority::Critical),
    ("high", Priority::High),
    ("medium", Priority::Medium),
    ("low", Priority::Low),
    ("background", Priority::Background),
];

/// What is said of a job that waits for others.
pub(super) const NO_DEPENDENCIES: &str = "dependencies between jobs are not available yet";

/// Reads the job of a single submit; `key` is that of the header.
pub(super) fn single(value: Value<'_>, key: Option<String>, faults: &mut Faults) -> Option<JobWish> {
    let mut object = Object::open(value, &Path::ROOT, faults)?;
    let mut wish = fields(&mut object);
    if let (Some(wish), Some(key)) = (&mut wish, key) {
        if wish.idempotency_key.as_ref().is_some_and(|field| *field != key) {
            object.fault("idempotency_key", "differs from the header Idempotency-Key");
        }
        wish.idempotency_key = Some(key);
    }
    object.close();
    wish.map(|wish| with_fingerprint(wish, value))
}

/// What a batch holds, and whether it asks for what is not available yet.
pub(super) struct Batch {
    pub(super) wishes: Vec<JobWish>,
    pub(super) dependencies: Vec<String>,
}

/// Reads the jobs of a batch.
pub(super) fn batch(value: Value<'_>, faults: &mut Faults) -> Option<Batch> {
    let mut object = Object::open(value, &Path::ROOT, faults)?;
    let mut refs = BTreeSet::new();
    let mut dependencies = Vec::new();
    let wishes = object.required(
        "jobs",
        decode::list(1..=MAX_BATCH, |value, path, faults| {
            one_of_batch(value, path, faults, &mut refs, &mut dependencies)
        }),
    );
    object.close();
    if !faults.is_empty() {
        // Else they are a problem of their own.
        for pointer in &dependencies {
            faults.note(Place::Body(pointer.clone()), NO_DEPENDENCIES);
        }
    }
    wishes.map(|wishes| Batch { wishes, dependencies })
}

fn one_of_batch(
    value: Value<'_>,
    path: &Path<'_>,
    faults: &mut Faults,
    refs: &mut BTreeSet<String>,
    dependencies: &mut Vec<String>,
) -> Option<JobWish> {
    let mut object = Object::open(value, path, faults)?;
    // A reference has the form of a kind: a name.
    if let Some(name) = object.optional("ref", decode::made(Kind::new))
        && !refs.insert(name.as_str().to_owned())
    {
        object.fault("ref", "occurs more than once in the batch");
    }
    if object.raw("depends_on").is_some_and(|value| !value.is_null()) {
        dependencies.push(path.key("depends_on").pointer());
    }
    let wish = fields(&mut object);
    object.close();
    wish.map(|wish| with_fingerprint(wish, value))
}

fn fields(object: &mut Object<'_, '_, '_>) -> Option<JobWish> {
    let kind = object.required("kind", decode::made(Kind::new));
    let queue = object.optional("queue", decode::made(QueueName::new));
    let priority = object.optional("priority", decode::choice(PRIORITIES));
    let payload = object.optional("payload", decode::document(MAX_DOCUMENT));
    let labels = object.optional("labels", labels);
    let target = object.optional("target", target);
    let retry_policy = object.optional("retry_policy", retry_policy);
    let timeout_ms = object.optional("timeout_ms", decode::whole(1..=JobWish::MAX_TIMEOUT_MS));
    let run_at = object.optional("run_at", decode::time);
    let key = object.optional("idempotency_key", decode::made(idempotency_key));
    let correlation_id = object.optional("correlation_id", decode::uuid);
    let parent_job_id = object.optional("parent_job_id", decode::uuid);
    let defaults = JobWish::new(kind?);
    Some(JobWish {
        queue,
        priority: priority.unwrap_or_default(),
        payload: payload.unwrap_or(defaults.payload.clone()),
        labels: labels.unwrap_or_default(),
        target,
        retry_policy: retry_policy.unwrap_or_default(),
        timeout_ms: timeout_ms.unwrap_or(JobWish::DEFAULT_TIMEOUT_MS),
        run_at,
        idempotency_key: key,
        correlation_id: correlation_id.map(CorrelationId),
        parent_job_id: parent_job_id.map(JobId),
        ..defaults
    })
}

/// Reads labels.
pub(crate) fn labels(value: Value<'_>, path: &Path<'_>, faults: &mut Faults) -> Option<Labels> {
    decode::strings(MAX_LABELS, label)(value, path, faults)
}

/// Whether a label can be one.
fn label(part: Part<'_>) -> Result<(), String> {
    match part {
        Part::Key(key) => label_key(key),
        Part::Value(value) => label_value(value),
    }
}

pub(in super::super) fn retry_policy(
    value: Value<'_>,
    path: &Path<'_>,
    faults: &mut Faults,
) -> Option<RetryPolicy> {
    let strategies =
        &[("fixed", Strategy::Fixed), ("linear", Strategy::Linear), ("exponential", Strategy::Exponential)];
    let jitters = &[
        ("none", Jitter::None),
        ("full", Jitter::Full),
        ("equal", Jitter::Equal),
        ("decorrelated", Jitter::Decorrelated),
    ];
    let mut object = Object::open(value, path, faults)?;
    let mut policy = RetryPolicy::default();
    let (attempts, delays) = (1..=u64::from(RetryPolicy::MOST_ATTEMPTS), 0..=RetryPolicy::LONGEST_DELAY_MS);
    if let Some(attempts) = object.optional("max_attempts", decode::whole(attempts)) {
        policy.max_attempts = u16::try_from(attempts).unwrap_or(u16::MAX);
    }
    if let Some(strategy) = object.optional("strategy", decode::choice(strategies)) {
        policy.strategy = strategy;
    }
    if let Some(delay) = object.optional("base_delay_ms", decode::whole(delays.clone())) {
        policy.base_delay_ms = delay;
    }
    if let Some(factor) = object.optional("factor", decode::number) {
        policy.factor = factor;
    }
    if let Some(delay) = object.optional("max_delay_ms", decode::whole(delays)) {
        policy.max_delay_ms = delay;
    }
    if let Some(jitter) = object.optional("jitter", decode::choice(jitters)) {
        policy.jitter = jitter;
    }
    for fault in policy.faults() {
        object.fault(fault.field, format!("must be {}", fault.range));
    }
    object.close();
    Some(policy)
}

fn idempotency_key(text: &str) -> Result<String, String> {
    judge_key(text).map(|()| text.to_owned())
}

/// The key of the header: a quoted string, as the draft has it, or bare.
pub(in super::super) fn key_of(headers: &HeaderMap, faults: &mut Faults) -> Option<String> {
    let mut refuse = |detail: &str| {
        faults.note(Place::Header(IDEMPOTENCY_KEY.into()), detail);
        None
    };
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let value = values.next()?;
    if values.next().is_some() {
        return refuse("must occur once");
    }
    let text = value.to_str().unwrap_or_default().trim();
    let key = match text.strip_prefix('"') {
        None => Some(text.to_owned()),
        Some(quoted) => unquote(quoted),
    };
    match key.as_deref().map(idempotency_key) {
        Some(Ok(key)) => Some(key),
        Some(Err(detail)) => refuse(&detail),
        None => refuse("must be a string in double quotes, or bare"),
    }
}

/// The inside of a structured-field string, its opening quote taken already.
fn unquote(text: &str) -> Option<String> {
    let inside = text.strip_suffix('"')?;
    let mut key = String::new();
    let mut chars = inside.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => return None,
            '\\' => key.push(chars.next().filter(|next| matches!(next, '"' | '\\'))?),
            other => key.push(other),
        }
    }
    Some(key)
}

/// Adds what a repeated submit with the same key is compared by: the request as
/// it was meant. Space, the order of fields and the writing of strings do not
/// count, and neither does the trace, which is new with each try.
fn with_fingerprint(mut wish: JobWish, request: Value<'_>) -> JobWish {
    if wish.idempotency_key.is_some() {
        let mut digest = Sha256::new();
        feed(request, true, &mut digest);
        wish.fingerprint = digest.finalize().into();
    }
    wish
}

fn feed(value: Value<'_>, outermost: bool, digest: &mut Sha256) {
    let mut token = |kind: u8, text: &str| {
        digest.update([kind]);
        digest.update((text.len() as u64).to_be_bytes());
        digest.update(text);
    };
    match value.shape() {
        Shape::Null => token(b'n', ""),
        Shape::Bool(answer) => token(b'b', if answer { "1" } else { "" }),
        Shape::Number(number) => token(b'd', number),
        Shape::Text(text) => token(b's', &text),
        Shape::Array(elements) => {
            token(b'a', "");
            for element in elements {
                feed(element, false, digest);
            }
            digest.update([b'e']);
        }
        Shape::Object(mut members) => {
            token(b'o', "");
            members.sort_unstable_by(|one, other| one.0.cmp(&other.0));
            for (key, member) in members {
                // Of a job, a field that is null is one that is left out, and the
                // key and the reference name the request instead of being part of it.
                if outermost && (member.is_null() || key == "idempotency_key" || key == "ref") {
                    continue;
                }
                digest.update((key.len() as u64).to_be_bytes());
                digest.update(key.as_bytes());
                feed(member, false, digest);
            }
            digest.update([b'e']);
        }
    }
}
