//! Workers on the network: they claim the kinds that they serve, and each of
//! their leases stands for itself, because a worker that has forgotten one job
//! still extends the others.

use std::time::Duration;

use taskflow_domain::change::{Stop, Verdict};
use taskflow_domain::{
    JobId, Json, Kind, Lease, LeaseToken, Progress, QueueName, TenantId, Timestamp, WorkerName,
};

use super::turns::Wanted;
use super::{Ended, Settled, Work, until};
use crate::caller::Caller;
use crate::ports::{Claim, ClaimRequest, Extended, Route, StoreResult, Topic, Worker};

/// What a worker on the network asks for.
#[derive(Clone, Debug)]
pub struct RemoteClaim {
    /// Who asks.
    pub worker: WorkerName,
    /// Only jobs of these queues; empty for all.
    pub queues: Vec<QueueName>,
    /// Only jobs of these kinds.
    pub kinds: Vec<Kind>,
    /// How many at most.
    pub max: u32,
    /// How long to wait for work, in milliseconds.
    pub wait_ms: u64,
    /// How long each lease lasts without a heartbeat, in milliseconds.
    pub lease_ms: u64,
    /// Whether jobs of all tenants are meant, not only the caller's.
    pub all_tenants: bool,
}

/// A worker on the network that was made known, and whose jobs it may have.
#[derive(Clone, Copy, Debug)]
pub struct Guest(Option<TenantId>);

/// A lease as a worker on the network names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemoteLease {
    /// The job.
    pub job: JobId,
    /// The fence.
    pub token: LeaseToken,
}

/// How an attempt of a worker on the network ended without success.
#[derive(Clone, Debug)]
pub struct RemoteFailure {
    /// The lease.
    pub lease: RemoteLease,
    /// How.
    pub stop: Stop,
}

/// Progress of an attempt of a worker on the network.
#[derive(Clone, Debug)]
pub struct RemoteProgress {
    /// The lease.
    pub lease: RemoteLease,
    /// How far it is.
    pub progress: Progress,
}

/// Why an item was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ItemError {
    /// The token is not, or no longer, that of the job's lease.
    StaleLease,
}

impl Work {
    /// Claims jobs without a target; waits for the first one if there is none.
    pub async fn claim_remote(&self, caller: &Caller, wish: RemoteClaim) -> StoreResult<Claim> {
        match self.welcome(caller, &wish).await? {
            Some(guest) => self.claim_for(guest, &wish).await,
            None => Ok(Claim::default()),
        }
    }

    /// Makes a worker known that comes for jobs, once, however long it waits for
    /// them. `None`: there is nobody to work for.
    pub async fn welcome(&self, caller: &Caller, wish: &RemoteClaim) -> StoreResult<Option<Guest>> {
        let tenant = if wish.all_tenants { None } else { self.directory.find_or_make(caller).await? };
        if tenant.is_none() && !wish.all_tenants {
            return Ok(None);
        }
        self.make_known(tenant, wish).await?;
        Ok(Some(Guest(tenant)))
    }

    /// Claims jobs for a worker that was made known.
    pub async fn claim_for(&self, guest: Guest, wish: &RemoteClaim) -> StoreResult<Claim> {
        let wanted = Wanted { tenant: guest.0, queues: wish.queues.clone(), kinds: wish.kinds.clone() };
        let mut news = self.world.wakeups.listen(Topic::Work);
        // A wait is as long as it was asked for, wherever the wall clock goes meanwhile.
        let give_up = tokio::time::Instant::now() + Duration::from_millis(wish.wait_ms);
        let mut called = true;
        loop {
            news.borrow_and_update();
            let seen = self.turns.now();
            let mut claim = Claim::default();
            if let Some(turn) = self.turns.turn(&wanted, seen, called).await {
                claim = self.claim_counted(&self.request(guest.0, wish)).await?;
                if claim.jobs.is_empty() && !claim.more {
                    turn.in_vain(&wanted);
                }
            }
            self.bound_by_timeouts(&mut claim).await?;
            if !claim.jobs.is_empty() || tokio::time::Instant::now() >= give_up {
                return Ok(claim);
            }
            if claim.more {
                continue;
            }
            let look_again = give_up.min(self.turns.next(&wanted));
            called = tokio::time::timeout_at(look_again, news.changed()).await.is_ok();
        }
    }

    /// Shortens the leases that were asked to last longer than their attempts may.
    async fn bound_by_timeouts(&self, claim: &mut Claim) -> StoreResult<()> {
        let mut longer = Vec::new();
        for job in &mut claim.jobs {
            let limit = job.lease.limit();
            if job.expires_at > limit {
                longer.push((job.lease.tenant, job.lease.job, job.lease.token));
                job.expires_at = limit;
                job.lease.until = Some(limit);
            }
        }
        if !longer.is_empty() {
            // The store knows the limit of each.
            self.world.stores.jobs.extend(&longer, Timestamp::MAX).await?;
        }
        Ok(())
    }

    async fn make_known(&self, tenant: Option<TenantId>, wish: &RemoteClaim) -> StoreResult<()> {
        let now = self.world.clock.now();
        let worker = Worker {
            name: wish.worker.clone(),
            tenant,
            queues: wish.queues.clone(),
            kinds: wish.kinds.clone(),
            slots: wish.max,
            started_at: now,
            beat_at: now,
            lease_until: until(now, wish.lease_ms.max(wish.wait_ms)),
        };
        self.world.stores.workers.beat(&worker).await.map(drop)
    }

    fn request(&self, tenant: Option<TenantId>, wish: &RemoteClaim) -> ClaimRequest {
        let now = self.world.clock.now();
        ClaimRequest {
            worker: wish.worker.clone(),
            tenant,
            queues: wish.queues.clone(),
            route: Route::Kinds(wish.kinds.clone()),
            max: wish.max,
            lease_until: Some(until(now, wish.lease_ms)),
            now,
            nonce: self.world.ids.nonce(),
        }
    }

    /// Extends leases; each answer says whether the job is to be stopped, because
    /// somebody asked for its end or because the attempt takes too long.
    pub async fn heartbeat(
        &self,
        caller: &Caller,
        leases: &[RemoteLease],
        lease_ms: u64,
    ) -> StoreResult<Vec<Result<bool, ItemError>>> {
        let Some(tenant) = self.directory.find(caller).await? else {
            return Ok(vec![Err(ItemError::StaleLease); leases.len()]);
        };
        let keys: Vec<_> = leases.iter().map(|lease| (tenant, lease.job, lease.token)).collect();
        let now = self.world.clock.now();
        let extended = self.world.stores.jobs.extend(&keys, until(now, lease_ms)).await?;
        let held = keys.iter().zip(&extended).filter(|(_, extended)| **extended != Extended::Lost);
        let held: Vec<_> = held.map(|(key, _)| *key).collect();
        if !held.is_empty() {
            self.world.stores.workers.heard_of(&held, now, until(now, lease_ms)).await?;
        }
        let answer = |extended| match extended {
            Extended::Held { cancel, timeout_at } => Ok(cancel || now >= timeout_at),
            Extended::Lost => Err(ItemError::StaleLease),
        };
        Ok(extended.into_iter().map(answer).collect())
    }

    /// Ends attempts well.
    pub async fn complete(
        &self,
        caller: &Caller,
        items: Vec<(RemoteLease, Option<Json>)>,
    ) -> StoreResult<Vec<Result<Settled, ItemError>>> {
        self.end_remote(caller, items, |result, _, _| Verdict::Succeeded { result }).await
    }

    /// Ends attempts without success.
    pub async fn fail(
        &self,
        caller: &Caller,
        items: Vec<RemoteFailure>,
    ) -> StoreResult<Vec<Result<Settled, ItemError>>> {
        let items = items.into_iter().map(|item| (item.lease, item.stop)).collect();
        self.end_remote(caller, items, Stop::verdict).await
    }

    /// Notes progress.
    pub async fn progress(
        &self,
        caller: &Caller,
        items: Vec<RemoteProgress>,
    ) -> StoreResult<Vec<Result<(), ItemError>>> {
        let Some(tenant) = self.directory.find(caller).await? else {
            return Ok(vec![Err(ItemError::StaleLease); items.len()]);
        };
        let reports: Vec<_> =
            items.into_iter().map(|item| (tenant, item.lease.job, item.lease.token, item.progress)).collect();
        let held = self.world.stores.jobs.progress(&reports, self.world.clock.now()).await?;
        Ok(held.into_iter().map(|held| if held { Ok(()) } else { Err(ItemError::StaleLease) }).collect())
    }

    async fn end_remote<T: Send>(
        &self,
        caller: &Caller,
        items: Vec<(RemoteLease, T)>,
        verdict: impl Fn(T, &Lease, Timestamp) -> Verdict + Send,
    ) -> StoreResult<Vec<Result<Settled, ItemError>>> {
        let mut answers = vec![Err(ItemError::StaleLease); items.len()];
        let Some(tenant) = self.directory.find(caller).await? else { return Ok(answers) };
        let keys: Vec<_> = items.iter().map(|(lease, _)| (tenant, lease.job)).collect();
        let leases = self.world.stores.jobs.leases(&keys).await?;
        let now = self.world.clock.now();
        let mut places = Vec::new();
        let mut ended = Vec::new();
        for (at, ((named, told), lease)) in items.into_iter().zip(leases).enumerate() {
            if let Some(lease) = lease.filter(|lease| lease.token == named.token) {
                let took_us = now.micros_since(lease.started_at);
                places.push(at);
                ended.push(Ended { verdict: verdict(told, &lease, now), lease, took_us });
            }
        }
        for (at, settled) in places.into_iter().zip(self.settle(&ended).await?) {
            if settled != Settled::LeaseLost {
                answers[at] = Ok(settled);
            }
        }
        Ok(answers)
    }
}
