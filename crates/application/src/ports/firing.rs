//! What every store makes of firings in the same way.

use taskflow_domain::rule::{Health, reason};
use taskflow_domain::{Firing, FiringOutcome, Timestamp};

use super::{Inserted, NewJob};

/// What becomes of a firing when its jobs were inserted with these answers, all
/// or nothing. A store that gets another answer than `true` inserts none of them.
///
/// If all jobs exist already, the firing did nothing: SKIPPED, `duplicate`.
pub fn settle_firing(firing: &mut Firing, jobs: &[NewJob], answers: &[Inserted]) -> bool {
    let mut refuse = |outcome, why: &str, detail: String| {
        firing.outcome = outcome;
        firing.reason = Some(why.to_owned());
        firing.detail = Some(detail);
        firing.jobs.clear();
        false
    };
    for answer in answers {
        match answer {
            Inserted::BacklogFull(most) => {
                let detail = format!("the tenant may have at most {most} jobs waiting");
                return refuse(FiringOutcome::Blocked, reason::BACKLOG_CAP, detail);
            }
            Inserted::KeyReused(job) => {
                let detail = format!("the idempotency key belongs to job {job}");
                return refuse(FiringOutcome::Error, reason::KEY_REUSED, detail);
            }
            Inserted::New | Inserted::Existing(_) => {}
        }
    }
    let id = |(job, answer): (&NewJob, &Inserted)| match answer {
        Inserted::Existing(job) => *job,
        _ => job.spec.id,
    };
    firing.jobs = jobs.iter().zip(answers).map(id).collect();
    if !jobs.is_empty() && answers.iter().all(|answer| matches!(answer, Inserted::Existing(_))) {
        firing.outcome = FiringOutcome::Skipped;
        firing.reason = Some(reason::DUPLICATE.to_owned());
    }
    true
}

/// What firings change of their rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RuleTally {
    /// Errors at the end of the row.
    pub errors: u32,
    /// Whether something else than an error stands before them.
    pub broken: bool,
    /// When the last of the others was.
    pub good_at: Option<Timestamp>,
    /// When the first error of the last row was.
    pub failed_at: Option<Timestamp>,
    /// When the last firing was.
    pub last_at: Timestamp,
    /// What it came to.
    pub last: Option<FiringOutcome>,
    /// Jobs made.
    pub jobs: u64,
}

impl RuleTally {
    /// Adds a firing that made `jobs` jobs.
    pub fn add(&mut self, firing: &Firing, jobs: u64) {
        if firing.outcome == FiringOutcome::Error {
            self.errors += 1;
            self.failed_at.get_or_insert(firing.at);
        } else {
            (self.errors, self.broken, self.failed_at) = (0, true, None);
            self.good_at = Some(firing.at);
        }
        (self.last_at, self.last) = (firing.at, Some(firing.outcome));
        self.jobs += jobs;
    }

    /// The rule's health after these firings.
    pub fn health(&self, before: Health) -> Health {
        let failing_before = if self.broken { None } else { before.failing_since };
        Health {
            streak: if self.broken { self.errors } else { before.streak.saturating_add(self.errors) },
            failing_since: self.failed_at.map(|at| failing_before.unwrap_or(at)),
            recovered_at: match self.good_at {
                Some(at) if before.streak > 0 => Some(at),
                _ => before.recovered_at,
            },
            last_at: Some(self.last_at),
            last_outcome: self.last,
        }
    }
}
