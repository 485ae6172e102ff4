//! How a running attempt is told to stop, and why.

use std::sync::OnceLock;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Why an attempt is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// Somebody cancelled the job.
    Cancelled,
    /// It took longer than its timeout.
    TimedOut,
    /// The worker has to go.
    Interrupted,
    /// The lease is lost: the attempt is no longer this worker's.
    Lost,
}

/// One running attempt, as those see it who may stop it.
#[derive(Debug, Default)]
pub(crate) struct Control {
    /// What the execution sees. Only the attempt's own supervisor sets it, so that
    /// an execution that sets it itself does not look like one that was stopped.
    pub(crate) cancel: CancellationToken,
    why: OnceLock<Why>,
    told: Notify,
}

impl Control {
    /// Tells the attempt to stop. The first reason stays.
    pub(crate) fn stop(&self, why: Why) {
        if self.why.set(why).is_ok() {
            // Keeps a permit, so a supervisor that does not wait yet misses nothing.
            self.told.notify_one();
        }
    }

    /// Waits until the attempt is told to stop.
    pub(crate) async fn stopped(&self) -> Why {
        loop {
            if let Some(why) = self.why.get() {
                return *why;
            }
            self.told.notified().await;
        }
    }
}
