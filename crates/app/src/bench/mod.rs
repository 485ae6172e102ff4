//! `taskflow bench`: what does this database give?
//!
//! Jobs of the builtin target `noop` go through the real path: the submit use
//! case, the fair claim under every limit, the worker, the settle, with attempts
//! and histories. Nothing is switched off and nothing is stubbed.

mod drain;
mod enqueue;
mod pickup;
mod subject;

use std::time::Duration;

use anyhow::{Result, anyhow};
use serde_json::{Value, json};
use taskflow_application::caller::Caller;
use taskflow_application::jobs::JobWish;
use taskflow_domain::{Builtin, Json, Kind, Target, TenantSlug};

use crate::{config, shutdown};
use subject::Subject;

/// How the jobs are submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Enqueue {
    /// One by one: each caller waits for the answer before its next submit.
    Single,
    /// In atomic batches of up to 10,000, each of one tenant.
    Batch,
}

/// What is measured.
#[derive(Clone, Debug)]
pub(crate) struct BenchOptions {
    /// How many jobs.
    pub(crate) jobs: u32,
    /// Over how many tenants.
    pub(crate) tenants: u32,
    /// How long the text in each payload is.
    pub(crate) payload_bytes: u32,
    /// How they are submitted.
    pub(crate) enqueue: Enqueue,
    /// By how many callers at once.
    pub(crate) callers: u32,
    /// How many jobs run at once.
    pub(crate) slots: u32,
    /// How many jobs one claim or report may hold.
    pub(crate) batch: u32,
}

/// Runs all parts and answers the figures. Whatever ends it, a signal included,
/// its schema goes.
pub(crate) async fn run(options: &BenchOptions, config: &config::Database) -> Result<Value> {
    let told = shutdown::on_signal()?;
    let subject = Subject::open(config).await?;
    let figures = tokio::select! {
        figures = measure(options, &subject) => figures,
        () = told.cancelled() => Err(anyhow!("it was broken off")),
    };
    subject.close().await?;
    figures
}

async fn measure(options: &BenchOptions, subject: &Subject) -> Result<Value> {
    let wal_before = subject.wal_bytes().await?;
    eprintln!("enqueue: {} jobs of {} tenants", options.jobs, options.tenants);
    let enqueued = enqueue::run(options, &subject.world).await?;
    eprintln!("enqueue: {enqueued:.0} jobs/s");
    subject.refresh_statistics().await?;
    let drained = drain::run(options, &subject.world).await?;
    eprintln!("drain: {drained:.0} jobs/s");
    let wal_after = subject.wal_bytes().await?;
    let memory = peak_memory_mb();
    let pickup = pickup::run(&subject.world).await?;
    eprintln!("pick-up: p50 {:.3} ms", pickup.p50);
    let mut figures = json!({
        "enqueue": { "jobs_per_s": enqueued.round() },
        "drain": { "jobs_per_s": drained.round() },
        "pickup_ms": { "p50": pickup.p50, "p95": pickup.p95, "p99": pickup.p99 },
        "rss_mb": memory,
    });
    if let (Some(before), Some(after)) = (wal_before, wal_after) {
        figures["wal_bytes_per_job"] = ((after - before) / i64::from(options.jobs.max(1))).into();
    }
    Ok(figures)
}

/// The most memory that this process has held, in MB.
fn peak_memory_mb() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes / 1024)
}

/// How long the parts wait for something that must come.
const PATIENCE: Duration = Duration::from_mins(10);

fn caller(tenant: u32) -> Result<Caller> {
    let slug = TenantSlug::new(&format!("bench-{tenant}"))?;
    Ok(Caller::trusted(slug))
}

fn wish(payload_bytes: u32) -> Result<JobWish> {
    let mut wish = JobWish::new(Kind::new("noop")?);
    wish.target = Some(Target::Builtin { name: Builtin::Noop, ms: None });
    wish.payload = Json::from(&json!({ "text": "x".repeat(payload_bytes as usize) }));
    Ok(wish)
}
