//! Claiming: the one place that asks for work.
//!
//! One claim is under way at a time, and it never waits for a report. It is sent
//! as soon as there may be work and a slot is free: when the source says so, when
//! the claim before said that there is more, and once in a while to be safe. There
//! is no timer between the news of work and the claim.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use taskflow_domain::ClaimedJob;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::shared::{Reports, Shared};
use crate::slots;
use crate::source::Claimed;
use crate::start::{hand_back, start};

/// How long a saturated worker lets slots become free before it asks again.
const SATURATED_PAUSE: Duration = Duration::from_millis(2);

/// Claims until `shutdown`.
pub(crate) async fn run(shared: Arc<Shared>, reports: Reports, shutdown: CancellationToken) {
    let claims = Claims { shared: &shared, reports: &reports, shutdown: &shutdown };
    let stop = shutdown.cancelled();
    tokio::pin!(stop);
    let mut failing = Backoff::of_source();
    let mut empty = Backoff::new(Duration::from_millis(2), Duration::from_millis(100));
    let mut more = false;
    loop {
        let ask = tokio::select! {
            biased;
            () = &mut stop => return,
            ask = claims.wait_for_slots(more) => ask,
        };
        let Some(claimed) = claims.claim(ask, &mut failing).await else {
            tokio::select! {
                biased;
                () = &mut stop => return,
                () = sleep(failing.pause()) => continue,
            }
        };
        let found = !claimed.jobs.is_empty();
        more = claimed.more;
        claims.take(claimed.jobs);
        // A source that never waits must not keep others from running.
        tokio::task::yield_now().await;
        let longest = match (more, found) {
            (true, true) => {
                empty.reset();
                continue;
            }
            // Others were faster, again and again: leave them some room.
            (true, false) => empty.pause(),
            (false, _) => shared.config.poll,
        };
        tokio::select! {
            biased;
            () = &mut stop => return,
            _ = timeout(longest, shared.source.work_arrives(longest)) => {}
        }
    }
}

struct Claims<'a> {
    shared: &'a Arc<Shared>,
    reports: &'a Reports,
    shutdown: &'a CancellationToken,
}

impl Claims<'_> {
    /// Waits until the worker may claim and has a free slot; gives how many jobs
    /// to ask for. `more` says that there is more work than there were slots.
    async fn wait_for_slots(&self, more: bool) -> u32 {
        let mut tenured = self.shared.tenured.subscribe();
        let ask = loop {
            // The sender lives in `shared`, so waiting cannot fail.
            let _ = tenured.wait_for(|tenured| *tenured).await;
            let ask = self.shared.until(|| Some(self.to_ask()).filter(|ask| *ask > 0)).await;
            if *tenured.borrow() {
                break ask;
            }
        };
        if more && !slots::worth_asking(ask, self.shared.config.slots) {
            sleep(SATURATED_PAUSE).await;
            return self.to_ask().max(1);
        }
        ask
    }

    fn to_ask(&self) -> u32 {
        let (config, stats) = (&self.shared.config, &self.shared.stats);
        let running = stats.running.load(Ordering::Relaxed);
        let unsettled = stats.unsettled.load(Ordering::Relaxed);
        slots::to_ask(config.slots, running, unsettled, config.max_batch)
    }

    /// One claim; `None` if it failed. Once sent it is waited for, shutdown or
    /// not, because the source may have handed out jobs already.
    async fn claim(&self, ask: u32, failing: &mut Backoff) -> Option<Claimed> {
        let stats = &self.shared.stats;
        self.shared.held().claim_begins();
        let answer = timeout(self.shared.lease, self.shared.source.claim(ask)).await;
        let error = match answer {
            Ok(Ok(claimed)) => {
                stats.claims.add(1);
                stats.claimed.add(claimed.jobs.len());
                if !failing.is_fresh() {
                    tracing::info!("claims are answered again");
                    failing.reset();
                }
                return Some(claimed);
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer within a lease".to_owned(),
        };
        self.shared.held().claim_ends();
        stats.claim_errors.add(1);
        if failing.is_fresh() {
            tracing::warn!(error, "a claim failed; trying again until it is answered");
        }
        None
    }

    /// Starts what was claimed, or hands it back if it is too late for that.
    fn take(&self, jobs: Vec<ClaimedJob>) {
        if jobs.is_empty() {
        } else if !*self.shared.tenured.borrow() {
            // Not begun, and no report would count. Once the source is back it
            // lists them, and they are handed back as unknown.
            self.shared.stats.leases_lost.add(jobs.len());
        } else if self.shutdown.is_cancelled() {
            hand_back(self.shared, self.reports, jobs);
        } else {
            start(self.shared, self.reports, jobs);
        }
        self.shared.held().claim_ends();
    }
}
