//! The clock of one worker jumps while another keeps the right time: nobody's
//! lease is taken, and nothing starts early.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::load::{Load, Plan};
use super::machine::shell;
use super::site::Site;
use super::witness::Witness;
use super::{now_us, pause};
use crate::postgres::{Cluster, create_database};
use crate::process::{Launch, Process};

const PATIENCE: Duration = Duration::from_mins(1);

/// An engine with two workers more.
struct Stage {
    site: Site,
    target: Witness,
    _workers: [Process; 2],
    _database: crate::postgres::Database,
    _server: Cluster,
}

impl Stage {
    async fn new(lease: Duration, first: impl Fn(Launch) -> Launch) -> Result<Self> {
        let server = Cluster::durable()?;
        let database = create_database(&server.url()).await?;
        let target = Witness::start().await?;
        let api = Launch::new(["api"]).env("DATABASE_URL", &database.url);
        let site = Site::start(&database.url, api, lease).await?;
        let worker = Launch::new(["worker"])
            .env("DATABASE_URL", &database.url)
            .env("TASKFLOW_LEASE_MS", &lease.as_millis())
            .env("TASKFLOW_WORKER_CONCURRENCY", &20)
            .env("RUST_LOG", "warn");
        let workers = [first(worker.clone()).start().await?, worker.start().await?];
        Ok(Self { site, target, _workers: workers, _database: database, _server: server })
    }

    fn load(&self) -> Load {
        let plan = Plan {
            callers: 4,
            pace: Duration::from_millis(20),
            job: self.target.job("slow"),
            ..Plan::default()
        };
        Load::start(&self.site.client, plan)
    }
}

/// The clock of one worker jumps by weeks and back, while jobs run and others are
/// scheduled for tomorrow: nobody's lease is taken, and nothing starts early.
pub async fn run() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let clock = directory.path().join("clock");
    let set = |to: &str| std::fs::write(&clock, to);
    set("+0")?;
    let library = library()?;
    // Only what the wall clock says jumps: a stopwatch cannot.
    let stage = Stage::new(Duration::from_secs(3), |worker| {
        worker
            .env("LD_PRELOAD", &library)
            .env("FAKETIME_TIMESTAMP_FILE", &clock.display())
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("FAKETIME_DONT_RESET", "1")
    })
    .await?;
    let later = chrono::DateTime::from_timestamp_micros(now_us() + 86_400_000_000).context("a time")?;
    let mut tomorrow = stage.target.job("slow");
    tomorrow["run_at"] = later.to_rfc3339().into();
    let calm = Plan { callers: 1, pace: Duration::from_millis(200), job: tomorrow, ..Plan::default() };
    let scheduled = Load::start(&stage.site.client, calm);
    let load = stage.load();
    for jump in ["+40d", "-1h", "+600s", "-600s", "+0"] {
        load.accepts(20, PATIENCE).await?;
        set(jump)?;
        pause(Duration::from_secs(8)).await;
    }
    let mut stage = stage;
    let told = scheduled.finish().await?;
    let waiting = told.len() as u64;
    stage.site.history.calls.extend(told);
    stage.site.finish(load).await?;
    stage.site.settle_but(waiting, PATIENCE).await?;
    stage.site.history.effects = stage.target.effects();
    let figures = stage.site.judge("a clock jumps").await?;
    ensure!(figures.lost_leases == 0, "{} leases of living workers were taken", figures.lost_leases);
    Ok(())
}

/// Where libfaketime is.
fn library() -> Result<String> {
    let found = shell("ls /usr/lib/*/faketime/libfaketime.so.1 | head -n 1", &[])?;
    let found = found.trim();
    ensure!(Path::new(found).exists(), "libfaketime is missing; scripts/faults installs it");
    Ok(found.to_owned())
}
