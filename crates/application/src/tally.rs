//! What happened, by minute: counted in this process as it happens, and written
//! away in batches.
//!
//! Counting takes a lock for a moment and no query. What a process has counted
//! and not yet written is lost when it is killed: at most the last seconds, and
//! only of these figures. Depths and limits stand on rows, not on this.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metrics::counter;
use taskflow_domain::spread::Spread;
use taskflow_domain::{JobSpec, JobState, Kind, Lease, QueueName, TenantId, Timestamp};

use crate::meter;

/// A minute, in microseconds: what figures are counted by.
pub const MINUTE_US: i64 = 60_000_000;
/// So many subjects are kept between two writes. What comes beyond is not
/// counted, and that is.
const MOST_SUBJECTS: usize = 50_000;

/// Whose figures, and of which minute.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subject {
    /// The beginning of the minute.
    pub minute: Timestamp,
    /// Whose jobs.
    pub tenant: TenantId,
    /// In which queue.
    pub queue: QueueName,
    /// Of which kind.
    pub kind: Kind,
}

impl Subject {
    /// What a job counts for when it is accepted.
    pub fn of(spec: &JobSpec) -> Self {
        Self {
            minute: minute_of(spec.created_at),
            tenant: spec.tenant,
            queue: spec.queue.clone(),
            kind: spec.kind.clone(),
        }
    }
}

/// How often what happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Jobs accepted.
    pub created: u64,
    /// Attempts begun.
    pub started: u64,
    /// Jobs that ended SUCCEEDED.
    pub succeeded: u64,
    /// Jobs that ended FAILED.
    pub failed: u64,
    /// Jobs that ended DEAD.
    pub dead: u64,
    /// Jobs that ended CANCELLED.
    pub cancelled: u64,
    /// Attempts that were followed by another.
    pub retried: u64,
    /// Time from due to start, over all starts, in microseconds.
    pub wait_us: u64,
    /// Time that attempts took, over all that ended and were not cancelled, in microseconds.
    pub run_us: u64,
}

impl Counts {
    /// Adds `other`.
    pub fn add(&mut self, other: &Self) {
        self.created += other.created;
        self.started += other.started;
        self.succeeded += other.succeeded;
        self.failed += other.failed;
        self.dead += other.dead;
        self.cancelled += other.cancelled;
        self.retried += other.retried;
        self.wait_us += other.wait_us;
        self.run_us += other.run_us;
    }

    /// Attempts that ended and were not cancelled. A job may be cancelled without one.
    pub const fn ran(&self) -> u64 {
        self.succeeded + self.failed + self.dead + self.retried
    }

    /// Jobs that ended.
    pub const fn ended(&self) -> u64 {
        self.succeeded + self.failed + self.dead + self.cancelled
    }

    /// The share of the jobs that ended which ended well, leaving aside those
    /// that somebody cancelled; `None` if none ended.
    pub fn success_rate(&self) -> Option<f64> {
        let judged = self.succeeded + self.failed + self.dead;
        (judged > 0).then(|| self.succeeded as f64 / judged as f64)
    }
}

/// How long starts of a queue waited and attempts of it ran, in one minute.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Durations {
    /// From due to started.
    pub wait: Spread,
    /// From started to ended.
    pub run: Spread,
}

/// What was counted since the last write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// By subject.
    pub counts: BTreeMap<Subject, Counts>,
    /// By minute and queue.
    pub durations: BTreeMap<(Timestamp, QueueName), Durations>,
}

impl Batch {
    /// Whether nothing happened.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty() && self.durations.is_empty()
    }

    fn counts(&mut self, subject: Subject) -> Option<&mut Counts> {
        if self.counts.len() >= MOST_SUBJECTS && !self.counts.contains_key(&subject) {
            counter!(meter::STATS_DROPPED).increment(1);
            return None;
        }
        Some(self.counts.entry(subject).or_default())
    }

    fn durations(&mut self, at: Timestamp, queue: &QueueName) -> Option<&mut Durations> {
        let key = (minute_of(at), queue.clone());
        if self.durations.len() >= MOST_SUBJECTS && !self.durations.contains_key(&key) {
            return None;
        }
        Some(self.durations.entry(key).or_default())
    }
}

/// The beginning of the minute of `at`.
pub fn minute_of(at: Timestamp) -> Timestamp {
    Timestamp::from_micros(at.micros() - at.micros().rem_euclid(MINUTE_US))
}

/// What this process counted and has not written away yet.
#[derive(Clone, Debug, Default)]
pub struct Tally(Arc<Mutex<Batch>>);

impl Tally {
    fn batch(&self) -> MutexGuard<'_, Batch> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Jobs were accepted.
    pub fn created<'a>(&self, jobs: impl Iterator<Item = &'a Subject>) {
        let mut batch = self.batch();
        for subject in jobs {
            if let Some(counts) = batch.counts(subject.clone()) {
                counts.created += 1;
            }
        }
    }

    /// Attempts began.
    pub fn started<'a>(&self, leases: impl Iterator<Item = &'a Lease>) {
        let mut batch = self.batch();
        for lease in leases {
            let wait_us = lease.started_at.micros_since(lease.due).max(0);
            if let Some(counts) = batch.counts(subject(lease, lease.started_at)) {
                counts.started += 1;
                counts.wait_us += wait_us.unsigned_abs();
            }
            if let Some(durations) = batch.durations(lease.started_at, &lease.queue) {
                durations.wait.record(wait_us);
            }
        }
    }

    /// Attempts ended: of which lease, when, after how much time, and the state that followed.
    pub fn ended<'a>(&self, ends: impl Iterator<Item = (&'a Lease, Timestamp, i64, JobState)>) {
        let mut batch = self.batch();
        for (lease, at, took_us, then) in ends {
            let took_us = took_us.max(0);
            if let Some(counts) = batch.counts(subject(lease, at)) {
                if then != JobState::Cancelled {
                    counts.run_us += took_us.unsigned_abs();
                }
                match then {
                    JobState::Succeeded => counts.succeeded += 1,
                    JobState::Failed => counts.failed += 1,
                    JobState::Dead => counts.dead += 1,
                    JobState::Cancelled => counts.cancelled += 1,
                    _ => counts.retried += 1,
                }
            }
            if let Some(durations) = batch.durations(at, &lease.queue) {
                durations.run.record(took_us);
            }
        }
    }

    /// A job was cancelled while it did not run.
    pub fn cancelled(&self, subject: Subject) {
        if let Some(counts) = self.batch().counts(subject) {
            counts.cancelled += 1;
        }
    }

    /// Takes what was counted since the last call.
    pub fn take(&self) -> Batch {
        std::mem::take(&mut *self.batch())
    }

    /// Puts back what could not be written.
    pub fn put_back(&self, taken: Batch) {
        let mut batch = self.batch();
        for (subject, counts) in taken.counts {
            if let Some(own) = batch.counts(subject) {
                own.add(&counts);
            }
        }
        for ((minute, queue), durations) in taken.durations {
            let Some(own) = batch.durations(minute, &queue) else { continue };
            durations.wait.bins().for_each(|(bin, n)| own.wait.add(bin, n));
            durations.run.bins().for_each(|(bin, n)| own.run.add(bin, n));
        }
    }
}

fn subject(lease: &Lease, at: Timestamp) -> Subject {
    Subject {
        minute: minute_of(at),
        tenant: lease.tenant,
        queue: lease.queue.clone(),
        kind: lease.kind.clone(),
    }
}
