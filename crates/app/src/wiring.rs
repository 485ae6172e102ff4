//! The only place where an adapter meets a port.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use taskflow_adapters::executor::{EgressPolicy, JobExecutor};
use taskflow_adapters::rest::ApiState;
use taskflow_adapters::store::postgres::PgWakeups;
use taskflow_adapters::system::{SystemClock, SystemIds, SystemJitter};
use taskflow_adapters::telemetry::Metrics;
use taskflow_application::World;
use taskflow_application::access::Access;
use taskflow_application::automation::{Automation, Pulse};
use taskflow_application::drains::Drains;
use taskflow_application::maintain::Maintain;
use taskflow_application::memory::LocalWakeups;
use taskflow_application::ports::{Vault, Wakeups, Worker as Known};
use taskflow_application::tally::Tally;
use taskflow_application::work::Work;
use taskflow_domain::WorkerName;
use taskflow_worker::{Executor, LeaseSource, Worker, WorkerConfig};
use tokio_util::sync::CancellationToken;

use crate::automation::OnePulse;
use crate::config::Config;
use crate::database::Database;
use crate::loops;
use crate::secrets;
use crate::source::LocalSource;

/// The ports of this process over its database.
#[derive(Clone)]
pub(crate) struct Engine {
    pub(crate) world: World,
    pub(crate) clock: SystemClock,
    pub(crate) database: Database,
}

impl Engine {
    /// Opens the database, brings it up to date and reads its clock.
    pub(crate) async fn open(config: &Config, stop: &CancellationToken) -> Result<Self> {
        let ids = Arc::new(SystemIds::new());
        let database = Database::open(&config.database).await?;
        database.migrate().await?;
        let vault = secrets::vault(config, &database, ids.clone()).await?;
        Self::over(database, ids, Some(vault), stop).await
    }

    /// The same, over a database that is open and up to date already.
    pub(crate) async fn over(
        database: Database,
        ids: Arc<SystemIds>,
        vault: Option<Arc<dyn Vault>>,
        stop: &CancellationToken,
    ) -> Result<Self> {
        let clock = SystemClock::new();
        loops::follow(&database, &clock).await.context("the database's clock cannot be read")?;
        let wakeups: Arc<dyn Wakeups> = match &database {
            Database::Postgres(store) => PgWakeups::start(store, stop.clone()),
            Database::Sqlite(_) => Arc::new(LocalWakeups::default()),
        };
        Ok(Self::of(database, clock, wakeups, ids, vault))
    }

    /// The ports over a database that is only looked at.
    pub(crate) fn looking(database: Database) -> Self {
        let (clock, wakeups) = (SystemClock::new(), Arc::new(LocalWakeups::default()));
        Self::of(database, clock, wakeups, Arc::new(SystemIds::new()), None)
    }

    fn of(
        database: Database,
        clock: SystemClock,
        wakeups: Arc<dyn Wakeups>,
        ids: Arc<SystemIds>,
        vault: Option<Arc<dyn Vault>>,
    ) -> Self {
        let world = World {
            stores: database.stores(),
            clock: Arc::new(clock.clone()),
            ids,
            jitter: Arc::new(SystemJitter),
            wakeups,
            tally: Tally::default(),
            drains: Drains::default(),
            vault,
        };
        Self { world, clock, database }
    }

    /// Where this process's worker gets its jobs.
    pub(crate) fn source(&self, config: &Config) -> Result<Arc<dyn LeaseSource>> {
        let now = self.world.clock.now();
        let known = Known {
            name: self.worker_name()?,
            tenant: None,
            queues: Vec::new(),
            kinds: Vec::new(),
            slots: config.worker.concurrency,
            started_at: now,
            beat_at: now,
            lease_until: now,
        };
        let lease = Duration::from_millis(config.worker.lease_ms);
        let work = Work::new(self.world.clone());
        Ok(Arc::new(LocalSource::new(work, self.world.wakeups.as_ref(), known, lease)))
    }

    /// What the API stands on.
    pub(crate) fn api(
        &self,
        config: &Config,
        automation: &Automation,
        figures: &Metrics,
        stop: &CancellationToken,
    ) -> Result<ApiState> {
        let world = &self.world;
        let mut state = ApiState::new(world);
        state.automation = Some(automation.clone());
        state.pulse = Some(self.pulse(config, automation)?);
        if config.auth.on {
            let operator = config.auth.operator_key.as_ref().map(|key| key.0.as_str());
            state.access = Access::keyed(world.clone(), operator);
        }
        state.any_host = !config.http.listen.ip().is_loopback();
        let database = self.database.clone();
        state.ready = Arc::new(move || {
            let database = database.clone();
            Box::pin(async move { database.ping().await.map_err(|error| error.to_string()) })
        });
        let figures = figures.clone();
        state.metrics = Arc::new(move || figures.render());
        state.stop = stop.clone();
        Ok(state)
    }

    /// One bounded tick over this process's use cases.
    fn pulse(&self, config: &Config, automation: &Automation) -> Result<Pulse> {
        let maintain = Maintain::new(self.world.clone(), config.retention, config.worker.lease_ms);
        let (engine, given) = (self.clone(), config.clone());
        let source = Box::new(move || engine.source(&given));
        let worker = OnePulse::new(source, executor(config, &self.world)?);
        Ok(Pulse::new(automation.clone(), Arc::new(maintain), Arc::new(worker)))
    }

    /// A name that no other worker has, nor this one after a restart.
    fn worker_name(&self) -> Result<WorkerName> {
        let name = self.process_name();
        WorkerName::new(&name).with_context(|| format!("`{name}` cannot be a worker's name"))
    }

    /// A name that no other process has, nor this one after a restart.
    pub(crate) fn process_name(&self) -> String {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let host: String =
            host.trim().chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(40).collect();
        let host = if host.is_empty() { "taskflow" } else { &host };
        let random = self.world.ids.nonce() & 0xffff_ffff;
        format!("{host}:{}:{random:08x}", std::process::id())
    }
}

/// What runs the jobs of this process's worker.
pub(crate) fn executor(config: &Config, world: &World) -> Result<Arc<dyn Executor>> {
    let egress = EgressPolicy::new(config.egress.allow.clone());
    Ok(Arc::new(JobExecutor::new(egress, world.clock.clone(), world.ids.clone(), world.vault.clone())?))
}

/// The engine's own worker.
pub(crate) fn worker(config: &Config) -> Worker {
    let slots = config.worker.concurrency;
    Worker::new(WorkerConfig { slots, max_batch: slots.min(1_000), ..WorkerConfig::default() })
}
