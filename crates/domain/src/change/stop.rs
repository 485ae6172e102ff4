//! The end without success as a worker on the network tells it.
//!
//! Such a worker learns by heartbeats that it should stop, and not why. What its
//! stop means, a cancel, a timeout or a failure, is decided by what the engine
//! knows of the lease.

use super::Verdict;
use crate::attempt::AttemptError;
use crate::lease::Lease;
use crate::time::Timestamp;

/// How an attempt ended without success.
#[derive(Clone, Debug, PartialEq)]
pub enum Stop {
    /// The worker tells only the error: it stopped because it was told to, if it
    /// was, and else it failed.
    Ended {
        /// Why.
        error: AttemptError,
        /// Whether a retry is pointless.
        permanent: bool,
        /// When it wants to be tried again, in milliseconds from now.
        retry_after_ms: Option<u64>,
    },
    /// It failed, whatever it was told.
    Failed {
        /// Why.
        error: AttemptError,
        /// Whether a retry is pointless.
        permanent: bool,
        /// When it wants to be tried again, in milliseconds from now.
        retry_after_ms: Option<u64>,
    },
    /// It stopped because it was told to.
    Told,
    /// Its worker has to go.
    Interrupted,
    /// It wants to be run later.
    Snoozed {
        /// How much later, in milliseconds.
        for_ms: u64,
    },
}

impl Stop {
    /// What this says of the attempt under `lease` at `now`.
    pub fn verdict(self, lease: &Lease, now: Timestamp) -> Verdict {
        let failed = |error, permanent, retry_after_ms| Verdict::Failed {
            error,
            result: None,
            permanent,
            retry_after_ms,
        };
        let told = told_to_stop(lease, now);
        match self {
            Self::Interrupted => Verdict::Interrupted,
            Self::Snoozed { for_ms } => Verdict::Snoozed { for_ms },
            Self::Failed { error, permanent, retry_after_ms } => failed(error, permanent, retry_after_ms),
            Self::Ended { error, permanent, retry_after_ms } => {
                told.filter(|_| !permanent).unwrap_or_else(|| failed(error, permanent, retry_after_ms))
            }
            Self::Told => told.unwrap_or_else(|| {
                let message = "the worker stopped although nobody had asked it to".to_owned();
                failed(AttemptError { kind: "stopped".into(), message }, false, None)
            }),
        }
    }
}

/// How an attempt ends that stops because it was told to; `None` if it was not.
fn told_to_stop(lease: &Lease, now: Timestamp) -> Option<Verdict> {
    if lease.cancel.is_some() {
        Some(Verdict::Cancelled)
    } else if now >= lease.timeout_at() {
        Some(Verdict::TimedOut { after_ms: lease.timeout_ms })
    } else {
        None
    }
}
