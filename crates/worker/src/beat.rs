//! Keeping the leases, and learning which are lost or cancelled.
//!
//! One heartbeat extends all leases of the worker and lists them. It runs in a
//! task of its own, never behind a claim or a report, and on the worker's runtime,
//! never behind an execution (see [`crate::Placement`]).
//!
//! If no heartbeat has succeeded for one lease, counted from before it was sent,
//! the worker must believe that its jobs run elsewhere. It stops all of them,
//! drops every report, and claims nothing until a heartbeat succeeds again.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::backoff::Backoff;
use crate::control::Why;
use crate::shared::Shared;
use crate::source::{Held, SourceError};
use crate::tenure::Stamp;

/// No two heartbeats are further apart.
const LONGEST_INTERVAL: Duration = Duration::from_secs(2);
/// How often the worker looks whether it may still believe in its leases.
const WATCH: Duration = Duration::from_millis(500);
/// Heartbeats for the sake of cancels are at least this far apart, so that a
/// thousand cancels do not make a thousand heartbeats.
const SPACING: Duration = Duration::from_millis(50);

/// Beats until it is dropped.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut heart = Heart { shared: &shared, since: None };
    let mut failing = Backoff::of_source();
    loop {
        let sent = Stamp::now();
        let number = shared.held().beat_begins();
        let answer = heart.watch(timeout(shared.lease / 3, shared.source.beat())).await;
        match answer.unwrap_or_else(|_| Err(SourceError("no answer within a third of a lease".into()))) {
            Ok(listed) => {
                heart.succeeded(sent, !failing.is_fresh());
                failing.reset();
                let unknown = heart.settle_differences(number, &listed);
                heart.release(unknown).await;
                heart.watch(next_beat(&shared, sent.at())).await;
            }
            Err(error) => {
                shared.stats.beat_errors.add(1);
                if failing.is_fresh() {
                    tracing::warn!(%error, "a heartbeat failed; trying again");
                }
                heart.watch(sleep(failing.pause())).await;
            }
        }
    }
}

/// Waits until the next heartbeat is due: after the interval, or when somebody
/// cancels.
async fn next_beat(shared: &Shared, sent: Instant) {
    let interval = LONGEST_INTERVAL.min(shared.lease / 3);
    tokio::select! {
        () = sleep_until(sent + interval) => {}
        () = shared.source.cancel_arrives() => sleep_until(sent + SPACING).await,
    }
}

struct Heart<'a> {
    shared: &'a Shared,
    /// Just before the last heartbeat that succeeded; `None` if the leases are lost.
    since: Option<Stamp>,
}

impl Heart<'_> {
    /// Waits for `future`, and sees to it that no lease is believed in too long.
    async fn watch<T>(&mut self, future: impl Future<Output = T>) -> T {
        tokio::pin!(future);
        loop {
            let left = self.since.map_or(WATCH, |since| self.shared.lease.saturating_sub(since.age()));
            tokio::select! {
                biased;
                () = sleep(left.min(WATCH)) => self.check(),
                output = &mut future => return output,
            }
        }
    }

    fn check(&mut self) {
        let lease = self.shared.lease;
        if let Some(since) = self.since {
            if since.age() < lease {
                return;
            }
            self.since = None;
            tracing::error!(
                lease_ms = lease.as_millis() as u64,
                "no heartbeat succeeded for one lease; everything that runs is stopped"
            );
        }
        self.shared.tenured.send_if_modified(std::mem::take);
        // Each time anew, for a claim may have been on its way.
        self.shared.lose_all();
    }

    fn succeeded(&mut self, sent: Stamp, failed_before: bool) {
        self.shared.stats.beats.add(1);
        if failed_before {
            tracing::info!("heartbeats are answered again");
        }
        if sent.age() < self.shared.lease {
            self.since = Some(sent);
            self.shared.tenured.send_if_modified(|tenured| !std::mem::replace(tenured, true));
        }
    }

    /// Stops what is lost or cancelled; gives the leases that nobody knows.
    fn settle_differences(&self, number: u64, listed: &[Held]) -> Vec<Held> {
        let findings = self.shared.held().beat_answered(number, listed);
        if !findings.lost.is_empty() {
            tracing::warn!(jobs = findings.lost.len(), "leases were lost; their jobs are stopped");
        }
        for control in findings.lost {
            control.stop(Why::Lost);
        }
        for control in findings.cancelled {
            control.stop(Why::Cancelled);
        }
        findings.unknown
    }

    async fn release(&mut self, unknown: Vec<Held>) {
        if unknown.is_empty() {
            return;
        }
        let released = timeout(self.shared.lease / 3, self.shared.source.release(&unknown));
        match self.watch(released).await {
            Ok(Ok(())) => {
                self.shared.stats.released.add(unknown.len());
                tracing::warn!(leases = unknown.len(), "handed back leases whose claim was never answered");
            }
            // They are listed again by the next heartbeat.
            Ok(Err(error)) => tracing::warn!(%error, "leases could not be handed back"),
            Err(_) => tracing::warn!("leases could not be handed back in time"),
        }
    }
}
