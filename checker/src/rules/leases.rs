//! C6: a job never has two live leases.

use std::collections::BTreeMap;

use super::Found;
use crate::Lives;
use crate::history::LeaseRow;

pub(super) fn do_not_overlap(lives: &Lives<'_>, found: &mut Found) {
    for (row, life) in lives.existing() {
        for pair in life.attempts.windows(2) {
            let (first, second) = (pair[0], pair[1]);
            match first.ended_at {
                None => found.add(format!(
                    "attempt {} of {} has not ended, and attempt {} has begun",
                    first.number, row.job, second.number
                )),
                Some(ended) if second.started_at < ended - lives.slack() => found.add(format!(
                    "attempt {} of {} began at {}, before attempt {} ended at {ended}",
                    second.number, row.job, second.started_at, first.number
                )),
                Some(_) => {}
            }
            if fence(&first.token) >= fence(&second.token) {
                found.add(format!(
                    "the token of attempt {} of {} is not greater than the one before",
                    second.number, row.job
                ));
            }
        }
        for attempt in &life.attempts {
            let Some(ended) =
                attempt.ended_at.filter(|_| attempt.outcome.as_deref() == Some("LEASE_EXPIRED"))
            else {
                continue;
            };
            // A beat just before may not have been seen yet, and a leave just before ended it.
            let about = [ended - lives.slack(), ended + lives.slack()];
            let until = about.iter().filter_map(|at| lives.lease_end(attempt, *at)).min();
            if let Some(until) = until.filter(|until| *until > ended + lives.slack()) {
                found.add(format!(
                    "the lease of attempt {} of {} was taken back at {ended} and lasted until {until}",
                    attempt.number, row.job
                ));
            }
        }
    }
    grants_are_attempts(lives, found);
    one_grant_at_a_time(lives, found);
}

/// The order of tokens.
fn fence(token: &str) -> u64 {
    u64::from_str_radix(token, 16).unwrap_or_default()
}

fn grants_are_attempts(lives: &Lives<'_>, found: &mut Found) {
    for lease in &lives.history.leases {
        let LeaseRow::Grant { at, job, token, worker, .. } = lease else { continue };
        let Some(life) = lives.jobs.get(job.as_str()).filter(|life| life.row.is_some()) else { continue };
        let same = life.attempts.iter().filter(|attempt| attempt.token == *token);
        match same.clone().count() {
            0 => found
                .add(format!("{worker} was given {job} at {at} under {token}, which is no attempt of it")),
            1 if same.clone().all(|attempt| attempt.worker == *worker) => {}
            1 => found.add(format!("{worker} was given {job} under {token}, the token of another worker")),
            _ => found.add(format!("{token} is the token of more than one attempt of {job}")),
        }
    }
}

/// In the order of the commits, where the ends are known too.
fn one_grant_at_a_time(lives: &Lives<'_>, found: &mut Found) {
    let ends_are_known = lives.history.leases.iter().any(|lease| matches!(lease, LeaseRow::End { .. }));
    let mut open: BTreeMap<&str, &str> = BTreeMap::new();
    for lease in lives.history.leases.iter().filter(|_| ends_are_known) {
        match lease {
            LeaseRow::Grant { at, job, token, .. } => {
                if let Some(other) = open.insert(job, token) {
                    found.add(format!(
                        "{job} was given out under {token} at {at} while {other} had not ended"
                    ));
                }
            }
            LeaseRow::End { job, token, .. } => {
                if open.get(job.as_str()) == Some(&token.as_str()) {
                    open.remove(job.as_str());
                }
            }
            LeaseRow::Extend { .. } | LeaseRow::Beat { .. } => {}
        }
    }
}
