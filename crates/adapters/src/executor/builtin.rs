//! Builtin targets: work inside the worker, for trying things out and for measuring.

use std::time::Duration;

use futures_util::FutureExt;
use taskflow_domain::{AttemptError, Builtin, Json, Verdict};
use taskflow_worker::{Execution, RunContext};
use tokio::time::sleep;

/// Begins `name`. Whatever takes no time is done at once.
pub(super) fn execute(name: Builtin, ms: u64, payload: &Json, context: RunContext) -> Execution {
    match name {
        Builtin::Noop => Execution::Done(Verdict::Succeeded { result: None }),
        Builtin::Echo => Execution::Done(Verdict::Succeeded { result: Some(payload.clone()) }),
        Builtin::Sleep => after(ms, Verdict::Succeeded { result: None }, context),
        Builtin::Fail => after(ms, failed(), context),
    }
}

fn after(ms: u64, verdict: Verdict, context: RunContext) -> Execution {
    if ms == 0 {
        return Execution::Done(verdict);
    }
    let wait = async move {
        tokio::select! {
            biased;
            () = context.cancel.cancelled() => Verdict::Cancelled,
            () = sleep(Duration::from_millis(ms)) => verdict,
        }
    };
    Execution::Running(wait.boxed())
}

fn failed() -> Verdict {
    Verdict::Failed {
        error: AttemptError {
            kind: "builtin_fail".into(),
            message: "the builtin target fails on purpose".into(),
        },
        result: None,
        permanent: false,
        retry_after_ms: None,
    }
}
