//! A running engine on a database, and what is written down of its run.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use taskflow_adapters::store::postgres::{PostgresOptions, PostgresStore};
use taskflow_adapters::store::sqlite::{SqliteOptions, SqliteStore};
use taskflow_application::ports::Stores;
use taskflow_checker::history::{Fault, Known, Op, Run};
use taskflow_checker::{History, Lives};
use taskflow_domain::TenantSlug;
use tokio::time::Instant;

use super::client::Client;
use super::load::Load;
use super::watch::Watch;
use super::{now_us, pause};
use crate::process::{Launch, Process, Signal};
use crate::sim::tables::collect;

/// How often something is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// A running engine and its history.
#[derive(Debug)]
pub struct Site {
    /// The URL of its database, as the checker's side reaches it.
    pub database: String,
    /// The engine.
    pub process: Process,
    /// Its client.
    pub client: Client,
    /// What is known of the run.
    pub history: History,
    launch: Launch,
    watch: Watch,
}

/// How far the stamps of two processes of one machine may be beside each other.
pub const SLACK_US: i64 = 250_000;

/// The stores of the database at this URL, beside the engine.
pub async fn stores_of(url: &str) -> Result<Stores> {
    Ok(if url.starts_with("sqlite") {
        SqliteStore::connect(url, SqliteOptions::default()).await?.stores()
    } else {
        PostgresStore::connect(url, PostgresOptions::default()).await?.stores()
    })
}

impl Site {
    /// `taskflow up` on the database at this URL.
    pub async fn up(database: &str, lease: Duration) -> Result<Self> {
        Self::start(database, Launch::new(["up"]).env("DATABASE_URL", database), lease).await
    }

    /// The engine as it is launched there, over the database at `database`.
    pub async fn start(database: &str, launch: Launch, lease: Duration) -> Result<Self> {
        let lease_ms = lease.as_millis();
        // A load of minutes fills memory with lines that nobody reads.
        let launch = launch.env("TASKFLOW_LEASE_MS", &lease_ms).env("RUST_LOG", "warn");
        let process = launch.clone().start().await?;
        let client = Client::new(&process.url)?;
        let lease_us = i64::try_from(lease.as_micros())?;
        let history = History {
            run: Run { lease_us, clock_slack_us: SLACK_US, ..Run::default() },
            ..History::default()
        };
        let watch = Watch::start(database);
        Ok(Self { database: database.to_owned(), process, client, history, launch, watch })
    }

    /// Kills the engine, and starts another one.
    pub async fn restart(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process = self.launch.clone().start().await?;
        self.client.moved(&self.process.url);
        Ok(())
    }

    /// Freezes the engine or lets it go on.
    pub fn freeze(&self, frozen: bool) -> Result<()> {
        self.process.signal(if frozen { Signal::Stop } else { Signal::Cont })
    }

    /// Notes that nobody could reach the database.
    pub fn outage(&mut self, from: i64, to: i64) {
        self.history.faults.push(Fault::Outage { from, to });
    }

    /// Ends a load, and writes down what it was told.
    pub async fn finish(&mut self, load: Load) -> Result<()> {
        self.history.calls.extend(load.finish().await?);
        Ok(())
    }

    /// Waits until nothing is left to run, which must come about by itself.
    pub async fn settle(&mut self, patience: Duration) -> Result<()> {
        self.settle_but(0, patience).await
    }

    /// The same, with so many jobs left whose time has not come.
    pub async fn settle_but(&mut self, left: u64, patience: Duration) -> Result<()> {
        let until = Instant::now() + patience;
        loop {
            let queues = self.client.get("/v1/admin/queues").await;
            if let Ok(queues) = &queues
                && open_jobs(queues) == left
            {
                break;
            }
            ensure!(
                Instant::now() < until,
                "jobs were left after {patience:?}: {queues:?}\n{}",
                self.process.log()
            );
            pause(LOOK).await;
        }
        // What was asked for and not answered has been carried out by now, or never will be.
        self.history.run.settled = true;
        Ok(())
    }

    /// Waits until the engine says that its database answers; how long it took.
    pub async fn ready(&mut self, patience: Duration) -> Result<Duration> {
        let began = Instant::now();
        let http = crate::process::client()?;
        let url = format!("{}/health/ready", self.process.url);
        while !http.get(&url).send().await.is_ok_and(|answer| answer.status().is_success()) {
            ensure!(began.elapsed() < patience, "not ready after {patience:?}:\n{}", self.process.log());
            pause(LOOK).await;
        }
        Ok(began.elapsed())
    }

    /// Reads what is stored, has all judged, and prints the figures. What is wrong
    /// is kept in a directory for `taskflow-checker`.
    pub async fn judge(mut self, name: &str) -> Result<Figures> {
        let stores = stores_of(&self.database).await?;
        let read = collect(&stores, &[TenantSlug::fallback()], &mut self.history).await;
        read.context("the end cannot be read")?;
        self.history.leases = self.watch.leases(&self.history.attempts);
        self.history.run.ended_at = now_us();
        judge(name, &self.history)
    }
}

/// Jobs of all queues that have not ended and do not wait for a person.
pub fn open_jobs(queues: &Value) -> u64 {
    let open = |queue: &Value| {
        let depth = |state: &str| queue["depth"][state].as_u64().unwrap_or_default();
        depth("PENDING") + depth("SCHEDULED") + depth("RUNNING")
    };
    queues["items"].as_array().map_or(u64::MAX, |queues| queues.iter().map(open).sum())
}

/// What a run came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    /// Different jobs that were acknowledged.
    pub acknowledged: usize,
    /// Requests whose outcome the client never knew.
    pub unknown: usize,
    /// Jobs in the end.
    pub jobs: usize,
    /// Executions.
    pub attempts: usize,
    /// Executions whose lease was lost.
    pub lost_leases: usize,
}

/// The longest time from the end of a worker's lease to the taking back of what it
/// held, in microseconds, as far as it is known.
fn slowest_recovery(history: &History) -> Option<i64> {
    let lives = Lives::of(history);
    let lost = history.attempts.iter().filter(|it| it.outcome.as_deref() == Some("LEASE_EXPIRED"));
    lost.filter_map(|attempt| {
        let ended = attempt.ended_at?;
        Some(ended - lives.lease_end(attempt, ended)?)
    })
    .max()
}

/// Judges a history, and fails if anything is wrong with it.
pub fn judge(name: &str, history: &History) -> Result<Figures> {
    let acknowledged: std::collections::BTreeSet<_> = history
        .calls
        .iter()
        .filter_map(|call| match &call.op {
            Op::Submit { job: Some(job), .. } if call.known == Known::Ok => Some(job),
            _ => None,
        })
        .collect();
    let lost = |outcome: &Option<String>| outcome.as_deref() == Some("LEASE_EXPIRED");
    let figures = Figures {
        acknowledged: acknowledged.len(),
        unknown: history.calls.iter().filter(|call| call.known == Known::Unknown).count(),
        jobs: history.jobs.len(),
        attempts: history.attempts.len(),
        lost_leases: history.attempts.iter().filter(|attempt| lost(&attempt.outcome)).count(),
    };
    let wrong = taskflow_checker::judge(history);
    if wrong.is_empty() {
        let late = slowest_recovery(history).map_or_else(String::new, |late_us| {
            format!(", taken back at most {:.1} s after the end of the lease", late_us as f64 / 1e6)
        });
        println!(
            "report: fault {name} | {} acknowledged | 0 lost | {} requests of unknown outcome; {} attempts, \
             {} lost with their worker{late}",
            figures.acknowledged, figures.unknown, figures.attempts, figures.lost_leases
        );
        return Ok(figures);
    }
    let place: PathBuf = crate::process::build_directory()?.join("faults").join(name.replace(' ', "-"));
    taskflow_checker::read::write(&place, history)?;
    let told: Vec<_> = wrong.iter().take(20).map(ToString::to_string).collect();
    anyhow::bail!("{} things are wrong with {}:\n{}", wrong.len(), place.display(), told.join("\n"))
}
