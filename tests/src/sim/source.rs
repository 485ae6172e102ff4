//! The leases of a node's own worker: the use cases of the same process, with
//! reports that may arrive a second time, later.

use std::sync::{Arc, Mutex as Lock, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use taskflow_application::World;
use taskflow_application::ports::{HeldLease, Topic, Worker};
use taskflow_application::work::{Ended, Settled as Outcome, Work};
use taskflow_checker::history::{Known, Op};
use taskflow_domain::Verdict;
use taskflow_worker::{Claimed, Finished, Held, LeaseSource, Settled, SourceError};
use tokio::sync::{Mutex, watch};
use tokio::time::{sleep, timeout};

use super::log::{job_name, token_name};
use super::node::Node;
use super::rng::Rng;
use super::world::Sim;

/// The leases of a node's own worker.
pub(super) struct SimSource {
    sim: Arc<Sim>,
    node: Weak<Node>,
    work: Work,
    worker: Worker,
    lease: Duration,
    news: Mutex<watch::Receiver<u64>>,
    cancels: Mutex<watch::Receiver<u64>>,
    rng: Lock<Rng>,
}

impl SimSource {
    /// The leases of `worker`, which lives in `node`.
    pub(super) fn new(sim: &Arc<Sim>, node: &Arc<Node>, world: &World, worker: Worker) -> Self {
        Self {
            rng: Lock::new(Rng::new(sim.plan.seed, 2_000 + node.index as u64)),
            sim: Arc::clone(sim),
            node: Arc::downgrade(node),
            work: node.work.clone(),
            lease: Duration::from_millis(sim.plan.lease_ms),
            news: Mutex::new(world.wakeups.listen(Topic::Work)),
            cancels: Mutex::new(world.wakeups.listen(Topic::Cancel)),
            worker,
        }
    }

    /// Sends reports, and perhaps once more after a while.
    fn repeat(&self, ended: &[Ended]) {
        let Some(node) = self.node.upgrade() else { return };
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        if !rng.percent(self.sim.repetition(node.index)) {
            return;
        }
        let later = Duration::from_millis(rng.between(0, self.sim.plan.lease_ms * 2));
        let (sim, work, ended) = (Arc::clone(&self.sim), self.work.clone(), ended.to_vec());
        self.sim.log().count("reports sent twice");
        node.spawn(async move {
            sleep(later).await;
            drop(settle(&sim, &work, &ended).await);
        });
    }
}

/// How the checker names the end that a worker reports.
pub(super) fn outcome_of(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Succeeded { .. } => "SUCCEEDED",
        Verdict::Failed { .. } => "FAILED",
        Verdict::TimedOut { .. } => "TIMEOUT",
        Verdict::Interrupted => "INTERRUPTED",
        Verdict::Snoozed { .. } => "SNOOZED",
        Verdict::Cancelled => "CANCELLED",
        Verdict::Lost => "LEASE_EXPIRED",
    }
}

async fn settle(sim: &Sim, work: &Work, ended: &[Ended]) -> Result<Vec<Outcome>, SourceError> {
    let invoked_at = sim.now_us();
    let settled = work.settle(ended).await;
    let returned_at = sim.now_us();
    let mut log = sim.log();
    for (at, end) in ended.iter().enumerate() {
        let answer = settled.as_ref().ok().map(|settled| settled[at]);
        let (known, then) = match answer {
            Some(Outcome::Done(state)) => (Known::Ok, Some(state.as_str().to_owned())),
            Some(Outcome::LeaseLost) => (Known::Fail, None),
            None => (Known::Unknown, None),
        };
        let op = Op::Settle {
            job: job_name(end.lease.job),
            token: token_name(end.lease.token),
            outcome: outcome_of(&end.verdict).into(),
            then,
        };
        log.call(invoked_at, returned_at, known, op);
    }
    settled.map_err(failed)
}

fn failed(error: impl std::fmt::Display) -> SourceError {
    SourceError(error.to_string())
}

async fn next(receiver: &Mutex<watch::Receiver<u64>>) {
    if receiver.lock().await.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

#[async_trait]
impl LeaseSource for SimSource {
    async fn claim(&self, max: u32) -> Result<Claimed, SourceError> {
        let claim = self.work.claim(&self.worker.name, max).await.map_err(failed)?;
        Ok(Claimed { jobs: claim.jobs, more: claim.more })
    }

    async fn settle(&self, finished: &[Finished]) -> Result<Vec<Settled>, SourceError> {
        let ended: Vec<_> = finished
            .iter()
            .map(|end| Ended { lease: end.lease.clone(), verdict: end.verdict.clone(), took_us: end.took_us })
            .collect();
        self.repeat(&ended);
        let settled = settle(&self.sim, &self.work, &ended).await?;
        let answer = |outcome| match outcome {
            Outcome::Done(_) => Settled::Done,
            Outcome::LeaseLost => Settled::LeaseLost,
        };
        Ok(settled.into_iter().map(answer).collect())
    }

    async fn beat(&self) -> Result<Vec<Held>, SourceError> {
        let lease_ms = self.sim.plan.lease_ms;
        let held = self.work.beat(&self.worker, lease_ms).await.map_err(failed)?;
        let told = |HeldLease { tenant, job, token, cancel }| Held { tenant, job, token, cancel };
        Ok(held.into_iter().map(told).collect())
    }

    async fn release(&self, held: &[Held]) -> Result<(), SourceError> {
        let lease = |&Held { tenant, job, token, cancel }: &Held| HeldLease { tenant, job, token, cancel };
        let held: Vec<_> = held.iter().map(lease).collect();
        self.work.release(&held).await.map_err(failed)
    }

    async fn work_arrives(&self, longest: Duration) {
        drop(timeout(longest, next(&self.news)).await);
    }

    async fn cancel_arrives(&self) {
        next(&self.cancels).await;
    }

    fn close(&self) {}

    async fn leave(&self) {
        drop(self.work.leave(&self.worker.name).await);
    }

    fn lease(&self) -> Duration {
        self.lease
    }
}
