//! The kill run: workers under limits that are killed, frozen and stopped at random,
//! and the checker's judgement of what came of it. No limit was ever exceeded, no job
//! was lost or done twice, every counter equals what it counts, no lane sleeps over
//! due jobs.
//!
//! On PostgreSQL several workers share a database beside an API that stays; on SQLite
//! the one process that may own the file is killed, with the API in it. The
//! faults follow from a seed. The database itself writes down each lease that is
//! given and ended, in the order of the commits: so limits are judged at every
//! committed instant, and not by what the engine says of itself.

mod audit;
mod load;
mod victims;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use taskflow_adapters::store::postgres::{PostgresOptions, PostgresStore};
use taskflow_adapters::store::sqlite::{SqliteOptions, SqliteStore};
use taskflow_application::ports::{Check, Proof, Stores};
use taskflow_checker::{History, Violation, judge};
use taskflow_domain::{TenantSlug, Timestamp};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::builders::slug;
use crate::faults::{now_us, pause};
use crate::postgres::{Cluster, Database, create_database};
use crate::process::{Launch, Process};
use crate::sim::tables::collect;
use load::Load;
use victims::Victims;

/// Leases are short, so that lost ones come back while the run lasts, and long enough
/// for a busy machine.
const LEASE_MS: u32 = 3_000;
/// What lets the auditor put commits in their order.
const SETTINGS: &str = "track_commit_timestamp = on\n";
/// How far the stamps of two processes of one machine may be beside each other.
const SLACK_US: i64 = 250_000;
/// Between two proofs.
const PROVE_EVERY: Duration = Duration::from_millis(500);
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// A run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// For how long faults go on.
    pub seconds: u64,
    /// How many workers there are. SQLite has one.
    pub workers: usize,
    /// What the faults follow from.
    pub seed: u64,
    /// Between two faults, in milliseconds, on average.
    pub fault_every_ms: u64,
}

/// What became of a run.
#[derive(Debug)]
pub struct Report {
    jobs: usize,
    attempts: usize,
    lost: usize,
    interrupted: usize,
    faults: [usize; 3],
    proofs: usize,
    peaks: Vec<(String, usize, u64)>,
    /// What the checker found.
    pub violations: Vec<Violation>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [killed, frozen, stopped] = self.faults;
        writeln!(f, "{killed} kills, {frozen} freezes, {stopped} stops in good order")?;
        let (lost, interrupted) = (self.lost, self.interrupted);
        writeln!(
            f,
            "{} jobs, {} attempts: {lost} lost, {interrupted} interrupted",
            self.jobs, self.attempts
        )?;
        for (what, most, limit) in &self.peaks {
            writeln!(f, "{what}: at most {most} ran at once, the limit is {limit}")?;
        }
        writeln!(f, "{} proofs, none broken", self.proofs)?;
        for violation in &self.violations {
            writeln!(f, "{violation}")?;
        }
        write!(f, "{} violations", self.violations.len())
    }
}

impl Report {
    /// For the report card.
    pub fn line(&self) -> String {
        let lost = self.lost;
        format!(
            "{} acknowledged | 0 lost | {} attempts, {lost} of them lost with their worker",
            self.jobs, self.attempts
        )
    }
}

/// A database of a run, with what must live as long.
struct Place {
    url: String,
    stores: Stores,
    _server: Option<(Cluster, Database)>,
    _directory: Option<TempDir>,
}

impl Place {
    async fn postgres() -> Result<Self> {
        let cluster = Cluster::durable_with(SETTINGS)?;
        let database = create_database(&cluster.url()).await?;
        let store = PostgresStore::connect(&database.url, PostgresOptions::default()).await?;
        store.migrate().await?;
        let url = database.url.clone();
        Ok(Self { url, stores: store.stores(), _server: Some((cluster, database)), _directory: None })
    }

    async fn sqlite() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let url = format!("sqlite://{}", directory.path().join("taskflow.db").display());
        let store = SqliteStore::connect(&url, SqliteOptions::default()).await?;
        store.migrate().await?;
        Ok(Self { url, stores: store.stores(), _server: None, _directory: Some(directory) })
    }

    fn launch(&self, command: &str) -> Launch {
        let launch = Launch::new([command]).env("DATABASE_URL", &self.url).env("RUST_LOG", "warn");
        launch.env("TASKFLOW_LEASE_MS", &LEASE_MS).env("TASKFLOW_WORKER_CONCURRENCY", "8")
    }
}

/// Runs `plan` on PostgreSQL and judges it.
pub async fn on_postgres(plan: Plan) -> Result<Report> {
    let place = Place::postgres().await?;
    let api = place.launch("api").start().await?;
    run(plan, &place, "worker", Some(api)).await
}

/// Runs `plan` on SQLite, with one process.
pub async fn on_sqlite(plan: Plan) -> Result<Report> {
    let place = Place::sqlite().await?;
    run(Plan { workers: 1, ..plan }, &place, "up", None).await
}

async fn run(plan: Plan, place: &Place, command: &str, api: Option<Process>) -> Result<Report> {
    audit::install(&place.url).await?;
    let launch = place.launch(command);
    let mut victims = Victims::start(plan, launch).await?;
    let load = Arc::new(Load::new()?);
    load.moved(api.as_ref().map_or_else(|| victims.url(), |api| api.url.clone()));
    load.set_limits().await?;

    let (over, told) = watch::channel(false);
    let proving = tokio::spawn(prove(place.stores.clone(), told.clone()));
    let callers = load.start(&told);
    let until = Instant::now() + Duration::from_secs(plan.seconds);
    while Instant::now() < until {
        victims.strike().await?;
        if api.is_none() {
            load.moved(victims.url());
        }
    }
    victims.heal().await?;
    if api.is_none() {
        load.moved(victims.url());
    }
    over.send_replace(true);
    for caller in callers {
        caller.await??;
    }
    rest(place, Duration::from_secs(60 + 2 * plan.seconds)).await?;
    let proofs = proving.await??;
    doctor(place)?;

    let history = history(place, load.calls()).await?;
    let count =
        |outcome| history.attempts.iter().filter(|row| row.outcome.as_deref() == Some(outcome)).count();
    let (lost, interrupted) = (count("LEASE_EXPIRED"), count("INTERRUPTED"));
    let peaks = load::peaks(&history);
    for (what, most, limit) in &peaks {
        ensure!(*most > 0, "{what} was not tried: its limit is {limit}");
    }
    let (jobs, attempts) = (history.jobs.len(), history.attempts.len());
    let violations = judge(&history);
    Ok(Report { jobs, attempts, lost, interrupted, faults: victims.counts(), proofs, peaks, violations })
}

/// Everything that is known of the run.
async fn history(place: &Place, calls: Vec<taskflow_checker::history::Call>) -> Result<History> {
    let mut history = History { calls, ..History::default() };
    history.run.lease_us = i64::from(LEASE_MS) * 1_000;
    history.run.clock_slack_us = SLACK_US;
    history.run.settled = true;
    let tenants: Vec<TenantSlug> = load::TENANTS.iter().map(|name| slug(name)).collect::<Result<_>>()?;
    collect(&place.stores, &tenants, &mut history).await?;
    history.leases = audit::leases(&place.url).await?;
    history.run.ended_at = now_us();
    Ok(history)
}

/// Waits until every job has ended and nothing at all is broken. A lane that a killed
/// worker left asleep is found by a sweep.
async fn rest(place: &Place, patience: Duration) -> Result<()> {
    let until = Instant::now() + patience;
    loop {
        let depths = place.stores.queues.depths().await?;
        // WAITING to PAUSED: everything that has not ended.
        let open: u64 = depths.iter().flat_map(|depth| &depth.by_state[..5]).sum();
        let proof = look(&place.stores).await?;
        if open == 0 && proof.broken().next().is_none() {
            return Ok(());
        }
        let broken: Vec<_> = proof.broken().collect();
        ensure!(Instant::now() < until, "{open} jobs have not ended, {broken:?}");
        pause(LOOK_EVERY).await;
    }
}

async fn look(stores: &Stores) -> Result<Proof> {
    stores.jobs.proof(Timestamp::from_micros(now_us())).await.context("the proof")
}

/// Proves again and again until it is over; how often it did. What a killed process
/// left for the sweep and the reaper to do is no fault yet.
async fn prove(stores: Stores, over: watch::Receiver<bool>) -> Result<usize> {
    let later = [Check::SleepingLanes, Check::BlockedLanes, Check::LostLeases, Check::OverdueJobs];
    let mut proofs = 0;
    while !*over.borrow() {
        let proof = look(&stores).await?;
        let bad = proof.broken().find(|(check, _)| !later.contains(check));
        ensure!(bad.is_none(), "under faults: {bad:?}");
        proofs += 1;
        pause(PROVE_EVERY).await;
    }
    Ok(proofs)
}

/// What an operator would be told.
fn doctor(place: &Place) -> Result<()> {
    let (status, output, log) = Launch::new(["doctor"]).env("DATABASE_URL", &place.url).output()?;
    ensure!(status.success(), "taskflow doctor: {output}\n{log}");
    Ok(())
}
