//! Running jobs: HTTP targets and builtin work.

mod builtin;
mod egress;
mod failure;
mod headers;
mod http;
mod nets;
mod resolve;
mod response;
mod retry_after;
pub mod sanitize;
mod tls;
mod trace;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use futures_util::FutureExt;
use taskflow_application::ports::{Clock, Ids, Vault};
use taskflow_domain::{AttemptError, ClaimedJob, Target, Verdict};
use taskflow_worker::{Execution, Executor, RunContext};

use crate::telemetry::Span;

pub use egress::{Denied, EgressError, EgressPolicy};
pub use headers::validate_header;
pub use tls::install_crypto;

/// The executor could not be made.
#[derive(Debug, thiserror::Error)]
#[error("the HTTP client cannot be made: {0}")]
pub struct ExecutorError(String);

/// Runs jobs that have a target.
pub struct JobExecutor {
    http: Arc<http::Http>,
}

impl JobExecutor {
    /// An executor whose HTTP targets may reach what `egress` allows, and whose
    /// credentials `vault` opens.
    ///
    /// The process must have a TLS provider: see [`install_crypto`].
    pub fn new(
        egress: EgressPolicy,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn Ids>,
        vault: Option<Arc<dyn Vault>>,
    ) -> Result<Self, ExecutorError> {
        let client = tls::client(&egress).map_err(|error| ExecutorError(failure::deepest(&error)))?;
        Ok(Self { http: Arc::new(http::Http::new(client, egress, clock, ids, vault)) })
    }
}

/// An execution whose span ends with it.
fn spanned(mut span: Span, execution: Execution) -> Execution {
    match execution {
        Execution::Done(verdict) => {
            span.ended(&verdict);
            Execution::Done(verdict)
        }
        Execution::Running(work) => Execution::Running(
            async move {
                let verdict = work.await;
                span.ended(&verdict);
                verdict
            }
            .boxed(),
        ),
    }
}

impl Executor for JobExecutor {
    fn execute(&self, job: Arc<ClaimedJob>, context: RunContext) -> Execution {
        match &job.spec.target {
            Some(Target::Builtin { name, ms }) => {
                let span = Span::attempt(&job);
                let execution = builtin::execute(*name, ms.unwrap_or(0), &job.spec.payload, context);
                if span.is_made() { spanned(span, execution) } else { execution }
            }
            Some(Target::Http(_)) => {
                let http = Arc::clone(&self.http);
                Execution::Running(async move { http.execute(&job, &context).await }.boxed())
            }
            None => Execution::Done(Verdict::Failed {
                error: AttemptError {
                    kind: "no_target".into(),
                    message: "the job has no target; a pulling worker has to run it".into(),
                },
                result: None,
                permanent: true,
                retry_after_ms: None,
            }),
        }
    }
}
