//! A serving process: started in order, stopped in order.
//!
//! At the first signal three things happen at once: the listener closes and
//! requests under way are finished, the loops stop, and the worker claims
//! nothing more and gives running work its time. When all have ended, the
//! database is closed. Nothing of this can take longer than its deadline.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use taskflow_adapters::rest;
use taskflow_adapters::rest::server::{self, ServerLimits};
use taskflow_adapters::telemetry::{Metrics, Traces, start_traces};
use taskflow_application::audit::Audit;
use taskflow_application::automation::Automation;
use taskflow_application::insight::Insight;
use taskflow_application::maintain::Maintain;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::runner::Runner;
use crate::wiring::{self, Engine};
use crate::{automation, loops, shutdown};

/// The longest that open requests may take after the signal.
const LONGEST_REQUESTS: Duration = Duration::from_secs(10);

/// What closing the database may take, when it no longer answers.
const CLOSE: Duration = Duration::from_secs(2);

/// Between a worker that failed and its successor.
const RESTART: Duration = Duration::from_secs(1);

/// What a process does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts {
    /// Where it listens, if it does.
    pub(crate) listen: Option<SocketAddr>,
    /// Whether it serves the API there, besides health and metrics.
    pub(crate) api: bool,
    /// Whether it runs jobs and keeps the engine going.
    pub(crate) worker: bool,
}

/// A serving process.
struct Process {
    config: Config,
    parts: Parts,
    stop: CancellationToken,
    listener: Option<TcpListener>,
    engine: Engine,
    automation: Automation,
    figures: Metrics,
    traces: Option<Traces>,
}

/// Serves until a signal, and then ends in good order.
pub(crate) async fn serve(config: Config, parts: Parts) -> Result<()> {
    let Some(process) = Process::start(config, parts).await? else {
        tracing::info!("stopped before the database was open");
        return Ok(());
    };
    process.run().await
}

impl Process {
    /// Takes what it needs: its address first, since that fails at once if it
    /// fails, then its database. `None` if it was told to stop meanwhile.
    async fn start(config: Config, parts: Parts) -> Result<Option<Self>> {
        let stop = shutdown::on_signal().context("signals cannot be received")?;
        let listener = match parts.listen {
            None => None,
            Some(address) => {
                let listener = TcpListener::bind(address).await;
                Some(listener.with_context(|| format!("cannot listen on {address}"))?)
            }
        };
        let figures = Metrics::install().context("metrics cannot be collected")?;
        let traces = config.traces.as_deref().map(start_traces).transpose();
        let traces = traces.map_err(anyhow::Error::msg).context("traces cannot be made")?;
        let Some(engine) = stop.run_until_cancelled(Box::pin(Engine::open(&config, &stop))).await else {
            return Ok(None);
        };
        let engine = engine?;
        let automation = automation::automation(&engine.world, config.most_rules)?;
        Ok(Some(Self { config, parts, stop, listener, engine, automation, figures, traces }))
    }

    async fn run(mut self) -> Result<()> {
        let runner = Runner::new(self.engine.world.clock.clone(), self.stop.clone());
        let Engine { world, database, clock } = &self.engine;
        loops::start_common(&runner, world, database, clock, &self.figures);
        let name = self.engine.process_name();
        loops::start_telling(&runner, world, &name);
        if self.parts.worker {
            let lease_ms = self.config.worker.lease_ms;
            let maintain = Maintain::new(self.engine.world.clone(), self.config.retention, lease_ms);
            loops::start_engine(&runner, &self.engine.world, Arc::new(maintain), lease_ms);
            automation::start(&runner, &self.engine.world, &self.automation, self.config.events);
        }
        let listener = self.listener.take();
        let server = self.server(&runner, listener);
        let worker = async {
            // Without its worker this process is of no use.
            self.worker(&runner).await.inspect_err(|_| self.stop.cancel())
        };
        let ((), (), worked) = tokio::join!(server, runner_ended(&runner, &self.stop), worker);
        self.say_goodbye(&name).await;
        if tokio::time::timeout(CLOSE, self.engine.database.close()).await.is_err() {
            tracing::warn!("the database did not let itself be closed in time");
        }
        if let Some(traces) = self.traces.take() {
            traces.stop().await;
        }
        tracing::info!("stopped");
        worked
    }

    /// Writes away what was counted last, and says that this process has ended.
    async fn say_goodbye(&self, name: &str) {
        let insight = Insight::new(self.engine.world.clone());
        let work = async {
            insight.flush().await?;
            Audit::new(self.engine.world.clone()).log_head().await?;
            insight.leave(name).await
        };
        if !matches!(tokio::time::timeout(CLOSE, work).await, Ok(Ok(()))) {
            tracing::warn!("the last figures of this process could not be written");
        }
    }

    async fn server(&self, runner: &Runner, listener: Option<TcpListener>) {
        let Some(listener) = listener else { return };
        let address = listener.local_addr().map(|address| address.to_string()).unwrap_or_default();
        tracing::info!(http.listen = address, "listening");
        let drain = self.config.shutdown.min(LONGEST_REQUESTS);
        let per_address = self.config.http.per_address;
        let limits = ServerLimits { drain, per_address, ..ServerLimits::default() };
        let state = match self.engine.api(&self.config, &self.automation, &self.figures, &self.stop) {
            Ok(state) => state,
            Err(error) => {
                tracing::error!(%error, "the API cannot be served");
                return self.stop.cancel();
            }
        };
        loops::start_key_uses(runner, &state.access);
        if let (false, Some(pulse)) = (self.parts.worker, &state.pulse) {
            loops::start_contact(runner, pulse, self.config.worker.lease_ms);
        }
        let router = if self.parts.api { rest::router(state) } else { rest::health_router(state) };
        server::serve(listener, router, limits, self.stop.clone()).await;
    }

    /// Runs the worker, again if it fails, until the process is to stop.
    async fn worker(&self, runner: &Runner) -> Result<()> {
        if !self.parts.worker {
            return Ok(());
        }
        let executor = wiring::executor(&self.config, &self.engine.world)?;
        let figures = loops::start_worker_figures(runner);
        while !self.stop.is_cancelled() {
            let worker = wiring::worker(&self.config);
            figures.send_replace(Some(worker.stats()));
            let source = self.engine.source(&self.config)?;
            let run = worker.run(source, executor.clone(), self.stop.clone(), self.config.shutdown);
            match run.await {
                Ok(()) => return Ok(()),
                Err(error) => {
                    tracing::error!(%error, "the worker failed; another takes its place");
                    self.stop.run_until_cancelled(tokio::time::sleep(RESTART)).await;
                }
            }
        }
        Ok(())
    }
}

async fn runner_ended(runner: &Runner, stop: &CancellationToken) {
    stop.cancelled().await;
    runner.ended().await;
}
