//! Jobs, attempts and histories as the API shows them.

use serde_json::value::RawValue;
use taskflow_application::sealing::masked;
use taskflow_domain::target::{Builtin, Method, Target};
use taskflow_domain::{
    Attempt, AttemptError, ClaimedJob, Delay, Jitter, Job, JobEvent, JobSpec, JobState, Json, Outcome,
    Priority, RetryPolicy, Standing, Strategy, TenantSlug, Timestamp,
};
use taskflow_protocol::{self as wire, Time};

/// A document as it was sent. A text that is not JSON, which a store would have
/// to have damaged, shows as null.
pub(super) fn document(json: &Json) -> wire::Document {
    RawValue::from_string(json.as_str().to_owned()).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// A state.
pub(in super::super) const fn state(state: JobState) -> wire::JobState {
    match state {
        JobState::Waiting => wire::JobState::Waiting,
        JobState::Scheduled => wire::JobState::Scheduled,
        JobState::Pending => wire::JobState::Pending,
        JobState::Running => wire::JobState::Running,
        JobState::Paused => wire::JobState::Paused,
        JobState::Succeeded => wire::JobState::Succeeded,
        JobState::Failed => wire::JobState::Failed,
        JobState::Dead => wire::JobState::Dead,
        JobState::Cancelled => wire::JobState::Cancelled,
    }
}

const fn priority(priority: Priority) -> wire::JobPriority {
    match priority {
        Priority::Critical => wire::JobPriority::Critical,
        Priority::High => wire::JobPriority::High,
        Priority::Medium => wire::JobPriority::Medium,
        Priority::Low => wire::JobPriority::Low,
        Priority::Background => wire::JobPriority::Background,
    }
}

fn target(target: &Target) -> wire::JobTarget {
    match masked(target) {
        Target::Http(http) => wire::JobTarget::Http {
            url: http.url,
            method: match http.method {
                Method::Get => wire::HttpMethod::Get,
                Method::Post => wire::HttpMethod::Post,
                Method::Put => wire::HttpMethod::Put,
                Method::Patch => wire::HttpMethod::Patch,
                Method::Delete => wire::HttpMethod::Delete,
            },
            headers: http.headers,
            permanent_statuses: http.permanent_statuses,
            retryable_statuses: http.retryable_statuses,
        },
        Target::Builtin { name, ms } => wire::JobTarget::Builtin {
            name: match name {
                Builtin::Noop => wire::Builtin::Noop,
                Builtin::Echo => wire::Builtin::Echo,
                Builtin::Sleep => wire::Builtin::Sleep,
                Builtin::Fail => wire::Builtin::Fail,
            },
            ms,
        },
    }
}

const fn retry_policy(policy: &RetryPolicy) -> wire::RetryPolicy {
    wire::RetryPolicy {
        max_attempts: policy.max_attempts,
        strategy: match policy.strategy {
            Strategy::Fixed => wire::RetryStrategy::Fixed,
            Strategy::Linear => wire::RetryStrategy::Linear,
            Strategy::Exponential => wire::RetryStrategy::Exponential,
        },
        base_delay_ms: policy.base_delay_ms,
        factor: policy.factor,
        max_delay_ms: policy.max_delay_ms,
        jitter: match policy.jitter {
            Jitter::None => wire::RetryJitter::None,
            Jitter::Full => wire::RetryJitter::Full,
            Jitter::Equal => wire::RetryJitter::Equal,
            Jitter::Decorrelated => wire::RetryJitter::Decorrelated,
        },
    }
}

/// A job of which nothing is known but what was asked for.
fn asked(spec: &JobSpec, slug: &TenantSlug, now: JobState) -> wire::Job {
    wire::Job {
        id: spec.id.0,
        tenant: slug.as_str().to_owned(),
        queue: spec.queue.as_str().to_owned(),
        kind: spec.kind.as_str().to_owned(),
        state: state(now),
        priority: priority(spec.priority),
        payload: document(&spec.payload),
        labels: spec.labels.clone(),
        target: spec.target.as_ref().map(target),
        retry_policy: retry_policy(&spec.retry_policy),
        timeout_ms: spec.timeout_ms,
        attempts_made: 0,
        progress: wire::Progress::default(),
        result: None,
        last_error: None,
        state_reason: None,
        idempotency_key: spec.idempotency_key.clone(),
        correlation_id: spec.correlation_id.0,
        parent_job_id: spec.parent_job_id.map(|id| id.0),
        rule_id: spec.rule_id.map(|id| id.0),
        firing_id: spec.firing_id.map(|id| id.0),
        worker_id: None,
        created_at: Time(spec.created_at),
        run_at: Time(spec.run_at),
        next_run_at: None,
        started_at: None,
        finished_at: None,
        updated_at: Time(spec.created_at),
    }
}

/// A job.
pub(in super::super) fn job(job: &Job) -> wire::Job {
    let last_end = job.last_attempt.as_ref().and_then(|attempt| attempt.end.as_ref());
    let facts = facts(&job.standing);
    wire::Job {
        attempts_made: job.counters.attempt,
        progress: wire::Progress {
            // What ended well is done, whatever it told on the way.
            percent: if job.standing.state() == JobState::Succeeded { 100 } else { job.progress.percent },
            message: job.progress.message.clone(),
            succeeded: job.progress.succeeded,
            failed: job.progress.failed,
        },
        result: last_end.and_then(|end| end.result.as_ref()).map(document),
        last_error: job.last_error.as_ref().map(attempt_error),
        state_reason: facts.reason,
        worker_id: facts.worker,
        next_run_at: facts.due.map(Time),
        started_at: job.last_attempt.as_ref().map(|attempt| Time(attempt.started_at)),
        finished_at: facts.ended.map(Time),
        updated_at: Time(job.updated_at),
        ..asked(&job.spec, &job.slug, job.standing.state())
    }
}

/// What the standing of a job tells.
#[derive(Default)]
struct Facts {
    due: Option<Timestamp>,
    ended: Option<Timestamp>,
    worker: Option<String>,
    reason: Option<String>,
}

fn facts(standing: &Standing) -> Facts {
    match standing {
        Standing::Waiting { due } | Standing::Pending { due } | Standing::Paused { due, .. } => {
            Facts { due: Some(*due), ..Facts::default() }
        }
        Standing::Scheduled { due, delay } => {
            let reason = match delay {
                Delay::Requested => None,
                Delay::Retry => Some("retry_backoff".to_owned()),
                Delay::Snooze => Some("snoozed".to_owned()),
            };
            Facts { due: Some(*due), reason, ..Facts::default() }
        }
        Standing::Running { worker, cancel, .. } => Facts {
            worker: Some(worker.as_str().to_owned()),
            reason: cancel.as_ref().map(|_| "cancel_requested".to_owned()),
            ..Facts::default()
        },
        Standing::Ended { reason, at, .. } => {
            Facts { ended: Some(*at), reason: reason.clone(), ..Facts::default() }
        }
    }
}

/// A job handed to a worker, with why its attempt before failed.
pub(in super::super) fn claimed(claimed: &ClaimedJob, last_error: Option<&AttemptError>) -> wire::ClaimedJob {
    let lease = &claimed.lease;
    wire::ClaimedJob {
        job: wire::Job {
            attempts_made: lease.counters.attempt,
            worker_id: Some(lease.worker.as_str().to_owned()),
            started_at: Some(Time(lease.started_at)),
            updated_at: Time(lease.started_at),
            last_error: last_error.map(attempt_error),
            ..asked(&claimed.spec, &claimed.slug, JobState::Running)
        },
        lease: wire::LeaseTerms {
            attempt: lease.counters.attempt,
            lease_token: lease.token.to_string(),
            lease_expires_at: Time(claimed.expires_at),
        },
    }
}

fn attempt_error(error: &AttemptError) -> wire::AttemptError {
    wire::AttemptError { kind: error.kind.clone(), message: error.message.clone() }
}

/// An attempt.
pub(in super::super) fn attempt(attempt: &Attempt) -> wire::Attempt {
    let end = attempt.end.as_ref();
    let took = end.map(|end| end.at.micros_since(attempt.started_at).max(0) / 1_000);
    wire::Attempt {
        attempt: attempt.number,
        worker_id: attempt.worker.as_str().to_owned(),
        started_at: Time(attempt.started_at),
        finished_at: end.map(|end| Time(end.at)),
        duration_ms: took.and_then(|took| u64::try_from(took).ok()),
        outcome: end.map(|end| outcome(end.outcome)),
        error: end.and_then(|end| end.error.as_ref()).map(attempt_error),
        result: end.and_then(|end| end.result.as_ref()).map(document),
    }
}

const fn outcome(outcome: Outcome) -> wire::AttemptOutcome {
    match outcome {
        Outcome::Succeeded => wire::AttemptOutcome::Succeeded,
        Outcome::Failed => wire::AttemptOutcome::Failed,
        Outcome::Timeout => wire::AttemptOutcome::Timeout,
        Outcome::LeaseExpired => wire::AttemptOutcome::LeaseExpired,
        Outcome::Interrupted => wire::AttemptOutcome::Interrupted,
        Outcome::Snoozed => wire::AttemptOutcome::Snoozed,
        Outcome::Cancelled => wire::AttemptOutcome::Cancelled,
    }
}

/// An entry of a history.
pub(super) fn event(event: &JobEvent) -> wire::JobEvent {
    wire::JobEvent {
        seq: event.seq,
        kind: event.kind.as_str().to_owned(),
        at: Time(event.at),
        actor: event.actor.as_str().to_owned(),
        data: event.data.clone(),
    }
}
