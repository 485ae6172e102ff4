//! One attempt that has to be waited for.
//!
//! Two tasks: the execution, on the runtime for executions, and its supervisor,
//! on the worker's. So the timeout, a cancel and a shutdown take effect, and the
//! slot becomes free, even when the execution blocks its thread.
//!
//! An execution that is to stop has its cancel token set first, and is dropped
//! when the grace is over. If it succeeds within the grace, its success counts
//! whatever the reason was: the work is done, and doing it twice is worse. Any
//! other end is told as what it was stopped for. Only when the lease is lost is
//! there neither grace nor report, for the job may run elsewhere already.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::BoxFuture;
use taskflow_domain::{AttemptError, ClaimedJob, Verdict};
use tokio::task::JoinError;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::control::{Control, Why};
use crate::held::key;
use crate::shared::{Reports, Shared};
use crate::source::Finished;
use crate::start::{lease_of, micros, report};
use crate::text;

/// The longest panic message that is kept, in characters.
const LONGEST_MESSAGE: usize = 500;

/// An attempt that runs.
pub(crate) struct Attempt {
    pub(crate) job: Arc<ClaimedJob>,
    pub(crate) control: Arc<Control>,
    pub(crate) began: Instant,
}

impl Attempt {
    /// Drives the execution to its end, and reports it.
    pub(crate) async fn supervise(
        self,
        shared: Arc<Shared>,
        reports: Reports,
        future: BoxFuture<'static, Verdict>,
    ) {
        let verdict = self.verdict(&shared, future).await;
        let took_us = micros(self.began.elapsed());
        let held = shared.held().end(&key(&self.job.lease));
        match verdict {
            Some(verdict) if held => {
                let lease = lease_of(self.job);
                report(&shared, &reports, vec![Finished { lease, verdict, took_us }]);
            }
            _ => {
                tracing::debug!(job.id = %self.job.lease.job, "an attempt was dropped because its lease was lost");
                shared.stats.leases_lost.add(1);
            }
        }
        shared.stats.running.fetch_sub(1, Ordering::Relaxed);
        shared.changed();
    }

    /// How the attempt ends; `None` if its lease is lost.
    async fn verdict(&self, shared: &Shared, future: BoxFuture<'static, Verdict>) -> Option<Verdict> {
        // Whatever happens to this task, the execution does not outlive it.
        let mut execution = AbortOnDropHandle::new(shared.executions.spawn(future));
        let after_ms = self.job.spec.timeout_ms;
        let left = Duration::from_millis(after_ms).saturating_sub(self.began.elapsed());
        let why = tokio::select! {
            biased;
            ended = &mut execution => return Some(told(ended)),
            why = self.control.stopped() => why,
            () = sleep(left) => {
                self.control.stop(Why::TimedOut);
                Why::TimedOut
            }
        };
        self.control.cancel.cancel();
        let ended = match why {
            Why::Lost => return None,
            Why::Cancelled => Verdict::Cancelled,
            Why::TimedOut => Verdict::TimedOut { after_ms },
            Why::Interrupted => Verdict::Interrupted,
        };
        match timeout(shared.config.grace, &mut execution).await {
            Ok(Ok(success @ Verdict::Succeeded { .. })) => Some(success),
            _ => Some(ended),
        }
    }
}

fn told(ended: Result<Verdict, JoinError>) -> Verdict {
    match ended.map_err(JoinError::try_into_panic) {
        Ok(verdict) => verdict,
        Err(Ok(panic)) => panicked(panic.as_ref()),
        // Nobody aborts an execution but its supervisor, so its runtime is going.
        Err(Err(_)) => Verdict::Interrupted,
    }
}

/// The verdict on an execution that panicked. It may be tried again: a panic
/// tells nothing about the next attempt.
pub(crate) fn panicked(panic: &(dyn Any + Send)) -> Verdict {
    let message = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("the handler panicked");
    Verdict::Failed {
        error: AttemptError { kind: "panic".into(), message: text::line(message, LONGEST_MESSAGE) },
        result: None,
        permanent: false,
        retry_after_ms: None,
    }
}
