//! Writing jobs: the hot path of the engine.

use async_trait::async_trait;
use taskflow_domain::{
    ClaimedJob, JobChange, JobId, JobSpec, JobState, Kind, Lease, LeaseToken, QueueName, Standing, TenantId,
    Timestamp, WorkerName,
};

use super::{AuditNote, LeaseKey, Proof, StoreResult};

/// A job to be inserted.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// What was asked for.
    pub spec: JobSpec,
    /// Where it stands first: WAITING, SCHEDULED or PENDING.
    pub standing: Standing,
    /// SHA-256 of the request, compared when the idempotency key is used again.
    pub fingerprint: [u8; 32],
}

/// What became of one job of an insert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// It exists now.
    New,
    /// Its idempotency key was used before for the same request, by this job.
    Existing(JobId),
    /// Its idempotency key was used before for another request, by this job.
    KeyReused(JobId),
    /// The tenant may have only this many jobs that neither run nor have ended,
    /// and has them. A known key is answered as known even then.
    BacklogFull(u32),
}

/// Which jobs a claim may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// Jobs with a target: the engine's own worker runs them.
    Engine,
    /// Jobs without a target, of these kinds: a pulling worker runs them.
    Kinds(Vec<Kind>),
}

/// A wish for work.
#[derive(Clone, Debug)]
pub struct ClaimRequest {
    /// Who asks.
    pub worker: WorkerName,
    /// Only jobs of this tenant; `None` for all.
    pub tenant: Option<TenantId>,
    /// Only jobs of these queues; empty for all.
    pub queues: Vec<QueueName>,
    /// Which executions.
    pub route: Route,
    /// How many at most.
    pub max: u32,
    /// When each lease ends unless it is extended. `None` binds the leases to
    /// the lease of the worker itself (see [`super::WorkerStore::beat`]), which is
    /// for workers that serve all tenants.
    pub lease_until: Option<Timestamp>,
    /// Now.
    pub now: Timestamp,
    /// 48 random bits for the tokens.
    pub nonce: u64,
}

/// What a claim found.
#[derive(Clone, Debug, Default)]
pub struct Claim {
    /// The claimed jobs, in the order in which they should start.
    pub jobs: Vec<ClaimedJob>,
    /// Whether another claim right now might find more.
    pub more: bool,
}

/// Whether a change was committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Committed {
    /// It was.
    Done,
    /// The job was no longer as the change had found it. Nothing was written for it.
    Refused,
    /// It would wait again, and as many jobs of its tenant wait as may: so many. Nothing
    /// was written for it.
    BacklogFull(u32),
}

/// Whether a lease was extended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extended {
    /// It was; and what tells whether the worker should stop the job.
    Held {
        /// Somebody asked for the job's end.
        cancel: bool,
        /// When the attempt has taken too long: [`Lease::timeout_at`].
        timeout_at: Timestamp,
    },
    /// The token is not, or no longer, that of the job's lease.
    Lost,
}

/// What promoting found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Promoted {
    /// Jobs that became claimable.
    pub jobs: u32,
    /// When the next one is due, if any is scheduled.
    pub next_due: Option<Timestamp>,
}

/// What a sweep found wrong and mended. All zero in a healthy system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Discrepancies {
    /// Lanes that slept although jobs of them were due.
    pub sleeping_lanes: u64,
    /// Lanes held back by a limit that had room.
    pub blocked_lanes: u64,
    /// Counters of running jobs that differed from the running jobs.
    pub counters: u64,
}

/// Writing jobs.
#[async_trait]
pub trait JobStore: Send + Sync {
    /// Inserts jobs in one transaction; the answers stand in the order of the jobs.
    ///
    /// With `atomic`, nothing is inserted unless every answer is `New` or
    /// `Existing`. Without, each job stands for itself. A key that occurs twice
    /// in one call counts as used by the first. Queues and kinds that did not
    /// exist come into being. Due jobs are claimable when this returns.
    async fn insert(&self, jobs: Vec<NewJob>, atomic: bool) -> StoreResult<Vec<Inserted>>;

    /// Turns due jobs into RUNNING ones, in fair order and under every limit.
    ///
    /// In one transaction per queue group: the job leaves the due jobs, its attempt is counted
    /// and begins, its `started` entry gets its number, its lane is charged. At
    /// no committed instant do more jobs run than a limit allows, and nothing of
    /// a paused queue or tenant starts. An attempt begins at `now`, or when its job
    /// was due if that is later: a claim may be long on its way, and meet jobs that
    /// became due meanwhile. A worker that was never heard of becomes
    /// known by what it is given, with a lease of its own that ends `now`.
    async fn claim(&self, request: &ClaimRequest) -> StoreResult<Claim>;

    /// Commits changes, all in one transaction, each only if its guard holds; the
    /// answers stand in the order of the changes. Of several changes of one job in
    /// one call at most one is made, and of those that name the same fence or
    /// version ([`taskflow_domain::Guard::name`]) only the first is looked at. So a
    /// late report does not stand in the way of the one that counts.
    ///
    /// With a change goes everything that belongs to it: the job's place, its
    /// counters, the finished attempt, the entry in the history, the room under
    /// the limits, the charge of the lane. Jobs that became due are claimable
    /// when this returns. Of a change that keeps the job running
    /// (`RequestCancel`, `Keep`) the counters say nothing new.
    async fn commit(&self, changes: &[JobChange]) -> StoreResult<Vec<Committed>>;

    /// Commits one change that somebody asked for, with a note of it in the audit,
    /// if it is made: both or neither.
    async fn commit_noted(&self, change: &JobChange, note: AuditNote) -> StoreResult<Committed>;

    /// The leases of jobs that run, for those of the given jobs that do.
    async fn leases(&self, jobs: &[(TenantId, JobId)]) -> StoreResult<Vec<Option<Lease>>>;

    /// Extends leases that were claimed with a `lease_until` of their own, none of
    /// them beyond its [`Lease::limit`].
    async fn extend(&self, leases: &[LeaseKey], until: Timestamp) -> StoreResult<Vec<Extended>>;

    /// Notes progress of running jobs, each report with an entry in the history
    /// (see [`taskflow_domain::event::progressed`]), also where a call holds
    /// several of one job. Answers whether each lease was held.
    async fn progress(
        &self,
        reports: &[(TenantId, JobId, LeaseToken, taskflow_domain::Progress)],
        at: Timestamp,
    ) -> StoreResult<Vec<bool>>;

    /// Leases that ended before `now` without being extended, at most `limit`:
    /// those with an end of their own, and those of workers whose lease ended.
    async fn expired(&self, now: Timestamp, limit: u32) -> StoreResult<Vec<Lease>>;

    /// Makes scheduled jobs that are due by `now` claimable, at most `limit`, the
    /// earliest first. That is no change of the job and makes no entry.
    async fn promote(&self, now: Timestamp, limit: u32) -> StoreResult<Promoted>;

    /// Deletes jobs in terminal state `state` that ended before `before`, with
    /// all that belongs to them, at most `limit`, in one short transaction.
    /// A job whose idempotency key was used after `keys_before` stays.
    async fn prune(
        &self,
        state: JobState,
        before: Timestamp,
        keys_before: Timestamp,
        limit: u32,
    ) -> StoreResult<u32>;

    /// Compares counters and flags with the running and due jobs, which are the
    /// truth, and mends what differs.
    async fn sweep(&self, now: Timestamp) -> StoreResult<Discrepancies>;

    /// Compares everything that is kept beside the jobs with the jobs, in one
    /// snapshot, and mends nothing. It reads every job that is kept: the longer the
    /// history, the longer it takes.
    async fn proof(&self, now: Timestamp) -> StoreResult<Proof>;
}
