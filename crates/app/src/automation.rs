//! Automation in this process: its tools, its loops, and the worker of a pulse.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use taskflow_adapters::condition::CelEngine;
use taskflow_adapters::webhook::Verifier;
use taskflow_application::World;
use taskflow_application::automation::{Automation, EventRetention, PulseWorker, Tools};
use taskflow_application::ports::{StoreError, StoreResult, Topic};
use taskflow_worker::{
    Claimed, Executor, Finished, Held, LeaseSource, Settled, SourceError, Worker, WorkerConfig,
};
use tokio_util::sync::CancellationToken;

use crate::runner::{Rhythm, Runner};

/// Threads that evaluate conditions.
const CONDITION_THREADS: usize = 2;
/// How often the clock's rules are looked at without being told.
const TICK: Duration = Duration::from_secs(1);
/// How often the outbox and the fan-outs are looked at. Nobody tells them of news:
/// a job's end that enters the outbox must not cost the job a message.
const DISPATCH: Duration = Duration::from_millis(200);
/// How often old events and firings are deleted.
const PRUNE: Duration = Duration::from_mins(1);

/// The rules of this process.
pub(crate) fn automation(world: &World, most_rules: u32) -> Result<Automation> {
    let conditions = CelEngine::start(CONDITION_THREADS).context("conditions cannot be evaluated")?;
    let tools = Tools { conditions: Arc::new(conditions), signatures: Arc::new(Verifier) };
    Ok(Automation::new(world.clone(), tools).with_most_rules(most_rules))
}

/// What makes rules fire: any number of processes may do it.
pub(crate) fn start(runner: &Runner, world: &World, automation: &Automation, retention: EventRetention) {
    let news = Some(world.wakeups.listen(Topic::Schedule));
    let rules = automation.clone();
    runner.start("tick", Rhythm { period: TICK, news }, move || {
        let rules = rules.clone();
        async move { rules.tick().await }
    });
    let rules = automation.clone();
    runner.start("dispatch", Rhythm { period: DISPATCH, news: None }, move || {
        let rules = rules.clone();
        async move { rules.dispatch().await }
    });
    let rules = automation.clone();
    runner.start("fan_out", Rhythm { period: DISPATCH, news: None }, move || {
        let rules = rules.clone();
        async move { rules.fan_out().await }
    });
    let rules = automation.clone();
    runner.start("prune_events", Rhythm { period: PRUNE, news: None }, move || {
        let rules = rules.clone();
        async move { rules.prune(retention).await }
    });
}

/// Makes a source of leases for one pulse.
type MakeSource = Box<dyn Fn() -> Result<Arc<dyn LeaseSource>> + Send + Sync>;

/// Runs jobs within a pulse: a worker of its own that ends when there is nothing
/// more, or enough was done, or the time is up.
pub(crate) struct OnePulse {
    source: MakeSource,
    executor: Arc<dyn Executor>,
}

impl OnePulse {
    pub(crate) fn new(source: MakeSource, executor: Arc<dyn Executor>) -> Self {
        Self { source, executor }
    }
}

#[async_trait]
impl PulseWorker for OnePulse {
    async fn run(&self, jobs: u32, budget: Duration) -> StoreResult<u32> {
        let refused = |error: &dyn std::fmt::Display| StoreError::Unavailable(error.to_string());
        let stop = CancellationToken::new();
        let bounded = Bounded {
            source: (self.source)().map_err(|error| refused(&error))?,
            left: AtomicU32::new(jobs),
            stop: stop.clone(),
        };
        let source = Arc::new(bounded);
        let slots = jobs.clamp(1, 100);
        // What runs when the time is up has as long again, the grace included.
        let usual = WorkerConfig::default();
        let grace = usual.grace.min(budget / 4);
        let worker = Worker::new(WorkerConfig { slots, max_batch: slots, grace, ..usual });
        let timer = stop.clone();
        let alarm = tokio::spawn(async move {
            tokio::time::sleep(budget).await;
            timer.cancel();
        });
        let ran = worker.run(source.clone(), self.executor.clone(), stop, budget.saturating_sub(grace)).await;
        alarm.abort();
        ran.map_err(|error| refused(&error))?;
        Ok(jobs - source.left.load(Ordering::SeqCst))
    }
}

/// A source that gives a bounded number of jobs, and then ends its worker.
struct Bounded {
    source: Arc<dyn LeaseSource>,
    left: AtomicU32,
    stop: CancellationToken,
}

#[async_trait]
impl LeaseSource for Bounded {
    async fn claim(&self, max: u32) -> Result<Claimed, SourceError> {
        let left = self.left.load(Ordering::SeqCst);
        if left == 0 {
            self.stop.cancel();
            return Ok(Claimed::default());
        }
        let claimed = self.source.claim(max.min(left)).await?;
        let count = u32::try_from(claimed.jobs.len()).unwrap_or(u32::MAX);
        self.left.store(left.saturating_sub(count), Ordering::SeqCst);
        if count == 0 {
            self.stop.cancel();
        }
        Ok(claimed)
    }

    async fn settle(&self, finished: &[Finished]) -> Result<Vec<Settled>, SourceError> {
        self.source.settle(finished).await
    }

    async fn beat(&self) -> Result<Vec<Held>, SourceError> {
        self.source.beat().await
    }

    async fn release(&self, held: &[Held]) -> Result<(), SourceError> {
        self.source.release(held).await
    }

    /// Nobody waits within a pulse: what was claimed is all that there is.
    async fn work_arrives(&self, _longest: Duration) {
        self.stop.cancel();
    }

    async fn cancel_arrives(&self) {
        self.source.cancel_arrives().await;
    }

    async fn leave(&self) {
        self.source.leave().await;
    }

    fn lease(&self) -> Duration {
        self.source.lease()
    }
}
