//! What the jobs of a run do, and the log that their target keeps of it.

use std::sync::Arc;
use std::time::Duration;

use taskflow_checker::history::Effect;
use taskflow_domain::{AttemptError, ClaimedJob, Verdict};
use taskflow_worker::{Execution, Executor, RunContext};
use tokio::time::sleep;

use super::client_rules::RULES_JOBS;
use super::log::{job_name, token_name};
use super::plan::{Conduct, Deed, Process};
use super::world::Sim;

/// What the jobs of a run do.
pub(super) struct SimExecutor {
    sim: Arc<Sim>,
    process: Process,
}

impl SimExecutor {
    /// In this process.
    pub(super) fn new(sim: &Arc<Sim>, process: Process) -> Self {
        Self { sim: Arc::clone(sim), process }
    }
}

/// An execution in the target's log: when it is dropped, it has ended.
struct Entry {
    sim: Arc<Sim>,
    place: usize,
}

impl Entry {
    fn begin(sim: &Arc<Sim>, job: &ClaimedJob) -> Self {
        let began_at = sim.now_us();
        let effect = Effect {
            job: job_name(job.lease.job),
            tenant: job.slug.as_str().into(),
            attempt: job.lease.counters.attempt.into(),
            token: token_name(job.lease.token),
            began_at,
            ended_at: None,
        };
        let place = sim.log().effect_begins(effect);
        Self { sim: Arc::clone(sim), place }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let now = self.sim.now_us();
        // Once the run is judged, there is no log any more.
        if let Some(effect) = self.sim.log().history.effects.get_mut(self.place) {
            effect.ended_at = Some(now);
        }
    }
}

/// What this attempt of the job does.
pub(super) fn conduct_of(sim: &Sim, job: &ClaimedJob) -> Conduct {
    let number = number_of(job.spec.payload.as_str());
    if let Some(rule) = number.and_then(|number| number.checked_sub(RULES_JOBS)) {
        return Conduct::Succeed(sim.plan.rule(rule).map_or(0, |rule| rule.job_ms));
    }
    let wish = sim.plan.actions.iter().find_map(|action| match &action.deed {
        Deed::Submit(wish) if Some(wish.number) == number => Some(wish),
        _ => None,
    });
    let attempt = usize::from(job.lease.counters.attempt.saturating_sub(1));
    let attempts = wish.map(|wish| wish.attempts.as_slice()).unwrap_or_default();
    attempts.get(attempt).or(attempts.last()).copied().unwrap_or(Conduct::Succeed(0))
}

/// The number of the submit whose payload this is.
pub(super) fn number_of(payload: &str) -> Option<u32> {
    let rest = payload.strip_prefix("{\"number\":")?;
    rest[..rest.find([',', '}'])?].parse().ok()
}

/// The payload of a submit.
pub fn payload_of(number: u32) -> String {
    format!("{{\"number\":{number}}}")
}

/// Does what the job does, in the process `process`.
pub(super) async fn act(sim: Arc<Sim>, process: Process, job: Arc<ClaimedJob>, conduct: Conduct) -> Verdict {
    let entry = Entry::begin(&sim, &job);
    let verdict = match conduct {
        Conduct::Succeed(ms) => {
            sleep(Duration::from_millis(ms)).await;
            Verdict::Succeeded { result: None }
        }
        Conduct::Fail(ms) => {
            sleep(Duration::from_millis(ms)).await;
            failure(false)
        }
        Conduct::FailForGood => failure(true),
        Conduct::Snooze(for_ms) => Verdict::Snoozed { for_ms },
        Conduct::Hang => std::future::pending().await,
        Conduct::Kill => {
            super::driver::kill(&sim, process, 1_000);
            std::future::pending().await
        }
    };
    drop(entry);
    verdict
}

fn failure(permanent: bool) -> Verdict {
    let error = AttemptError { kind: "http_status".into(), message: "500 from the target".into() };
    Verdict::Failed { error, result: None, permanent, retry_after_ms: None }
}

impl Executor for SimExecutor {
    fn execute(&self, job: Arc<ClaimedJob>, _context: RunContext) -> Execution {
        let conduct = conduct_of(&self.sim, &job);
        if conduct == Conduct::Succeed(0) {
            drop(Entry::begin(&self.sim, &job));
            return Execution::Done(Verdict::Succeeded { result: None });
        }
        Execution::Running(Box::pin(act(Arc::clone(&self.sim), self.process, job, conduct)))
    }
}
