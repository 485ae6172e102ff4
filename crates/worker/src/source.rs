//! Where leases come from and where reports go.

use std::time::Duration;

use async_trait::async_trait;
use taskflow_domain::{ClaimedJob, JobId, Lease, LeaseToken, TenantId, Verdict};

/// What a claim brought.
#[derive(Debug, Default)]
pub struct Claimed {
    /// The jobs, in the order in which they should start.
    pub jobs: Vec<ClaimedJob>,
    /// Whether another claim right now might find more.
    pub more: bool,
}

/// An attempt that has ended.
#[derive(Debug)]
pub struct Finished {
    /// The lease that it ran under.
    pub lease: Lease,
    /// How it ended.
    pub verdict: Verdict,
    /// Slot time that it took, in microseconds.
    pub took_us: i64,
}

/// What became of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It was committed.
    Done,
    /// The lease was lost before; the report changed nothing.
    LeaseLost,
}

/// A lease that the source says this worker holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The job's owner.
    pub tenant: TenantId,
    /// The job.
    pub job: JobId,
    /// The fence.
    pub token: LeaseToken,
    /// Whether the job is to be stopped.
    pub cancel: bool,
}

/// The source cannot be reached, or failed. A repeat may succeed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct SourceError(pub String);

/// Where leases come from and where reports go.
///
/// The worker may drop any of these futures; a call that was sent is then of
/// unknown outcome, as it is after an error.
#[async_trait]
pub trait LeaseSource: Send + Sync + 'static {
    /// Asks for at most `max` jobs. Does not wait for work.
    async fn claim(&self, max: u32) -> Result<Claimed, SourceError>;
    /// Reports the ends of attempts; the answers stand in their order.
    async fn settle(&self, finished: &[Finished]) -> Result<Vec<Settled>, SourceError>;
    /// Extends all leases of this worker, and tells which it holds. The first
    /// one makes the worker known; no claim is sent before it has succeeded.
    async fn beat(&self) -> Result<Vec<Held>, SourceError>;
    /// Takes back leases that [`Self::beat`] listed although the worker does not
    /// know them: the answer of their claim was lost on the way, so nothing runs
    /// and nobody else would ever end them. Each ends as
    /// [`Verdict::Interrupted`] under its token; one that is no longer held is
    /// passed over.
    async fn release(&self, held: &[Held]) -> Result<(), SourceError>;
    /// Waits until there may be work, at most `longest`. News that came since
    /// this returned last is not lost: then it returns at once.
    async fn work_arrives(&self, longest: Duration);
    /// Waits until some running job may have been cancelled. News that came
    /// since this returned last is not lost: then it returns at once.
    async fn cancel_arrives(&self);
    /// This worker takes no more jobs: its beats say so from now on, and the next one
    /// comes at once.
    fn close(&self);
    /// Says that this worker is leaving in good order.
    async fn leave(&self);
    /// How long a lease lasts without a beat.
    fn lease(&self) -> Duration;
}
