//! Wake-ups are lost: the listener's connection dies, or its news never come.
//! Jobs start all the same, as late as the engine looks by itself.

use std::time::Duration;

use anyhow::{Result, ensure};
use sqlx::Connection as _;
use taskflow_checker::history::EventRow;

use super::load::{Load, Plan};
use super::pause;
use super::site::{Site, judge};
use super::wire::{Weather, Wire};
use crate::postgres::{Cluster, create_database};
use crate::process::Launch;

const PATIENCE: Duration = Duration::from_mins(1);
const LEASE: Duration = Duration::from_secs(5);

/// How often a worker looks although nobody told it to, with room for a busy machine.
const LOOKS: Duration = Duration::from_secs(3);

/// An API, and a worker that hears of its jobs through the database alone.
pub async fn run() -> Result<()> {
    let server = Cluster::durable()?;
    let database = create_database(&server.url()).await?;
    let wire = Wire::reading(server.port()).await?;
    let worker =
        Launch::new(["worker"]).env("DATABASE_URL", &wire.url(&database.url)).env("RUST_LOG", "warn");
    let _worker = worker.start().await?;
    let launch = Launch::new(["api"]).env("DATABASE_URL", &database.url);
    let mut site = Site::start(&database.url, launch, LEASE).await?;
    let plan = Plan { callers: 2, pace: Duration::from_millis(100), ..Plan::default() };
    let load = Load::start(&site.client, plan);
    load.accepts(30, PATIENCE).await?;
    wire.weather(Weather::NoNews);
    load.accepts(40, PATIENCE).await?;
    wire.weather(Weather::Fair);
    let mut keeper = sqlx::PgConnection::connect(&server.url()).await?;
    let mut killed = 0;
    for _ in 0..8 {
        let sql = "select pg_terminate_backend(pid) from pg_stat_activity where query ilike 'listen %'";
        killed += sqlx::query(sql).execute(&mut keeper).await?.rows_affected();
        load.accepts(5, PATIENCE).await?;
        pause(Duration::from_millis(200)).await;
    }
    keeper.close().await?;
    ensure!(killed > 0, "there was no listener to kill");
    println!("  {killed} listeners killed");
    site.finish(load).await?;
    site.settle(PATIENCE).await?;
    let mut history = std::mem::take(&mut site.history);
    super::collect::collect(&site.client, &site.database, &mut history).await?;
    judge("wake-ups are lost", &history)?;
    let late = slowest_start(&history.events);
    println!("  the slowest job started {late:?} after it was made");
    ensure!(late < LOOKS, "a job waited {late:?} for its start");
    Ok(())
}

/// The longest time from a job's making to its first start.
fn slowest_start(events: &[EventRow]) -> Duration {
    let at = |kind: &str| {
        let of_kind = events.iter().filter(move |event| event.kind == kind);
        of_kind.map(|event| (event.job.as_str(), event.at)).collect::<std::collections::BTreeMap<_, _>>()
    };
    let started = at("started");
    let delays = at("created").into_iter().filter_map(|(job, made)| Some(started.get(job)? - made));
    Duration::from_micros(delays.max().unwrap_or_default().try_into().unwrap_or_default())
}
