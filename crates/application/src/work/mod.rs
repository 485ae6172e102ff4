//! Work as workers see it: claim, keep alive, report. The worker of this process
//! and workers on the network come through the same claim and the same settle.

mod remote;
mod settle;
mod turns;

use std::sync::Arc;

use taskflow_domain::{TenantId, Timestamp, WorkerName};

use crate::World;
use crate::caller::Directory;
use crate::meter;
use crate::ports::{Claim, ClaimRequest, HeldLease, Route, StoreResult, Worker};

pub use remote::{Guest, ItemError, RemoteClaim, RemoteFailure, RemoteLease, RemoteProgress};
pub use settle::{Ended, Settled};

/// Work as workers see it.
#[derive(Clone)]
pub struct Work {
    world: World,
    directory: Directory,
    turns: Arc<turns::Turns>,
}

impl Work {
    /// The use cases over `world`.
    pub fn new(world: World) -> Self {
        Self { directory: Directory::new(world.clone()), turns: Arc::default(), world }
    }

    /// Claims jobs that have a target, for a worker whose own lease covers them.
    pub async fn claim(&self, worker: &WorkerName, max: u32) -> StoreResult<Claim> {
        let request = ClaimRequest {
            worker: worker.clone(),
            tenant: None,
            queues: Vec::new(),
            route: Route::Engine,
            max,
            lease_until: None,
            now: self.world.clock.now(),
            nonce: self.world.ids.nonce(),
        };
        self.claim_counted(&request).await
    }

    async fn claim_counted(&self, request: &ClaimRequest) -> StoreResult<Claim> {
        let claim = self.world.stores.jobs.claim(request).await?;
        meter::claimed(&self.world.tally, || claim.jobs.iter().map(|job| &job.lease));
        Ok(claim)
    }

    /// Extends the leases of a worker of this process, and tells which it holds.
    pub async fn beat(&self, worker: &Worker, lease_ms: u64) -> StoreResult<Vec<HeldLease>> {
        let now = self.world.clock.now();
        let worker = Worker { beat_at: now, lease_until: until(now, lease_ms), ..worker.clone() };
        self.world.stores.workers.beat(&worker).await
    }

    /// Forgets a worker that left in good order.
    pub async fn leave(&self, worker: &WorkerName) -> StoreResult<()> {
        self.world.stores.workers.leave(worker, self.world.clock.now()).await
    }

    /// All known workers.
    pub async fn workers(&self) -> StoreResult<Vec<Worker>> {
        self.world.stores.workers.list().await
    }

    /// How many jobs each worker runs, of those that run any.
    pub async fn busy(&self) -> StoreResult<Vec<(WorkerName, Option<TenantId>, u32)>> {
        self.world.stores.workers.busy().await
    }
}

fn until(now: Timestamp, lease_ms: u64) -> Timestamp {
    now.plus_millis(i64::try_from(lease_ms).unwrap_or(i64::MAX))
}
