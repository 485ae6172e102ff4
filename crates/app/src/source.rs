//! The worker's leases, from the use cases of the same process.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use taskflow_application::ports::{HeldLease, Topic, Wakeups, Worker};
use taskflow_application::work::{Ended, Settled as Outcome, Work};
use taskflow_worker::{Claimed, Finished, Held, LeaseSource, Settled, SourceError};
use tokio::sync::{Mutex, Notify, watch};

/// Leases from the use cases of the same process.
pub(crate) struct LocalSource {
    work: Work,
    worker: Worker,
    lease: Duration,
    news: Mutex<watch::Receiver<u64>>,
    cancels: Mutex<watch::Receiver<u64>>,
    /// Reports were committed, which may have made room under a limit.
    settled: Notify,
    /// Whether the worker is leaving, and a beat that is to say so.
    closed: AtomicBool,
    closing: Notify,
}

impl LocalSource {
    pub(crate) fn new(work: Work, wakeups: &dyn Wakeups, worker: Worker, lease: Duration) -> Self {
        let news = Mutex::new(wakeups.listen(Topic::Work));
        let cancels = Mutex::new(wakeups.listen(Topic::Cancel));
        Self {
            work,
            worker,
            lease,
            news,
            cancels,
            settled: Notify::new(),
            closed: AtomicBool::new(false),
            closing: Notify::new(),
        }
    }
}

fn failed(error: impl std::fmt::Display) -> SourceError {
    SourceError(error.to_string())
}

/// The next piece of news. A closed channel means that the process is ending:
/// then there is no news any more.
async fn next(receiver: &Mutex<watch::Receiver<u64>>) {
    if receiver.lock().await.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

#[async_trait]
impl LeaseSource for LocalSource {
    async fn claim(&self, max: u32) -> Result<Claimed, SourceError> {
        let claim = self.work.claim(&self.worker.name, max).await.map_err(failed)?;
        Ok(Claimed { jobs: claim.jobs, more: claim.more })
    }

    async fn settle(&self, finished: &[Finished]) -> Result<Vec<Settled>, SourceError> {
        let ended: Vec<_> = finished
            .iter()
            .map(|end| Ended { lease: end.lease.clone(), verdict: end.verdict.clone(), took_us: end.took_us })
            .collect();
        let settled = self.work.settle(&ended).await.map_err(failed)?;
        self.settled.notify_one();
        let answer = |outcome| match outcome {
            Outcome::Done(_) => Settled::Done,
            Outcome::LeaseLost => Settled::LeaseLost,
        };
        Ok(settled.into_iter().map(answer).collect())
    }

    async fn beat(&self) -> Result<Vec<Held>, SourceError> {
        let lease_ms = u64::try_from(self.lease.as_millis()).unwrap_or(u64::MAX);
        let slots = if self.closed.load(Ordering::SeqCst) { 0 } else { self.worker.slots };
        let worker = Worker { slots, ..self.worker.clone() };
        let held = self.work.beat(&worker, lease_ms).await.map_err(failed)?;
        let told = |HeldLease { tenant, job, token, cancel }| Held { tenant, job, token, cancel };
        Ok(held.into_iter().map(told).collect())
    }

    async fn release(&self, held: &[Held]) -> Result<(), SourceError> {
        let lease = |&Held { tenant, job, token, cancel }: &Held| HeldLease { tenant, job, token, cancel };
        let held: Vec<_> = held.iter().map(lease).collect();
        self.work.release(&held).await.map_err(failed)
    }

    async fn work_arrives(&self, longest: Duration) {
        // The time is up without news: the caller looks by itself.
        let news = async {
            tokio::select! {
                () = next(&self.news) => {}
                () = self.settled.notified() => {}
            }
        };
        let _ = tokio::time::timeout(longest, news).await;
    }

    async fn cancel_arrives(&self) {
        tokio::select! {
            () = next(&self.cancels) => {}
            () = self.closing.notified() => {}
        }
    }

    fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.closing.notify_one();
    }

    async fn leave(&self) {
        if let Err(error) = self.work.leave(&self.worker.name).await {
            tracing::warn!(%error, "could not say that this worker leaves; its leases will expire");
        }
    }

    fn lease(&self) -> Duration {
        self.lease
    }
}
