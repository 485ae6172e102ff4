//! C15: lost workers are noticed in time, and only lost ones are.

use super::Found;
use crate::Lives;
use crate::history::{AttemptRow, Fault, JobRow};

const EXPIRED: &str = "LEASE_EXPIRED";

pub(super) fn is_bounded(lives: &Lives<'_>, found: &mut Found) {
    for (row, life) in lives.existing() {
        for attempt in &life.attempts {
            let ended = attempt.ended_at.unwrap_or(lives.history.run.ended_at);
            in_time(lives, row, attempt, ended, found);
            if attempt.outcome.as_deref() == Some(EXPIRED) {
                not_in_grace(lives, row, attempt, ended, found);
            }
        }
    }
}

/// No attempt outlives its lease for longer than the bound.
fn in_time(lives: &Lives<'_>, row: &JobRow, attempt: &AttemptRow, ended: i64, found: &mut Found) {
    let run = &lives.history.run;
    let Some(until) = lives.lease_end(attempt, ended.saturating_add(lives.slack())) else { return };
    let late = ended.saturating_sub(until);
    let allowed = run.reap_bound_us + run.clock_slack_us + lives.outages_within(until, ended);
    if late > allowed {
        let how = attempt.outcome.as_deref().unwrap_or("still running");
        found.add(format!(
            "the lease of attempt {} of {} ended at {until}; {late} us later it was {how} (allowed: {allowed})",
            attempt.number, row.job
        ));
    }
}

/// After an outage every lease is left alone for the time of one lease, because
/// no worker could extend its own; those of workers that were gone all the same.
fn not_in_grace(lives: &Lives<'_>, row: &JobRow, attempt: &AttemptRow, ended: i64, found: &mut Found) {
    let lease_us = lives.history.run.lease_us;
    for fault in &lives.history.faults {
        let Fault::Outage { from, to } = fault else { continue };
        // A short outage is not felt by leases that are extended in time.
        let felt = to - from > lease_us / 2;
        if felt && attempt.started_at < *to && ended >= *to && ended < to + lease_us - lives.slack() {
            found.add(format!(
                "attempt {} of {} was taken back at {ended}, in the grace after the outage that ended at {to}",
                attempt.number, row.job
            ));
        }
    }
}
