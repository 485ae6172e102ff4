//! The worker: its loops, and how it leaves.
//!
//! Three loops run beside each other, each in a task of its own: one claims and
//! starts, one reports, one beats. When the shutdown token is set:
//!
//! 1. Claims stop at once. What a claim under way still brings is handed back.
//! 2. Running work continues until the drain time is over.
//! 3. The rest is told to stop, has its grace, and is handed back as interrupted.
//! 4. The last reports go out, the heartbeat stops, and the worker says goodbye.
//!
//! Every step has a limit, so that leaving takes at most the drain time, the grace
//! and twice the flush time.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::mpsc;
use tokio::task::JoinError;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::config::{Placement, WorkerConfig};
use crate::control::Why;
use crate::executor::Executor;
use crate::shared::Shared;
use crate::source::LeaseSource;
use crate::stats::WorkerStats;
use crate::{beat, claim, settle};

/// Runs jobs: claims them, executes them, keeps them alive, reports their ends.
#[derive(Debug)]
pub struct Worker {
    config: WorkerConfig,
    stats: Arc<WorkerStats>,
}

impl Worker {
    /// A worker that works as `config` says.
    pub fn new(config: WorkerConfig) -> Self {
        let stats = Arc::new(WorkerStats::new(config.slots));
        Self { config, stats }
    }

    /// What it does, in numbers. May be kept while it runs.
    pub fn stats(&self) -> Arc<WorkerStats> {
        Arc::clone(&self.stats)
    }

    /// Runs jobs of `source` on `executor` until `shutdown`; running work then has
    /// `drain` to end. Fails if the threads for executions cannot be made, or if a
    /// loop broke; the worker has left in good order even then.
    pub async fn run(
        self,
        source: Arc<dyn LeaseSource>,
        executor: Arc<dyn Executor>,
        shutdown: CancellationToken,
        drain: Duration,
    ) -> std::io::Result<()> {
        let threads = Threads::new(self.config.placement)?;
        let shared = Shared::new(self.config, source, executor, threads.handle(), self.stats);
        let stop = shutdown.child_token();
        let loops = Loops::spawn(Arc::new(shared), &stop);
        loops.run(stop, drain).await
    }
}

/// The threads that executions are driven on.
struct Threads(Option<Runtime>);

impl Threads {
    fn new(placement: Placement) -> std::io::Result<Self> {
        match placement {
            Placement::Here => Ok(Self(None)),
            Placement::OwnThreads(threads) => Builder::new_multi_thread()
                .worker_threads(threads.max(1))
                .thread_name("taskflow-job")
                .enable_all()
                .build()
                .map(|runtime| Self(Some(runtime))),
        }
    }

    fn handle(&self) -> Handle {
        self.0.as_ref().map_or_else(Handle::current, |runtime| runtime.handle().clone())
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // An execution may block its thread for ever; nobody waits for it.
            runtime.shutdown_background();
        }
    }
}

/// The running loops. Dropping them gives up all leases.
struct Loops {
    shared: Arc<Shared>,
    claiming: AbortOnDropHandle<()>,
    settling: AbortOnDropHandle<()>,
    beating: AbortOnDropHandle<()>,
}

impl Loops {
    fn spawn(shared: Arc<Shared>, shutdown: &CancellationToken) -> Self {
        let spawn = AbortOnDropHandle::new;
        // Only the claiming loop and the running attempts hold a sender, so the
        // settling loop ends by itself when both are through.
        let (sender, receiver) = mpsc::unbounded_channel();
        let claiming = claim::run(Arc::clone(&shared), sender, shutdown.clone());
        Self {
            claiming: spawn(tokio::spawn(claiming)),
            settling: spawn(tokio::spawn(settle::run(Arc::clone(&shared), receiver))),
            beating: spawn(tokio::spawn(beat::run(Arc::clone(&shared)))),
            shared,
        }
    }

    async fn run(mut self, stop: CancellationToken, drain: Duration) -> std::io::Result<()> {
        let outcome = tokio::select! {
            biased;
            () = stop.cancelled() => Ok(()),
            ended = &mut self.claiming => Err(broken("claiming", ended)),
            ended = &mut self.settling => Err(broken("settling", ended)),
            ended = &mut self.beating => Err(broken("beating", ended)),
        };
        // A worker that lost one of its loops leaves like any other.
        stop.cancel();
        self.leave(drain).await;
        outcome
    }

    async fn leave(&mut self, drain: Duration) {
        let (shared, config) = (&self.shared, &self.shared.config);
        tracing::info!(drain_ms = drain.as_millis() as u64, "the worker is leaving");
        shared.source.close();
        let drained = Instant::now() + drain;
        if !self.claiming.is_finished() && timeout_at(drained, &mut self.claiming).await.is_err() {
            self.claiming.abort();
        }
        if timeout_at(drained, shared.idle()).await.is_err() {
            let running = shared.held().running();
            tracing::warn!(jobs = running.len(), "the drain time is over; the rest is handed back");
            for control in running {
                control.stop(Why::Interrupted);
            }
            let _ = timeout(config.grace + config.flush / 2, shared.idle()).await;
        }
        if !self.settling.is_finished() && timeout(config.flush, &mut self.settling).await.is_err() {
            let reports = shared.stats.snapshot().unsettled;
            tracing::error!(reports, "the last reports did not get through; their leases will expire");
            self.settling.abort();
        }
        self.beating.abort();
        if timeout(config.flush / 2, shared.source.leave()).await.is_err() {
            tracing::warn!("the source was not told that the worker left");
        }
    }
}

impl Drop for Loops {
    fn drop(&mut self) {
        self.shared.lose_all();
    }
}

/// A loop ended that never should. The others are of no use without it.
fn broken(which: &str, ended: Result<(), JoinError>) -> std::io::Error {
    let why = ended.err().map_or_else(|| "no error".to_owned(), |error| error.to_string());
    std::io::Error::other(format!("the worker's {which} loop ended: {why}"))
}
