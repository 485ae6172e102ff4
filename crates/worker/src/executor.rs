//! What a job does.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use taskflow_domain::{ClaimedJob, Verdict};
use tokio_util::sync::CancellationToken;

/// What an execution is told besides its job.
#[derive(Clone, Debug)]
pub struct RunContext {
    /// Set when the job is to stop: cancelled, its lease lost, or the worker going.
    pub cancel: CancellationToken,
}

/// An execution: done already, or still to be waited for.
pub enum Execution {
    /// It needed no waiting, so no task is made for it.
    Done(Verdict),
    /// To be driven to its end, under the job's timeout, which the loop enforces.
    Running(BoxFuture<'static, Verdict>),
}

/// What a job does.
pub trait Executor: Send + Sync + 'static {
    /// Begins `job`.
    fn execute(&self, job: Arc<ClaimedJob>, context: RunContext) -> Execution;
}
