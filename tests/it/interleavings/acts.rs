//! What a session does, and what it is told.

use anyhow::{Context as _, Result};
use taskflow_application::World;
use taskflow_application::automation::Automation;
use taskflow_application::jobs::{Jobs, JobsError};
use taskflow_application::work::{Ended, Settled, Work};
use taskflow_checker::history::{Known, Op};
use taskflow_domain::change::Edit;
use taskflow_domain::{AttemptError, ClaimedJob, Job, JobId, JobState, Lease, Verdict, WorkerName};
use taskflow_tests::sim::{job_name, token_name};

use super::rules;
use super::stage::{LEASE_MS, Scene, Start, caller, known, wish};

/// What a session does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Submit,
    Claim,
    Complete,
    Fail,
    Reap,
    Beat,
    Promote,
    Cancel,
    Pause,
    Resume,
    Redrive,
    Move,
    /// A tick of the clock.
    Fire,
    /// A look into the outbox.
    Dispatch,
    /// A delivery comes, once more.
    Deliver,
    /// The rule is switched off.
    Switch,
}

/// What a session learned.
#[derive(Default)]
pub(super) struct Told {
    pub(super) calls: Vec<(Known, Op)>,
    pub(super) claimed: Vec<ClaimedJob>,
    pub(super) reaped: bool,
}

/// The report of a failure that may be retried.
pub(super) fn failed(lease: Lease) -> Ended {
    let error = AttemptError { kind: "test".into(), message: "as planned".into() };
    let verdict = Verdict::Failed { error, result: None, permanent: false, retry_after_ms: None };
    Ended { lease, verdict, took_us: 0 }
}

/// One operation, by the use cases of one session. What the job's state refuses
/// is legal; a store that fails is not.
pub(super) async fn perform(
    world: World,
    act: Act,
    start: Start,
    scene: Scene,
    worker: WorkerName,
    holder: WorkerName,
) -> Result<Told> {
    let (jobs, work) = (Jobs::new(world.clone()), Work::new(world.clone()));
    let mut told = Told::default();
    let now = world.clock.now();
    let id = scene.jobs.first().copied();
    match act {
        Act::Claim => told.claimed = work.claim(&worker, 1).await?.jobs,
        Act::Beat => drop(work.beat(&known(&holder, now), LEASE_MS).await?),
        Act::Promote => drop(world.stores.jobs.promote(now, 10).await?),
        Act::Reap => {
            let expired = world.stores.jobs.expired(now, 10).await?;
            let lost = |lease| Ended { lease, verdict: Verdict::Lost, took_us: 0 };
            let settled = work.settle_lapsed(&expired.into_iter().map(lost).collect::<Vec<_>>()).await?;
            told.reaped = settled.iter().any(|settled| *settled != Settled::LeaseLost);
        }
        Act::Complete | Act::Fail => {
            let lease = scene.lease.context("a lease")?;
            let verdict = Verdict::Succeeded { result: None };
            let done = Ended { lease: lease.clone(), verdict, took_us: 0 };
            let (ended, outcome) =
                if act == Act::Complete { (done, "SUCCEEDED") } else { (failed(lease.clone()), "FAILED") };
            let settled = work.settle(&[ended]).await?;
            told.calls.push(settle_call(&lease, outcome, settled[0]));
        }
        Act::Submit => {
            let answer = jobs.submit(&caller(), wish(scene.number, start, None)?).await;
            told.calls.push(submit_call(&scene, answer.map(|done| done.job.spec.id))?);
        }
        Act::Cancel => {
            let id = id.context("a job")?;
            let known = legal(jobs.cancel(&caller(), id, None).await)?;
            told.calls.push((known, Op::Cancel { job: job_name(id) }));
        }
        Act::Pause => {
            legal(jobs.pause(&caller(), id.context("a job")?).await)?;
        }
        Act::Resume => {
            legal(jobs.resume(&caller(), id.context("a job")?).await)?;
        }
        Act::Redrive => {
            legal(jobs.retry(&caller(), id.context("a job")?).await)?;
        }
        Act::Move => {
            let edit = Edit { run_at: Some(now.plus_millis(-1)), ..Edit::default() };
            legal(jobs.edit(&caller(), id.context("a job")?, edit).await)?;
        }
        Act::Fire | Act::Dispatch | Act::Deliver | Act::Switch => {
            let rule = scene.rule.as_ref().context("a rule")?;
            let automation = Automation::new(world, scene.tools.clone());
            told.calls = rules::perform(&automation, rule, scene.number, act).await?;
        }
    }
    Ok(told)
}

fn legal(answer: Result<Job, JobsError>) -> Result<Known> {
    match answer {
        Ok(_) => Ok(Known::Ok),
        Err(JobsError::Refused(_)) => Ok(Known::Fail),
        Err(other) => Err(other.into()),
    }
}

fn settle_call(lease: &Lease, outcome: &str, settled: Settled) -> (Known, Op) {
    let (known, then) = match settled {
        Settled::Done(state) => (Known::Ok, Some(state)),
        Settled::LeaseLost => (Known::Fail, None),
    };
    let (job, token) = (job_name(lease.job), token_name(lease.token));
    let then = then.map(|state: JobState| state.as_str().to_owned());
    (known, Op::Settle { job, token, outcome: outcome.into(), then })
}

fn submit_call(scene: &Scene, answer: Result<JobId, JobsError>) -> Result<(Known, Op)> {
    let (known, job) = match answer {
        Ok(id) => (Known::Ok, Some(job_name(id))),
        Err(JobsError::InFlight) => (Known::Fail, None),
        Err(other) => return Err(other.into()),
    };
    let op = Op::Submit {
        tenant: "default".into(),
        marker: format!("m-{}", scene.number),
        key: Some(format!("key-{}", scene.number)),
        run_at: None,
        job,
    };
    Ok((known, op))
}
