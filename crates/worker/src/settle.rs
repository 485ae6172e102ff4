//! Reporting how attempts ended.
//!
//! Reports go out in batches that size themselves: when nothing is under way a
//! report is sent at once, and whatever ends meanwhile makes the next batch. Only
//! under load does a batch wait a moment for others; and only when a full batch waits is
//! it sent while another is under way.
//!
//! A batch that fails is sent again with the same content. The fencing tokens make
//! that safe: what was committed before its answer was lost is answered with
//! `LeaseLost`. A report is dropped when its lease is no longer held. If the source
//! answers heartbeats and yet refuses a batch, one report in it is to blame, and it
//! must not hold up the others: the batch is halved until that one is alone, then
//! it is replaced by a plain failure, and given up if even that is refused.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use taskflow_domain::{AttemptError, Verdict};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};

use crate::backoff::Backoff;
use crate::held::key;
use crate::shared::Shared;
use crate::slots::worth_collecting;
use crate::source::{Finished, Settled, SourceError};
use crate::text;

/// How long a batch waits for others under load.
const COLLECT: Duration = Duration::from_millis(1);
/// Refusals of one batch, while heartbeats are answered, before it is halved.
const REFUSALS: u32 = 3;
/// The kind of the failure that stands for a report that the source refused.
const REFUSED_KIND: &str = "report_refused";

/// So many calls are under way at most: while one is committed, the next is decided.
const AT_ONCE: usize = 2;

/// Reports until all senders are gone and everything is reported.
pub(crate) async fn run(shared: Arc<Shared>, mut reports: UnboundedReceiver<Vec<Finished>>) {
    let most = shared.config.max_batch.max(1) as usize;
    let mut previous = 0;
    let mut pending = Vec::new();
    let mut calls = JoinSet::new();
    loop {
        // `previous` counts only while work keeps coming: a report that comes out
        // of silence takes the first branch and waits for nothing.
        drain(&mut reports, &mut pending, most);
        if pending.is_empty() {
            tokio::select! {
                biased;
                Some(ended) = calls.join_next() => unbroken(ended),
                chunk = reports.recv() => match chunk {
                    Some(chunk) => pending = chunk,
                    None => break,
                },
            }
            if pending.is_empty() {
                continue;
            }
        } else if worth_collecting(previous, pending.len()) {
            collect(&mut reports, &mut pending, previous / 2).await;
        }
        // The next call waits for the one under way, unless it is as large as a call can be.
        while calls.len() >= if pending.len() < most { 1 } else { AT_ONCE } {
            tokio::select! {
                biased;
                Some(ended) = calls.join_next() => unbroken(ended),
                Some(chunk) = reports.recv(), if pending.len() < most => pending.extend(chunk),
            }
        }
        let rest = pending.split_off(pending.len().min(most));
        previous = pending.len();
        let (shared, reports) = (Arc::clone(&shared), pending);
        calls.spawn(Batch { shared, reports, most, chunk: most, faulty: 0 }.send());
        pending = rest;
    }
    while let Some(ended) = calls.join_next().await {
        unbroken(ended);
    }
}

/// A call that panicked takes the loop with it: the worker must not go on without reports.
fn unbroken(ended: Result<(), JoinError>) {
    if let Err(fault) = ended
        && let Ok(panic) = fault.try_into_panic()
    {
        resume_unwind(panic);
    }
}

/// Takes what is there, up to about `most`.
fn drain(reports: &mut UnboundedReceiver<Vec<Finished>>, pending: &mut Vec<Finished>, most: usize) {
    while pending.len() < most {
        match reports.try_recv() {
            Ok(chunk) if pending.is_empty() => *pending = chunk,
            Ok(chunk) => pending.extend(chunk),
            Err(_) => return,
        }
    }
}

/// Waits a moment for more.
async fn collect(reports: &mut UnboundedReceiver<Vec<Finished>>, pending: &mut Vec<Finished>, enough: usize) {
    let more = async {
        while pending.len() < enough {
            match reports.recv().await {
                Some(chunk) => pending.extend(chunk),
                None => return,
            }
        }
    };
    let _ = timeout(COLLECT, more).await;
}

/// Reports on their way.
struct Batch {
    shared: Arc<Shared>,
    reports: Vec<Finished>,
    most: usize,
    /// How many go out in the next call.
    chunk: usize,
    /// That many of the first reports hold one that is refused; 0 if none is known.
    faulty: usize,
}

impl Batch {
    async fn send(mut self) {
        let stats = Arc::clone(&self.shared.stats);
        let mut failing = Backoff::of_source();
        let mut refusals = 0;
        let mut beats = None;
        loop {
            self.drop_lost();
            let count = self.chunk.min(self.reports.len());
            if count == 0 {
                return;
            }
            let error = match self.call(count).await {
                Ok(answers) => {
                    self.answered(count, &answers);
                    continue;
                }
                Err(error) => error,
            };
            stats.settle_errors.add(1);
            if failing.is_fresh() && self.faulty == 0 {
                tracing::warn!(%error, reports = count, "reports failed; trying again");
            }
            // A source that answers heartbeats in the meantime can be reached: it refuses.
            if stats.beats.get() > *beats.get_or_insert(stats.beats.get()) {
                refusals += 1;
            }
            if refusals >= REFUSALS {
                self.isolate(count, &error);
                failing.reset();
            }
            sleep(failing.pause()).await;
        }
    }

    async fn call(&self, count: usize) -> Result<Vec<Settled>, SourceError> {
        timeout(self.shared.lease, self.shared.source.settle(&self.reports[..count]))
            .await
            .unwrap_or_else(|_| Err(SourceError("no answer within a lease".into())))
    }

    /// Forgets the first `count` reports as `answers` say.
    fn answered(&mut self, count: usize, answers: &[Settled]) {
        let stats = Arc::clone(&self.shared.stats);
        let lost = answers.iter().filter(|answer| **answer == Settled::LeaseLost).count();
        stats.settles.add(1);
        stats.settled.add(count - lost.min(count));
        if lost > 0 {
            stats.leases_lost.add(lost);
            tracing::warn!(reports = lost, "reports came to nothing because their leases were lost");
        }
        self.forget(count);
        self.faulty = self.faulty.saturating_sub(count);
        self.chunk = if self.faulty == 0 { self.most } else { (self.faulty / 2).max(1) };
    }

    fn forget(&mut self, count: usize) {
        {
            let mut held = self.shared.held();
            for finished in self.reports.drain(..count) {
                held.forget(&key(&finished.lease));
            }
        }
        self.gone(count);
    }

    /// Drops the reports whose leases are no longer held.
    fn drop_lost(&mut self) {
        let before = self.reports.len();
        {
            let held = self.shared.held();
            self.reports.retain(|finished| held.holds(&key(&finished.lease)));
        }
        let dropped = before - self.reports.len();
        if dropped > 0 {
            self.shared.stats.leases_lost.add(dropped);
            tracing::warn!(reports = dropped, "reports were dropped because their leases were lost");
            self.gone(dropped);
        }
    }

    fn gone(&self, count: usize) {
        self.shared.stats.unsettled.fetch_sub(count as u32, Ordering::Relaxed);
        self.shared.changed();
    }

    /// Comes closer to the one report that the source refuses.
    fn isolate(&mut self, count: usize, error: &SourceError) {
        self.faulty = count;
        self.chunk = (count / 2).max(1);
        if count > 1 {
            return;
        }
        let Some(first) = self.reports.first_mut() else { return };
        let refused = matches!(&first.verdict, Verdict::Failed { error, .. } if error.kind == REFUSED_KIND);
        tracing::error!(job.id = %first.lease.job, %error, gave_up = refused, "a report was refused");
        if refused {
            // The source lists the lease again, and it is handed back as unknown.
            self.forget(1);
            (self.faulty, self.chunk) = (0, self.most);
            return;
        }
        let message = format!("the attempt ended, but its report was refused: {}", text::line(&error.0, 300));
        first.verdict = Verdict::Failed {
            error: AttemptError { kind: REFUSED_KIND.into(), message },
            result: None,
            permanent: false,
            retry_after_ms: None,
        };
    }
}
