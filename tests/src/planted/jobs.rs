//! Writing jobs, with a defect.

use async_trait::async_trait;
use taskflow_application::ports::{
    AuditNote, Claim, ClaimRequest, Committed, Discrepancies, Extended, Inserted, JobStore, LeaseKey, NewJob,
    Promoted, Proof, QueuePut, Route, StoreError, StoreResult,
};
use taskflow_domain::{
    Decision, Guard, JobChange, JobId, JobState, Lease, LeaseToken, Outcome, Progress, Standing, TenantId,
    Timestamp,
};

use super::{Bug, Planted};

/// How much too early, in milliseconds.
const EARLY_MS: i64 = 3_000;

impl Planted {
    async fn insert_late(&self, jobs: Vec<NewJob>, atomic: bool) -> StoreResult<Vec<Inserted>> {
        let answers = vec![Inserted::New; jobs.len()];
        let before = std::mem::replace(&mut self.kept().unwritten, jobs);
        self.inner.jobs.insert(before, atomic).await?;
        Ok(answers)
    }

    /// Every third submit is cut short: after its first statement, or with its
    /// transaction open, in which the next one then works.
    async fn insert_cut_short(&self, mut jobs: Vec<NewJob>, atomic: bool) -> StoreResult<Vec<Inserted>> {
        let turn = {
            let mut kept = self.kept();
            kept.steps += 1;
            kept.steps % 3
        };
        let cut = || StoreError::Unavailable("the request was cut short".into());
        match turn {
            1 if self.is(Bug::LeakedTransaction) => Err(cut()),
            2 if self.is(Bug::LeakedTransaction) => Ok(vec![Inserted::New; jobs.len()]),
            1 => {
                for job in &mut jobs {
                    job.spec.idempotency_key = None;
                }
                self.inner.jobs.insert(jobs, atomic).await?;
                Err(cut())
            }
            _ => self.inner.jobs.insert(jobs, atomic).await,
        }
    }

    /// Lets each claim take as much as the cap says.
    async fn claim_by_position(&self, request: &ClaimRequest) -> StoreResult<Claim> {
        let queues = self.inner.queues.list().await?;
        let depths = self.inner.queues.depths().await?;
        for queue in &queues {
            let depth = depths.iter().find(|depth| depth.name == queue.name);
            let running = depth.map_or(0, |depth| depth.by_state[3]) as u32;
            let mut raised = queue.settings.clone();
            raised.max_running = raised.max_running.map(|max| max + running);
            self.inner.queues.put(QueuePut::new(queue.name.clone(), raised, request.now)).await?;
        }
        let claim = self.inner.jobs.claim(request).await?;
        for queue in queues {
            self.inner.queues.put(QueuePut::new(queue.name, queue.settings, request.now)).await?;
        }
        Ok(claim)
    }

    /// Gives the job that another worker was given before once more.
    fn give_twice(&self, request: &ClaimRequest, claim: &mut Claim) {
        let mut kept = self.kept();
        let fits = |given: &taskflow_domain::ClaimedJob| {
            given.spec.target.is_some() == matches!(request.route, Route::Engine)
        };
        if let Some((worker, given)) = &kept.given
            && *worker != request.worker
            && fits(given)
        {
            claim.jobs.push(given.clone());
        }
        if let Some(job) = claim.jobs.first() {
            kept.given = Some((request.worker.clone(), job.clone()));
        }
    }

    /// Puts every fourth claimed job back.
    async fn leave_claimable(&self, claim: &Claim) -> StoreResult<()> {
        for job in &claim.jobs {
            let claims = {
                let mut kept = self.kept();
                kept.claims += 1;
                kept.claims
            };
            if claims.is_multiple_of(4) {
                let back = Decision::Move(Standing::Pending { due: job.lease.due });
                self.inner.jobs.commit(&[bare(&job.lease, back)]).await?;
            }
        }
        Ok(())
    }

    async fn spoil(&self, change: &mut JobChange) -> StoreResult<()> {
        let ended = change.attempt.as_ref().and_then(|attempt| attempt.end.as_ref());
        let lost = ended.is_some_and(|end| end.outcome == Outcome::LeaseExpired);
        match (self.bug, change.guard) {
            (Bug::UnguardedReaper, _) if lost => {
                let now = change.at;
                let job = self.inner.reader.get(change.tenant, change.job, now).await?;
                let running = self.inner.jobs.leases(&[(change.tenant, change.job)]).await?;
                change.guard = match (running.into_iter().flatten().next(), job) {
                    (Some(lease), _) => Guard::Lease { token: lease.token, unless_cancelled: false },
                    (None, Some(job)) => Guard::Version { state: job.standing.state(), seq: job.seq },
                    (None, None) => change.guard,
                };
            }
            (Bug::LossNotCounted, _) if lost => forgive(change),
            (Bug::StaleTokenAccepted, Guard::Lease { unless_cancelled, .. }) => {
                let leases = self.inner.jobs.leases(&[(change.tenant, change.job)]).await?;
                if let Some(lease) = leases.into_iter().flatten().next() {
                    change.guard = Guard::Lease { token: lease.token, unless_cancelled };
                }
            }
            (Bug::CancelForgotten, Guard::Lease { token, .. }) => {
                change.guard = Guard::Lease { token, unless_cancelled: false };
            }
            (Bug::SeqGap, Guard::Lease { token, .. }) if ended.is_some() => {
                let mut nothing = change.clone();
                nothing.guard = Guard::Lease { token, unless_cancelled: false };
                nothing.decision = Decision::Keep;
                (nothing.attempt, nothing.event, nothing.settle_us) = (None, None, 0);
                self.inner.jobs.commit(&[nothing]).await?;
            }
            _ => {}
        }
        Ok(())
    }

    fn generous(&self, lease: &mut Lease) {
        if self.is(Bug::BudgetOffByOne) {
            lease.retry_policy.max_attempts += 1;
        }
    }
}

/// A change without an entry.
fn bare(lease: &Lease, decision: Decision) -> JobChange {
    JobChange {
        tenant: lease.tenant,
        job: lease.job,
        guard: Guard::Lease { token: lease.token, unless_cancelled: false },
        decision,
        counters: lease.counters,
        edit: None,
        attempt: None,
        settle_us: 0,
        event: None,
        at: lease.started_at,
    }
}

/// The loss of a worker costs nothing.
fn forgive(change: &mut JobChange) {
    change.counters.spent = change.counters.spent.saturating_sub(1);
    change.counters.lost = 0;
    change.decision = Decision::Move(Standing::Pending { due: change.at });
    if let Some(end) = change.attempt.as_mut().and_then(|attempt| attempt.end.as_mut()) {
        (end.then, end.next_run_at, end.reason) = (JobState::Pending, Some(change.at), None);
    }
}

#[async_trait]
impl JobStore for Planted {
    async fn insert(&self, mut jobs: Vec<NewJob>, atomic: bool) -> StoreResult<Vec<Inserted>> {
        if self.is(Bug::AckBeforeCommit) {
            return self.insert_late(jobs, atomic).await;
        }
        if self.is(Bug::SubmitInParts) || self.is(Bug::LeakedTransaction) {
            return self.insert_cut_short(jobs, atomic).await;
        }
        if self.is(Bug::LostIdempotency) {
            for job in &mut jobs {
                job.spec.idempotency_key = None;
            }
        }
        self.inner.jobs.insert(jobs, atomic).await
    }

    async fn claim(&self, request: &ClaimRequest) -> StoreResult<Claim> {
        let mut claim = if self.is(Bug::PositionalCap) {
            self.claim_by_position(request).await?
        } else {
            self.inner.jobs.claim(request).await?
        };
        if self.is(Bug::DoubleLease) {
            self.give_twice(request, &mut claim);
        }
        if self.is(Bug::UnfinishedClaim) {
            self.leave_claimable(&claim).await?;
        }
        for job in &mut claim.jobs {
            self.generous(&mut job.lease);
        }
        Ok(claim)
    }

    async fn commit(&self, changes: &[JobChange]) -> StoreResult<Vec<Committed>> {
        let mut changes = changes.to_vec();
        for change in &mut changes {
            self.spoil(change).await?;
        }
        if self.is(Bug::HalfABatch) && changes.len() > 1 {
            self.inner.jobs.commit(&changes[..1]).await?;
            return Ok(vec![Committed::Done; changes.len()]);
        }
        self.inner.jobs.commit(&changes).await
    }

    async fn commit_noted(&self, change: &JobChange, note: AuditNote) -> StoreResult<Committed> {
        let mut change = change.clone();
        self.spoil(&mut change).await?;
        self.inner.jobs.commit_noted(&change, note).await
    }

    async fn leases(&self, jobs: &[(TenantId, JobId)]) -> StoreResult<Vec<Option<Lease>>> {
        let mut leases = self.inner.jobs.leases(jobs).await?;
        for lease in leases.iter_mut().flatten() {
            self.generous(lease);
        }
        Ok(leases)
    }

    async fn extend(&self, leases: &[LeaseKey], until: Timestamp) -> StoreResult<Vec<Extended>> {
        self.inner.jobs.extend(leases, until).await
    }

    async fn progress(
        &self,
        reports: &[(TenantId, JobId, LeaseToken, Progress)],
        at: Timestamp,
    ) -> StoreResult<Vec<bool>> {
        self.inner.jobs.progress(reports, at).await
    }

    async fn expired(&self, now: Timestamp, limit: u32) -> StoreResult<Vec<Lease>> {
        let mut expired = self.inner.jobs.expired(now, limit).await?;
        if self.is(Bug::ForgottenLeases) {
            expired.retain(|lease| !lease.worker.as_str().starts_with('n'));
        }
        for lease in &mut expired {
            self.generous(lease);
        }
        Ok(expired)
    }

    async fn promote(&self, now: Timestamp, limit: u32) -> StoreResult<Promoted> {
        let early = if self.is(Bug::EarlyPromotion) { EARLY_MS } else { 0 };
        self.inner.jobs.promote(now.plus_millis(early), limit).await
    }

    async fn prune(
        &self,
        state: JobState,
        before: Timestamp,
        keys_before: Timestamp,
        limit: u32,
    ) -> StoreResult<u32> {
        self.inner.jobs.prune(state, before, keys_before, limit).await
    }

    async fn sweep(&self, now: Timestamp) -> StoreResult<Discrepancies> {
        self.inner.jobs.sweep(now).await
    }

    async fn proof(&self, now: Timestamp) -> StoreResult<Proof> {
        self.inner.jobs.proof(now).await
    }
}
