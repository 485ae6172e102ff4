//! Defects of the kind that queues have really had, each switched on by name, to
//! show that the suites would see them. They stand around a store or in the
//! simulation's own parts; the engine itself knows nothing of them.

mod jobs;
mod rest;
mod rules;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use taskflow_application::ports::{NewJob, Stores};
use taskflow_domain::{ClaimedJob, WorkerName};

/// A defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bug {
    /// The reaper takes back a job whatever has become of it since it looked.
    UnguardedReaper,
    /// An attempt whose worker was lost is not counted.
    LossNotCounted,
    /// A claim takes as many jobs as the cap says, whatever runs already.
    PositionalCap,
    /// Nobody looks for work without being told of it.
    NewsOnly,
    /// Leases are taken back as soon as the store is back.
    NoGrace,
    /// A submit is acknowledged before it is written.
    AckBeforeCommit,
    /// Idempotency keys are not kept.
    LostIdempotency,
    /// Two workers are given one job.
    DoubleLease,
    /// A claim leaves the job among those that can be claimed.
    UnfinishedClaim,
    /// A report counts whatever its token is.
    StaleTokenAccepted,
    /// A job is tried again although its end was asked for.
    CancelForgotten,
    /// A change takes two numbers of the history.
    SeqGap,
    /// One attempt more than the budget allows.
    BudgetOffByOne,
    /// Scheduled jobs are due too early.
    EarlyPromotion,
    /// The leases that a worker's own lease covers are never taken back.
    ForgottenLeases,
    /// A lease is written shorter than it was promised.
    ShortLease,
    /// The starts of a rate limit are not counted.
    RateNotSpent,
    /// Where it is unknown whether a commit happened, the caller is told that it did not.
    UnknownToldAsFailed,
    /// A counter counts one thing too many.
    CounterDrift,
    /// Of a batch of reports only the first is written, and all are acknowledged.
    HalfABatch,
    /// A due occurrence is fired by everybody who saw that it was due.
    OccurrenceWithoutRow,
    /// Events are followed by their numbers, and one that commits late is passed over.
    CursorBySequence,
    /// How far a fan-out got is written apart from what it made.
    FanOutForgets,
    /// A delivery that comes again is not known again.
    DeliveryNotKnownAgain,
    /// Nothing tells of occurrences that were given up.
    MissedUntold,
    /// Each statement of a submit commits by itself: of one that is cut short the
    /// job is left without its key.
    SubmitInParts,
    /// A request that is cut short leaves its transaction open, and what the next
    /// one writes on that connection is thrown away.
    LeakedTransaction,
}

impl Bug {
    /// All defects.
    pub const ALL: [Self; 27] = [
        Self::UnguardedReaper,
        Self::LossNotCounted,
        Self::PositionalCap,
        Self::NewsOnly,
        Self::NoGrace,
        Self::AckBeforeCommit,
        Self::LostIdempotency,
        Self::DoubleLease,
        Self::UnfinishedClaim,
        Self::StaleTokenAccepted,
        Self::CancelForgotten,
        Self::SeqGap,
        Self::BudgetOffByOne,
        Self::EarlyPromotion,
        Self::ForgottenLeases,
        Self::ShortLease,
        Self::RateNotSpent,
        Self::UnknownToldAsFailed,
        Self::CounterDrift,
        Self::HalfABatch,
        Self::OccurrenceWithoutRow,
        Self::CursorBySequence,
        Self::FanOutForgets,
        Self::DeliveryNotKnownAgain,
        Self::MissedUntold,
        Self::SubmitInParts,
        Self::LeakedTransaction,
    ];
}

/// The stores with the defect, or as they are.
pub fn plant(inner: Stores, bug: Option<Bug>) -> Stores {
    let Some(bug) = bug else { return inner };
    let planted = Arc::new(Planted { inner: inner.clone(), bug, kept: Mutex::default() });
    Stores {
        jobs: planted.clone(),
        queues: planted.clone(),
        workers: planted.clone(),
        rules: planted.clone(),
        events: planted,
        ..inner
    }
}

/// Stores with a defect.
struct Planted {
    inner: Stores,
    bug: Bug,
    kept: Mutex<Kept>,
}

/// What a defect remembers.
#[derive(Default)]
struct Kept {
    claims: u64,
    given: Option<(WorkerName, ClaimedJob)>,
    unwritten: Vec<NewJob>,
    steps: u64,
    cursor: i64,
}

impl Planted {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is(&self, bug: Bug) -> bool {
        self.bug == bug
    }
}
