//! Starting what a claim brought.
//!
//! Everything is begun first and made known afterwards, with one lock for the
//! whole batch. Work that is done at once costs no task and no lock of its own.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::BoxFuture;
use taskflow_domain::{ClaimedJob, Lease, Verdict};
use tokio::time::Instant;

use crate::attempt::{self, Attempt};
use crate::control::Control;
use crate::executor::{Execution, RunContext};
use crate::held::key;
use crate::shared::{Reports, Shared};
use crate::source::Finished;

/// Begins all of `jobs`.
pub(crate) fn start(shared: &Arc<Shared>, reports: &Reports, jobs: Vec<ClaimedJob>) {
    let mut done = Vec::with_capacity(jobs.len());
    let mut running: Vec<(Attempt, BoxFuture<'static, Verdict>)> = Vec::new();
    let mut began = Instant::now();
    for job in jobs {
        let job = Arc::new(job);
        let control = Control::default();
        let context = RunContext { cancel: control.cancel.clone() };
        let begin = AssertUnwindSafe(|| shared.executor.execute(Arc::clone(&job), context));
        let execution =
            catch_unwind(begin).unwrap_or_else(|panic| Execution::Done(attempt::panicked(panic.as_ref())));
        let now = Instant::now();
        match execution {
            Execution::Done(verdict) => {
                done.push(Finished { lease: lease_of(job), verdict, took_us: micros(now - began) });
            }
            Execution::Running(future) => {
                running.push((Attempt { job, control: Arc::new(control), began }, future));
            }
        }
        began = now;
    }
    {
        let mut held = shared.held();
        for finished in &done {
            held.insert(key(&finished.lease), None);
        }
        for (attempt, _) in &running {
            held.insert(key(&attempt.job.lease), Some(Arc::clone(&attempt.control)));
        }
    }
    shared.stats.running.fetch_add(running.len() as u32, Ordering::Relaxed);
    report(shared, reports, done);
    for (attempt, future) in running {
        tokio::spawn(attempt.supervise(Arc::clone(shared), reports.clone(), future));
    }
}

/// Hands back jobs that are not to be started.
pub(crate) fn hand_back(shared: &Shared, reports: &Reports, jobs: Vec<ClaimedJob>) {
    let back: Vec<_> = jobs
        .into_iter()
        .map(|job| Finished { lease: job.lease, verdict: Verdict::Interrupted, took_us: 0 })
        .collect();
    {
        let mut held = shared.held();
        for finished in &back {
            held.insert(key(&finished.lease), None);
        }
    }
    report(shared, reports, back);
}

/// Passes on reports of leases that are known.
pub(crate) fn report(shared: &Shared, reports: &Reports, finished: Vec<Finished>) {
    if finished.is_empty() {
        return;
    }
    let count = finished.len() as u32;
    shared.stats.unsettled.fetch_add(count, Ordering::Relaxed);
    if reports.send(finished).is_err() {
        // Only after the last deadline of a shutdown does nobody listen any more;
        // the source then learns from the worker's leaving.
        shared.stats.unsettled.fetch_sub(count, Ordering::Relaxed);
    }
}

/// Whole microseconds of `duration`.
pub(crate) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// The lease of a job, moved out where the executor kept nothing of it.
pub(crate) fn lease_of(job: Arc<ClaimedJob>) -> Lease {
    Arc::try_unwrap(job).map_or_else(|shared| shared.lease.clone(), |own| own.lease)
}
