//! How long an idle system takes from a submit to the handler.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use taskflow_application::World;
use taskflow_application::jobs::Jobs;
use taskflow_domain::{ClaimedJob, Verdict};
use taskflow_worker::{Execution, Executor, RunContext};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::drain::BenchWorker;
use super::{PATIENCE, caller, wish};

const SAMPLES: usize = 200;
/// Between two samples, so that each one meets an idle system.
const PAUSE: Duration = Duration::from_millis(20);

/// Milliseconds from the call of the submit to the call of the handler.
pub(super) struct PickUp {
    pub(super) p50: f64,
    pub(super) p95: f64,
    pub(super) p99: f64,
}

/// Tells when a job arrives.
struct Doorbell(mpsc::UnboundedSender<Instant>);

impl Executor for Doorbell {
    fn execute(&self, _: Arc<ClaimedJob>, _: RunContext) -> Execution {
        // The receiver is gone only when the bench has given up.
        let _ = self.0.send(Instant::now());
        Execution::Done(Verdict::Succeeded { result: None })
    }
}

/// Submits one job after the other, each to an idle system.
pub(super) async fn run(world: &World) -> Result<PickUp> {
    let (ring, mut rings) = mpsc::unbounded_channel();
    let worker = BenchWorker::start(world, Arc::new(Doorbell(ring)), 100, 100)?;
    let jobs = Jobs::new(world.clone());
    let (caller, wish) = (caller(0)?, wish(0)?);
    let mut times = Vec::with_capacity(SAMPLES);
    for sample in 0..SAMPLES + 10 {
        tokio::time::sleep(PAUSE).await;
        let begun = Instant::now();
        jobs.submit(&caller, wish.clone()).await?;
        let rung = tokio::time::timeout(PATIENCE, rings.recv()).await?.context("the worker is gone")?;
        // The first ones meet cold caches and statements that are not prepared yet.
        if sample >= 10 {
            times.push(rung.saturating_duration_since(begun).as_secs_f64() * 1e3);
        }
    }
    worker.finish().await?;
    times.sort_by(f64::total_cmp);
    let at = |part: f64| (times[((times.len() - 1) as f64 * part).round() as usize] * 1e3).round() / 1e3;
    Ok(PickUp { p50: at(0.5), p95: at(0.95), p99: at(0.99) })
}
