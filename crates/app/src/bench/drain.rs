//! How many jobs can be claimed, run and settled in a second.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use taskflow_adapters::executor::{EgressPolicy, JobExecutor};
use taskflow_application::World;
use taskflow_application::ports::Worker as WorkerCard;
use taskflow_application::work::Work;
use taskflow_domain::WorkerName;
use taskflow_worker::{Executor, Placement, Worker, WorkerConfig, WorkerStats};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::subject::LEASE_MS;
use super::{BenchOptions, PATIENCE};
use crate::source::LocalSource;

/// A worker of the bench.
pub(super) struct BenchWorker {
    pub(super) stats: Arc<WorkerStats>,
    stop: CancellationToken,
    running: JoinHandle<std::io::Result<()>>,
}

impl BenchWorker {
    pub(super) fn start(world: &World, executor: Arc<dyn Executor>, slots: u32, batch: u32) -> Result<Self> {
        let now = world.clock.now();
        let card = WorkerCard {
            name: WorkerName::new(&format!("bench-{:x}", world.ids.nonce()))?,
            tenant: None,
            queues: Vec::new(),
            kinds: Vec::new(),
            slots,
            started_at: now,
            beat_at: now,
            lease_until: now,
        };
        let lease = Duration::from_millis(LEASE_MS);
        let source = LocalSource::new(Work::new(world.clone()), &*world.wakeups, card, lease);
        let config =
            WorkerConfig { slots, max_batch: batch, placement: Placement::Here, ..WorkerConfig::default() };
        let worker = Worker::new(config);
        let stats = worker.stats();
        let stop = CancellationToken::new();
        let running = tokio::spawn(worker.run(Arc::new(source), executor, stop.clone(), PATIENCE));
        Ok(Self { stats, stop, running })
    }

    pub(super) async fn finish(self) -> Result<()> {
        self.stop.cancel();
        self.running.await.context("the worker broke")?.context("the worker failed")
    }
}

/// Runs all jobs; answers jobs per second.
pub(super) async fn run(options: &BenchOptions, world: &World) -> Result<f64> {
    let jobs = u64::from(options.jobs);
    let begun = Instant::now();
    let egress = EgressPolicy::new(Vec::new());
    let executor = Arc::new(JobExecutor::new(egress, world.clock.clone(), world.ids.clone(), None)?);
    let worker = BenchWorker::start(world, executor, options.slots, options.batch)?;
    let mut told = begun;
    while worker.stats.snapshot().settled < jobs {
        ensure!(begun.elapsed() < PATIENCE, "the backlog was not drained in {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
        if told.elapsed() > Duration::from_secs(2) {
            told = Instant::now();
            eprintln!("drain: {} of {jobs}", worker.stats.snapshot().settled);
        }
    }
    let rate = jobs as f64 / begun.elapsed().as_secs_f64();
    worker.finish().await?;
    Ok(rate)
}
