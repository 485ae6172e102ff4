//! Automation in this process: its tools, its loops, and the worker of a pulse.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use taskflow_adapters::condition::CelEngine;
use taskflow_adapters::webhook::Verifier;
use taskflow_application::World;
use taskflow_application::automation::{Automation, EventRetention, PulseWorker, Ran, Tools};
use taskflow_application::ports::{StoreError, StoreResult, Topic};
use taskflow_worker::{
    Claimed, Executor, Finished, Held, LeaseSource, Settled, SourceError, Worker, WorkerConfig,
};
use tokio::sync::Notify;
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
/// more and all has ended, or the time is up.
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
    async fn run(&self, jobs: u32, begins: Duration, again: Duration) -> StoreResult<Ran> {
        let refused = |error: &dyn std::fmt::Display| StoreError::Unavailable(error.to_string());
        let stop = CancellationToken::new();
        let source = (self.source)().map_err(|error| refused(&error))?;
        let bounded = Arc::new(Bounded::new(source, jobs, stop.clone()));
        let slots = jobs.clamp(1, 100);
        // What runs when the time is up has as long again, the grace included.
        let usual = WorkerConfig::default();
        let grace = usual.grace.min(again / 4);
        let worker = Worker::new(WorkerConfig { slots, max_batch: slots, grace, ..usual });
        let timer = stop.clone();
        let alarm = tokio::spawn(async move {
            tokio::time::sleep(begins).await;
            timer.cancel();
        });
        let ran = worker.run(bounded.clone(), self.executor.clone(), stop, again.saturating_sub(grace)).await;
        alarm.abort();
        ran.map_err(|error| refused(&error))?;
        let begun = jobs - bounded.left.load(Ordering::SeqCst);
        Ok(Ran { jobs: begun, more: !bounded.dry.load(Ordering::SeqCst) })
    }
}

/// A source that gives a bounded number of jobs, and ends its worker when all of
/// them have ended and there are no others.
struct Bounded {
    source: Arc<dyn LeaseSource>,
    /// Jobs that it may still give.
    left: AtomicU32,
    /// Jobs that it gave and whose ends are not reported yet.
    open: AtomicU32,
    /// Whether the last claim found nothing, with nothing open that could have
    /// left something to find.
    dry: AtomicBool,
    /// Ends were reported.
    reported: Notify,
    stop: CancellationToken,
}

impl Bounded {
    fn new(source: Arc<dyn LeaseSource>, jobs: u32, stop: CancellationToken) -> Self {
        let (left, open) = (AtomicU32::new(jobs), AtomicU32::new(0));
        Self { source, left, open, dry: AtomicBool::new(false), reported: Notify::new(), stop }
    }
}

#[async_trait]
impl LeaseSource for Bounded {
    async fn claim(&self, max: u32) -> Result<Claimed, SourceError> {
        // Asked before the claim: what ends during it may leave something that the claim missed.
        let alone = self.open.load(Ordering::SeqCst) == 0;
        let left = self.left.load(Ordering::SeqCst);
        let claimed = if left == 0 { Claimed::default() } else { self.source.claim(max.min(left)).await? };
        let count = u32::try_from(claimed.jobs.len()).unwrap_or(u32::MAX);
        self.left.store(left.saturating_sub(count), Ordering::SeqCst);
        self.open.fetch_add(count, Ordering::SeqCst);
        let over = alone && count == 0 && !claimed.more;
        self.dry.store(over && left > 0, Ordering::SeqCst);
        if over {
            self.stop.cancel();
        }
        Ok(claimed)
    }

    async fn settle(&self, finished: &[Finished]) -> Result<Vec<Settled>, SourceError> {
        let settled = self.source.settle(finished).await?;
        let count = u32::try_from(finished.len()).unwrap_or(u32::MAX);
        self.open.fetch_sub(count, Ordering::SeqCst);
        self.reported.notify_one();
        Ok(settled)
    }

    async fn beat(&self) -> Result<Vec<Held>, SourceError> {
        self.source.beat().await
    }

    async fn release(&self, held: &[Held]) -> Result<(), SourceError> {
        self.source.release(held).await
    }

    /// What ended may have made room, or let others begin.
    async fn work_arrives(&self, longest: Duration) {
        tokio::select! {
            () = self.source.work_arrives(longest) => {}
            () = self.reported.notified() => {}
        }
    }

    async fn cancel_arrives(&self) {
        self.source.cancel_arrives().await;
    }

    fn close(&self) {
        self.source.close();
    }

    async fn leave(&self) {
        self.source.leave().await;
    }

    fn lease(&self) -> Duration {
        self.source.lease()
    }
}
