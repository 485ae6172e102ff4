//! Jobs, tenants, queues and workers for tests. Time and ids are arguments: no
//! test reads a clock, so every run of it is the same run.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use taskflow_application::World;
use taskflow_application::drains::Drains;
use taskflow_application::memory::{LocalWakeups, ManualClock, SeededIds, SeededJitter};
use taskflow_application::ports::{
    ClaimRequest, Committed, Inserted, NewJob, QueuePut, Route, Stores, Worker,
};
use taskflow_application::tally::Tally;
use taskflow_domain::queue::QueueSettings;
use taskflow_domain::target::{Builtin, Target};
use taskflow_domain::tenant::{Tenant, TenantSettings};
use taskflow_domain::{
    Actor, AttemptError, ClaimedJob, CorrelationId, Delay, Job, JobChange, JobEvent, JobId, JobSpec, Json,
    Kind, Labels, Lease, LeaseToken, Priority, QueueName, Report, RetryPolicy, Standing, TenantId,
    TenantSlug, Timestamp, Verdict, WorkerName, change,
};
use uuid::Uuid;

/// 2026-01-01T00:00:00Z, when every test begins.
pub const START: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);

/// `ms` milliseconds after the start.
pub const fn at(ms: i64) -> Timestamp {
    START.plus_millis(ms)
}

/// The id of job number `n`: shaped like a `UUIDv7`, in the order of the numbers.
pub const fn job_id(n: u32) -> JobId {
    let ms = (START.micros() / 1_000) as u128 + n as u128;
    JobId(Uuid::from_u128((ms << 80) | (7 << 76) | (2 << 62) | n as u128))
}

/// What use cases stand on: these stores, this clock, and ids and chance of a seed.
pub fn world(stores: Stores, clock: &Arc<ManualClock>, seed: u64) -> World {
    World {
        stores,
        clock: clock.clone(),
        ids: Arc::new(SeededIds::new(seed)),
        jitter: Arc::new(SeededJitter::new(seed)),
        wakeups: Arc::new(LocalWakeups::default()),
        tally: Tally::default(),
        drains: Drains::default(),
        vault: None,
    }
}

/// The name of a queue.
pub fn queue(name: &str) -> Result<QueueName> {
    Ok(QueueName::new(name)?)
}

/// The name of a kind.
pub fn kind(name: &str) -> Result<Kind> {
    Ok(Kind::new(name)?)
}

/// The name of a worker.
pub fn worker(name: &str) -> Result<WorkerName> {
    Ok(WorkerName::new(name)?)
}

/// The slug of a tenant.
pub fn slug(name: &str) -> Result<TenantSlug> {
    Ok(TenantSlug::new(name)?)
}

/// A retry policy without jitter: `max` attempts, always `delay_ms` apart.
pub fn policy(max_attempts: u16, delay_ms: u64) -> RetryPolicy {
    RetryPolicy {
        max_attempts,
        strategy: taskflow_domain::Strategy::Fixed,
        base_delay_ms: delay_ms,
        jitter: taskflow_domain::Jitter::None,
        ..RetryPolicy::default()
    }
}

/// A failure that may be retried.
pub fn failure() -> Verdict {
    let error = AttemptError { kind: "http_status".into(), message: "500 from the target".into() };
    Verdict::Failed { error, result: None, permanent: false, retry_after_ms: None }
}

/// A failure that no retry can mend.
pub fn permanent_failure() -> Verdict {
    let error = AttemptError { kind: "http_status".into(), message: "404 from the target".into() };
    let result = Some(Json::from_valid(r#"{"status": 404}"#));
    Verdict::Failed { error, result, permanent: true, retry_after_ms: None }
}

/// A success that brings nothing back.
pub fn success() -> Verdict {
    Verdict::Succeeded { result: None }
}

/// A report of `verdict` at `at`, after exactly the time that was charged.
pub fn report(lease: &Lease, verdict: Verdict, at: Timestamp) -> JobChange {
    report_after(lease, verdict, at, lease.charged_us)
}

/// A report of `verdict` at `at`, after `took_us` of slot time.
pub fn report_after(lease: &Lease, verdict: Verdict, at: Timestamp, took_us: i64) -> JobChange {
    change::settle(lease, Report { verdict, at, took_us, random: 0.5, place: 0 })
}

/// A job to be inserted, PENDING at [`START`] in the queue `default` and run by
/// the engine itself, unless it is told otherwise.
#[derive(Clone, Debug)]
pub struct Draft(pub NewJob);

impl Draft {
    /// Job number `n` of `tenant`.
    pub fn new(tenant: TenantId, n: u32) -> Result<Self> {
        let id = job_id(n);
        let spec = JobSpec {
            id,
            tenant,
            queue: QueueName::fallback(),
            kind: kind("work")?,
            priority: Priority::Medium,
            payload: Json::object(),
            labels: Labels::new(),
            target: Some(Target::Builtin { name: Builtin::Noop, ms: None }),
            retry_policy: RetryPolicy::default(),
            timeout_ms: 30_000,
            idempotency_key: None,
            correlation_id: CorrelationId(id.0),
            parent_job_id: None,
            rule_id: None,
            firing_id: None,
            traceparent: None,
            created_by: Actor::api(),
            created_at: START,
            run_at: START,
        };
        let standing = Standing::Pending { due: START };
        Ok(Self(NewJob { spec, standing, fingerprint: [1; 32] }))
    }

    /// In this queue.
    pub fn queue(mut self, name: &str) -> Result<Self> {
        self.0.spec.queue = queue(name)?;
        Ok(self)
    }

    /// Of this kind.
    pub fn kind(mut self, name: &str) -> Result<Self> {
        self.0.spec.kind = kind(name)?;
        Ok(self)
    }

    /// Left to a pulling worker.
    #[must_use]
    pub fn pulled(mut self) -> Self {
        self.0.spec.target = None;
        self
    }

    /// This urgent.
    #[must_use]
    pub fn priority(mut self, priority: Priority) -> Self {
        self.0.spec.priority = priority;
        self
    }

    /// Tried so often.
    #[must_use]
    pub fn policy(mut self, policy: RetryPolicy) -> Self {
        self.0.spec.retry_policy = policy;
        self
    }

    /// PENDING since `due`.
    #[must_use]
    pub fn due(mut self, due: Timestamp) -> Self {
        self.0.spec.run_at = due;
        self.0.standing = Standing::Pending { due };
        self
    }

    /// SCHEDULED until `due`.
    #[must_use]
    pub fn scheduled(mut self, due: Timestamp) -> Self {
        self.0.spec.run_at = due;
        self.0.standing = Standing::Scheduled { due, delay: Delay::Requested };
        self
    }

    /// WAITING for other jobs.
    #[must_use]
    pub fn waiting(mut self) -> Self {
        self.0.standing = Standing::Waiting { due: self.0.spec.run_at };
        self
    }

    /// Accepted at `at`.
    #[must_use]
    pub fn created(mut self, at: Timestamp) -> Self {
        self.0.spec.created_at = at;
        self
    }

    /// With an idempotency key, used for a request that is told by `request`.
    #[must_use]
    pub fn key(mut self, key: &str, request: u8) -> Self {
        self.0.spec.idempotency_key = Some(key.into());
        self.0.fingerprint = [request; 32];
        self
    }

    /// With one more label.
    #[must_use]
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.0.spec.labels.insert(key.into(), value.into());
        self
    }
}

/// The stores with a tenant and a worker, and short words for what most cases do.
#[derive(Clone)]
pub struct Scene<'a> {
    /// The stores.
    pub stores: &'a Stores,
    /// The tenant `default`.
    pub tenant: Tenant,
    /// A worker that serves everything, with a lease of an hour.
    pub worker: WorkerName,
}

impl<'a> Scene<'a> {
    /// With the tenant `default` and the worker `w-1`.
    pub async fn new(stores: &'a Stores) -> Result<Self> {
        let tenant = stores.tenants.get(&TenantSlug::fallback()).await?.context("the tenant `default`")?;
        let worker = worker("w-1")?;
        let scene = Self { stores, tenant, worker: worker.clone() };
        scene.beat(&worker, START, at(3_600_000)).await?;
        Ok(scene)
    }

    /// Another tenant, with default settings.
    pub async fn tenant(&self, name: &str) -> Result<Tenant> {
        Ok(self.stores.tenants.ensure(&slug(name)?, START).await?)
    }

    /// Another tenant, with these settings.
    pub async fn tenant_with(&self, name: &str, settings: &TenantSettings) -> Result<Tenant> {
        Ok(self.stores.tenants.put(&slug(name)?, settings, START, None).await?)
    }

    /// A queue with these settings.
    pub async fn queue_with(&self, name: &str, settings: &QueueSettings) -> Result<()> {
        self.stores.queues.put(QueuePut::new(queue(name)?, settings.clone(), START)).await?;
        Ok(())
    }

    /// A worker as it makes itself known.
    pub fn worker_row(name: &WorkerName, now: Timestamp, lease_until: Timestamp) -> Worker {
        Worker {
            name: name.clone(),
            tenant: None,
            queues: Vec::new(),
            kinds: Vec::new(),
            slots: 10,
            started_at: START,
            beat_at: now,
            lease_until,
        }
    }

    /// Makes a worker heard of.
    pub async fn beat(&self, name: &WorkerName, now: Timestamp, lease_until: Timestamp) -> Result<()> {
        self.stores.workers.beat(&Self::worker_row(name, now, lease_until)).await?;
        Ok(())
    }

    /// Job number `n` of the tenant `default`.
    pub fn job(&self, n: u32) -> Result<Draft> {
        Draft::new(self.tenant.id, n)
    }

    /// Inserts jobs, all of which must be new.
    pub async fn put(&self, drafts: impl IntoIterator<Item = Draft>) -> Result<Vec<JobId>> {
        let jobs: Vec<NewJob> = drafts.into_iter().map(|draft| draft.0).collect();
        let ids: Vec<JobId> = jobs.iter().map(|job| job.spec.id).collect();
        let answers = self.stores.jobs.insert(jobs, false).await?;
        assert_eq!(answers, vec![Inserted::New; ids.len()]);
        Ok(ids)
    }

    /// Inserts one job, which must be new.
    pub async fn put_one(&self, draft: Draft) -> Result<JobId> {
        let ids = self.put([draft]).await?;
        ids.into_iter().next().context("one id")
    }

    /// A wish of the scene's worker for `max` jobs of the engine, whosesoever.
    pub fn request(&self, max: u32, now: Timestamp) -> ClaimRequest {
        ClaimRequest {
            worker: self.worker.clone(),
            tenant: None,
            queues: Vec::new(),
            route: Route::Engine,
            max,
            lease_until: None,
            now,
            nonce: 0x00ab_cdef,
        }
    }

    /// Claims jobs of the engine, whosesoever.
    pub async fn claim(&self, max: u32, now: Timestamp) -> Result<Vec<ClaimedJob>> {
        Ok(self.stores.jobs.claim(&self.request(max, now)).await?.jobs)
    }

    /// Claims one job, which must be there.
    pub async fn claim_one(&self, now: Timestamp) -> Result<ClaimedJob> {
        self.claim(1, now).await?.into_iter().next().context("a job to claim")
    }

    /// The ids of what a claim brings, in their order.
    pub async fn claim_ids(&self, max: u32, now: Timestamp) -> Result<Vec<JobId>> {
        Ok(self.claim(max, now).await?.into_iter().map(|job| job.spec.id).collect())
    }

    /// Commits one change.
    pub async fn commit(&self, change: &JobChange) -> Result<Committed> {
        let answers = self.stores.jobs.commit(std::slice::from_ref(change)).await?;
        assert_eq!(answers.len(), 1, "an answer for each change");
        Ok(answers[0])
    }

    /// Commits one change, which must not be refused.
    pub async fn done(&self, change: &JobChange) -> Result<()> {
        assert_eq!(self.commit(change).await?, Committed::Done);
        Ok(())
    }

    /// Ends the attempt of a claimed job.
    pub async fn settle(&self, job: &ClaimedJob, verdict: Verdict, at: Timestamp) -> Result<()> {
        self.done(&report(&job.lease, verdict, at)).await
    }

    /// A job of the tenant `default`, as the reader shows it at `now`.
    pub async fn look(&self, id: JobId, now: Timestamp) -> Result<Job> {
        self.stores.reader.get(self.tenant.id, id, now).await?.context("the job")
    }

    /// The whole history of a job of the tenant `default`, which must be gapless.
    pub async fn history(&self, id: JobId) -> Result<Vec<JobEvent>> {
        let events = self.stores.reader.events(self.tenant.id, id, 0, 1_000).await?.context("a history")?;
        for (index, event) in events.iter().enumerate() {
            assert_eq!(event.seq as usize, index + 1, "a gap in {events:?}");
        }
        Ok(events)
    }

    /// What must be so after each change of a job: the history is gapless and as
    /// long as the job's version says.
    pub async fn consistent(&self, id: JobId, now: Timestamp) -> Result<Job> {
        let job = self.look(id, now).await?;
        assert_eq!(self.history(id).await?.len(), job.seq as usize, "history and version of {id}");
        let attempts =
            self.stores.reader.attempts(self.tenant.id, id, 0, 1_000).await?.context("attempts")?;
        let numbers: Vec<u16> = attempts.iter().map(|attempt| attempt.number).collect();
        assert_eq!(numbers, (1..=job.counters.attempt).collect::<Vec<_>>(), "attempts of {id}");
        assert_eq!(job.last_attempt, attempts.last().cloned(), "last attempt of {id}");
        Ok(job)
    }

    /// What must be so at the end of a case: the counters agree with the jobs.
    pub async fn healthy(&self, now: Timestamp) -> Result<()> {
        let proof = self.stores.jobs.proof(now).await?;
        assert!(proof.holds(), "{:?}", proof.broken().collect::<Vec<_>>());
        assert_eq!(self.stores.jobs.sweep(now).await?, taskflow_application::ports::Discrepancies::default());
        Ok(())
    }
}

/// A token that no lease has.
pub const fn false_token() -> LeaseToken {
    LeaseToken::new(1, 0x0bad)
}
