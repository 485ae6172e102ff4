//! The end of an attempt: what becomes of the job, and what it is charged.

use super::{Decision, FREE_INTERRUPTIONS, FREE_SNOOZES, Guard, JobChange, POISON_AT, Report, Verdict};
use crate::attempt::{Attempt, AttemptEnd, AttemptError, Outcome};
use crate::fair;
use crate::job::{Counters, Delay, Json, Standing};
use crate::lease::Lease;
use crate::retry::RetryPolicy;
use crate::state::JobState;
use crate::time::Timestamp;

/// Jobs that were lost twice in a row come back so far apart.
const LOST_APART_MS: f64 = 250.0;
/// How many times for coming back there are: none waits for more than half a minute.
const LOST_PLACES: u32 = 120;

/// Where a job goes after an attempt.
struct Next {
    standing: Standing,
    counters: Counters,
    reason: Option<&'static str>,
}

/// Ends the attempt under `lease` as `report` says.
///
/// Where somebody asked for the job's end, an attempt that did not succeed ends
/// the job, and only a success is stronger than the request.
pub fn settle(lease: &Lease, report: Report) -> JobChange {
    let Report { verdict, at, took_us, random, place } = report;
    let next = next_place(lease, &verdict, at, random, place);
    let (outcome, error, result) = outcome_of(verdict);
    let next_run_at = match next.standing {
        Standing::Scheduled { due, .. } | Standing::Pending { due } => Some(due),
        _ => None,
    };
    let end = AttemptEnd {
        at,
        outcome,
        error,
        result,
        then: next.standing.state(),
        next_run_at,
        reason: next.reason,
    };
    let unless_cancelled = lease.cancel.is_none() && !next.standing.state().is_terminal();
    JobChange {
        tenant: lease.tenant,
        job: lease.job,
        guard: Guard::Lease { token: lease.token, unless_cancelled },
        decision: Decision::Move(next.standing),
        counters: next.counters,
        edit: None,
        attempt: Some(Attempt {
            number: lease.counters.attempt,
            worker: lease.worker.clone(),
            token: lease.token,
            started_at: lease.started_at,
            end: Some(end),
        }),
        settle_us: fair::correction_us(lease.charged_us, took_us),
        event: None,
        at,
    }
}

fn next_place(lease: &Lease, verdict: &Verdict, at: Timestamp, random: f64, place: u32) -> Next {
    let mut counters = lease.counters;
    if !matches!(verdict, Verdict::Lost) {
        counters.lost = 0;
    }
    let ended = |counters, state, reason: Option<&'static str>| Next {
        standing: Standing::Ended { state, reason: reason.map(Into::into), at },
        counters,
        reason,
    };
    let again = |counters, after_ms: u64, delay| {
        let due = at.plus_millis(i64::try_from(after_ms).unwrap_or(i64::MAX));
        Next { standing: Standing::due_at(due, delay, at), counters, reason: None }
    };
    let cancelled = lease.cancel.is_some();
    match verdict {
        Verdict::Succeeded { .. } => ended(counters, JobState::Succeeded, None),
        Verdict::Cancelled => ended(counters, JobState::Cancelled, Some("cancelled")),
        _ if cancelled => ended(counters, JobState::Cancelled, Some("cancelled")),
        Verdict::Failed { permanent: true, .. } => {
            ended(counters, JobState::Failed, Some("permanent_failure"))
        }
        Verdict::Interrupted if counters.interrupted < FREE_INTERRUPTIONS => {
            counters.interrupted += 1;
            counters.spent = counters.spent.saturating_sub(1);
            again(counters, 0, Delay::Retry)
        }
        Verdict::Snoozed { for_ms } if counters.snoozed < FREE_SNOOZES => {
            counters.snoozed += 1;
            counters.spent = counters.spent.saturating_sub(1);
            again(counters, (*for_ms).min(RetryPolicy::LONGEST_DELAY_MS), Delay::Snooze)
        }
        Verdict::Lost => {
            counters.lost += 1;
            if counters.lost >= POISON_AT {
                ended(counters, JobState::Dead, Some("poison"))
            } else if counters.spent >= lease.retry_policy.max_attempts {
                ended(counters, JobState::Dead, Some("attempts_exhausted"))
            } else {
                let after_ms = if counters.lost > 1 { apart_ms(place, random) } else { 0 };
                again(counters, after_ms, Delay::Retry)
            }
        }
        _ if counters.spent >= lease.retry_policy.max_attempts => {
            ended(counters, JobState::Dead, Some("attempts_exhausted"))
        }
        Verdict::Failed { retry_after_ms: Some(ms), .. } => {
            again(counters, (*ms).min(RetryPolicy::LONGEST_DELAY_MS), Delay::Retry)
        }
        Verdict::Snoozed { for_ms } => {
            again(counters, (*for_ms).min(RetryPolicy::LONGEST_DELAY_MS), Delay::Snooze)
        }
        _ => again(counters, lease.retry_policy.delay_ms(counters.spent, random), Delay::Retry),
    }
}

/// Jobs that were lost together once may be lost for the sake of one of them. The
/// second time they come back one by one, so that a job that kills its worker does not
/// take the same others with it each time; by half a step at random, since others may
/// be taken back elsewhere at the same moment.
fn apart_ms(place: u32, random: f64) -> u64 {
    ((f64::from(place % LOST_PLACES) + random / 2.0) * LOST_APART_MS) as u64
}

fn outcome_of(verdict: Verdict) -> (Outcome, Option<AttemptError>, Option<Json>) {
    let error = |kind: &str, message: String| Some(AttemptError { kind: kind.into(), message });
    match verdict {
        Verdict::Succeeded { result } => (Outcome::Succeeded, None, result),
        Verdict::Failed { error, result, .. } => (Outcome::Failed, Some(error), result),
        Verdict::TimedOut { after_ms } => {
            (Outcome::Timeout, error("timeout", format!("the attempt took longer than {after_ms} ms")), None)
        }
        Verdict::Interrupted => {
            (Outcome::Interrupted, error("interrupted", "the worker was shut down".into()), None)
        }
        Verdict::Snoozed { .. } => (Outcome::Snoozed, None, None),
        Verdict::Cancelled => (Outcome::Cancelled, None, None),
        Verdict::Lost => (
            Outcome::LeaseExpired,
            error("lease_expired", "the worker stopped extending its lease".into()),
            None,
        ),
    }
}
