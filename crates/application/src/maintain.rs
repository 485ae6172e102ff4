//! What keeps the engine going besides claims: steps that take no input, may be
//! repeated at any time by any number of processes, and say what they did.

use std::sync::{Mutex, PoisonError};

use metrics::counter;
use taskflow_domain::{JobState, Timestamp, Verdict};

use crate::World;
use crate::meter;
use crate::ports::{Discrepancies, StoreResult, Topic};
use crate::work::{Ended, Settled, Work};

/// Leases taken back in one step.
const REAP_STEP: u32 = 500;
/// Jobs made claimable in one step.
const PROMOTE_STEP: u32 = 1_000;
/// Jobs deleted in one step.
const PRUNE_STEP: u32 = 500;
/// How long an idempotency key is good for at least, in milliseconds.
const KEY_LIFE_MS: i64 = 24 * 3_600_000;

/// How long ended jobs are kept, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// SUCCEEDED.
    pub succeeded_ms: i64,
    /// FAILED.
    pub failed_ms: i64,
    /// DEAD.
    pub dead_ms: i64,
    /// CANCELLED.
    pub cancelled_ms: i64,
}

impl Default for Retention {
    /// A week for what went well, thirty days for what somebody may still ask about.
    fn default() -> Self {
        const DAY: i64 = 24 * 3_600_000;
        Self { succeeded_ms: 7 * DAY, failed_ms: 30 * DAY, dead_ms: 30 * DAY, cancelled_ms: 30 * DAY }
    }
}

/// Waiting after an outage of the database.
///
/// While nobody could reach the database, no worker could extend its lease, so
/// afterwards every lease looks expired although its worker lives. Whoever
/// notices that it was cut off leaves all leases alone for the time of one lease.
/// So does whoever has just begun: it cannot know what was before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutageGrace {
    last_contact: Option<Timestamp>,
    until: Option<Timestamp>,
}

impl OutageGrace {
    /// Notes contact at `now`, and says whether leases may be taken back. A gap of
    /// more than half a lease since the contact before counts as an outage. Calls
    /// that fail now and then between others do not: workers extend their leases
    /// in the same gaps, and a database that sometimes fails must not keep the
    /// leases of the dead for ever.
    pub fn contact(&mut self, now: Timestamp, lease_ms: i64) -> bool {
        if self.last_contact.is_none_or(|last| now.micros_since(last) > lease_ms * 500) {
            self.until = Some(now.plus_millis(lease_ms));
        }
        self.last_contact = Some(now);
        self.until.is_none_or(|until| now >= until)
    }
}

/// What a step did, and whether there is more to do at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// How many jobs it changed.
    pub jobs: u32,
    /// Whether the next step should follow at once.
    pub more: bool,
    /// When the next step is due at the latest, if that is known.
    pub next: Option<Timestamp>,
}

/// What keeps the engine going.
pub struct Maintain {
    world: World,
    work: Work,
    retention: Retention,
    lease_ms: i64,
    grace: Mutex<OutageGrace>,
}

impl Maintain {
    /// The steps over `world`, with leases of `lease_ms`.
    pub fn new(world: World, retention: Retention, lease_ms: u64) -> Self {
        Self {
            work: Work::new(world.clone()),
            world,
            retention,
            lease_ms: i64::try_from(lease_ms).unwrap_or(i64::MAX),
            grace: Mutex::default(),
        }
    }

    /// Asks the database for nothing but a sign of life. Who takes leases back only
    /// now and then would call each gap between two times an outage.
    pub async fn keep_contact(&self) -> StoreResult<Step> {
        self.world.stores.jobs.expired(self.world.clock.now(), 1).await?;
        self.contact();
        Ok(Step::default())
    }

    /// Notes contact, at the time of the answer: the question may have hung through an
    /// outage. Says whether leases may be taken back.
    fn contact(&self) -> bool {
        let now = self.world.clock.now();
        self.grace.lock().unwrap_or_else(PoisonError::into_inner).contact(now, self.lease_ms)
    }

    /// Takes back leases that expired, unless the database was away just now.
    pub async fn reap(&self) -> StoreResult<Step> {
        let now = self.world.clock.now();
        let expired = self.world.stores.jobs.expired(now, REAP_STEP).await?;
        if !self.contact() || expired.is_empty() {
            return Ok(Step::default());
        }
        let end = |lease: taskflow_domain::Lease| {
            let took_us = now.micros_since(lease.started_at);
            let verdict = lease.unanswered();
            let why = match verdict {
                Verdict::Lost => "lease expired: the worker is lost",
                _ => "the attempt took too long, and its worker did not stop it",
            };
            tracing::warn!(
                job.id = %lease.job,
                worker.name = %lease.worker,
                attempt.number = lease.counters.attempt,
                "{why}",
            );
            Ended { lease, verdict, took_us }
        };
        let more = expired.len() == REAP_STEP as usize;
        let ended: Vec<_> = expired.into_iter().map(end).collect();
        let settled = self.work.settle_lapsed(&ended).await?;
        let done = || ended.iter().zip(&settled).filter(|(_, settled)| **settled != Settled::LeaseLost);
        let lost = done().filter(|(end, _)| end.verdict == Verdict::Lost).count();
        counter!(meter::LEASES_EXPIRED).increment(lost as u64);
        let jobs = done().count() as u32;
        Ok(Step { jobs, more, next: None })
    }

    /// Makes scheduled jobs that are due claimable.
    pub async fn promote(&self) -> StoreResult<Step> {
        let promoted = self.world.stores.jobs.promote(self.world.clock.now(), PROMOTE_STEP).await?;
        if promoted.jobs > 0 {
            self.world.wakeups.nudge(Topic::Work);
        }
        Ok(Step { jobs: promoted.jobs, more: promoted.jobs == PROMOTE_STEP, next: promoted.next_due })
    }

    /// Deletes jobs that ended long enough ago, a few of each state.
    pub async fn prune(&self) -> StoreResult<Step> {
        let now = self.world.clock.now();
        let Retention { succeeded_ms, failed_ms, dead_ms, cancelled_ms } = self.retention;
        let mut step = Step::default();
        for (state, age_ms) in [
            (JobState::Succeeded, succeeded_ms),
            (JobState::Failed, failed_ms),
            (JobState::Dead, dead_ms),
            (JobState::Cancelled, cancelled_ms),
        ] {
            let (before, keys_before) = (now.plus_millis(-age_ms), now.plus_millis(-KEY_LIFE_MS));
            let jobs = self.world.stores.jobs.prune(state, before, keys_before, PRUNE_STEP).await?;
            step.jobs += jobs;
            step.more |= jobs == PRUNE_STEP;
        }
        counter!(meter::JOBS_PRUNED).increment(u64::from(step.jobs));
        Ok(step)
    }

    /// Compares caches with the truth, mends them, and forgets workers long gone.
    pub async fn sweep(&self) -> StoreResult<Discrepancies> {
        let now = self.world.clock.now();
        let found = self.world.stores.jobs.sweep(now).await?;
        for (what, count) in [
            ("sleeping_lanes", found.sleeping_lanes),
            ("blocked_lanes", found.blocked_lanes),
            ("counters", found.counters),
        ] {
            counter!(meter::DISCREPANCIES, "what" => what).increment(count);
        }
        if found != Discrepancies::default() {
            tracing::warn!(?found, "the sweep mended discrepancies");
            self.world.wakeups.nudge(Topic::Work);
        }
        self.world.stores.workers.forget(now.plus_millis(-10 * self.lease_ms.max(60_000))).await?;
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grace_follows_an_outage_and_only_that() {
        let at = |ms: i64| Timestamp::from_micros(0).plus_millis(ms);
        let mut grace = OutageGrace::default();
        assert!(!grace.contact(at(0), 1_000), "nobody knows what was before the first contact");
        assert!(!grace.contact(at(400), 1_000));
        assert!(!grace.contact(at(800), 1_000));
        assert!(grace.contact(at(1_000), 1_000), "one lease later it is over");
        assert!(!grace.contact(at(2_600), 1_000), "a gap is an outage");
        assert!(!grace.contact(at(3_000), 1_000));
        assert!(!grace.contact(at(3_500), 1_000));
        assert!(grace.contact(at(3_600), 1_000), "one lease later it is over");
        assert!(grace.contact(at(4_100), 1_000), "what lies between may have failed");
    }
}
