//! Many jobs: all leases of fifty thousand expire at once, millions wait, one
//! kills every worker that runs it, and somebody holds a transaction open.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use sqlx::Connection as _;
use tokio::time::Instant;

use super::load::{Load, Plan};
use super::pull::{claim, complete, submit};
use super::site::{Figures, Site};
use super::{now_us, pause};
use crate::postgres::{Cluster, create_database};

const LEASE: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(60);
const LONG: Duration = Duration::from_secs(300);

/// What a server of this size would be given.
const SETTINGS: &str = "shared_buffers = 1GB\nmax_wal_size = 4GB\n";

/// One job, among a thousand good ones, loses every worker that takes it. A worker
/// that is lost loses all that it holds.
pub async fn poison(database: &str, good: usize, at_once: u32) -> Result<Figures> {
    const POISON: &str = "p-0";
    let mut site = Site::up(database, LEASE).await?;
    let mut calls = Vec::new();
    submit(&site.client, "g", good / 2, None, &mut calls).await?;
    submit(&site.client, "p", 1, None, &mut calls).await?;
    submit(&site.client, "h", good - good / 2, None, &mut calls).await?;
    site.history.calls = calls;
    let (mut worker, mut lost) = (0, 0);
    let until = Instant::now() + LONG;
    loop {
        let jobs = claim(&site.client, &format!("worker-{worker}"), at_once, 1_000).await?;
        if jobs.iter().any(|job| job["payload"]["marker"] == POISON) {
            lost += 1;
            worker += 1;
        } else if jobs.is_empty() {
            if site.settle(Duration::from_millis(100)).await.is_ok() {
                break;
            }
        } else {
            complete(&site.client, &jobs).await?;
        }
        ensure!(Instant::now() < until, "the jobs never ended");
    }
    let dead: Vec<_> = site.client.list_where("/v1/jobs", "state=DEAD").await?;
    let reasons: Vec<_> = dead.iter().map(|job| job["state_reason"].as_str().unwrap_or_default()).collect();
    println!("  {at_once} at once: {lost} workers lost, {} jobs ended as poison", dead.len());
    ensure!(lost == 3 && reasons.iter().all(|reason| *reason == "poison"), "{lost} workers: {reasons:?}");
    ensure!(at_once > 1 || dead.len() == 1, "{} jobs ended as poison", dead.len());
    site.judge("a poison job").await
}

/// A worker with `jobs` jobs is lost, while others come and go.
pub async fn herd(jobs: usize) -> Result<()> {
    let server = Cluster::durable_with(SETTINGS)?;
    let database = create_database(&server.url()).await?;
    let mut site = Site::up(&database.url, LEASE).await?;
    let mut calls = Vec::new();
    submit(&site.client, "h", jobs, None, &mut calls).await?;
    site.history.calls = calls;
    let plan = Plan { callers: 2, pace: Duration::from_millis(50), ..Plan::default() };
    let calm = percentiles(&site, plan.clone(), Duration::from_secs(10)).await?;
    let lease_ms = 60_000;
    let began = Instant::now();
    let mut held = 0;
    while held < jobs {
        held += claim(&site.client, "lost", 1_000, lease_ms).await?.len();
    }
    println!("  {held} jobs claimed in {:?}", began.elapsed());
    // Their leases end within the time that the claims took; none was extended.
    let load = Load::start(&site.client, plan);
    let until = Instant::now() + LONG;
    let mut first = None;
    loop {
        let running = depth(&site, "RUNNING").await?;
        if running + 1_000 < jobs as u64 && first.is_none() {
            first = Some(Instant::now());
        }
        if running < 100 {
            break;
        }
        ensure!(Instant::now() < until, "{running} leases were never taken back");
        pause(Duration::from_millis(100)).await;
    }
    let took = first.context("the leases ended at once")?.elapsed();
    println!("  all taken back in {took:?}");
    let during = load.finish().await?;
    let mut waits: Vec<_> = during.iter().map(|call| call.returned_at - call.invoked_at).collect();
    waits.sort_unstable();
    let worst = waits.get(waits.len() * 99 / 100).copied().unwrap_or_default() / 1_000;
    println!("  submits meanwhile: p99 {worst} ms, calm {} ms", calm.1);
    site.history.calls.extend(during);
    drain(&site, jobs).await?;
    site.settle(LONG).await?;
    let after = percentiles(&site, Plan::default(), Duration::from_secs(10)).await?;
    println!("  submits afterwards: p99 {} ms", after.1);
    ensure!(after.1 < 1_000, "submits are slow afterwards: {} ms", after.1);
    Ok(())
}

/// Runs what is there to its end.
async fn drain(site: &Site, jobs: usize) -> Result<()> {
    let began = Instant::now();
    let mut done = 0;
    while done < jobs {
        let part = claim(&site.client, "second", 1_000, 60_000).await?;
        ensure!(!part.is_empty() || began.elapsed() < LONG, "{done} of {jobs} came again");
        done += complete(&site.client, &part).await?;
    }
    println!("  all done in {:?}", began.elapsed());
    Ok(())
}

async fn depth(site: &Site, state: &str) -> Result<u64> {
    let queues = site.client.get("/v1/admin/queues").await?;
    let queues = queues["items"].as_array().context("a list has items")?;
    Ok(queues.iter().filter_map(|queue| queue["depth"][state].as_u64()).sum())
}

/// Milliseconds of submits over some time: the median, and the 99th of a hundred.
async fn percentiles(site: &Site, plan: Plan, time: Duration) -> Result<(i64, i64)> {
    let load = Load::start(&site.client, plan);
    pause(time).await;
    let calls = load.finish().await?;
    let mut waits: Vec<_> = calls.iter().map(|call| (call.returned_at - call.invoked_at) / 1_000).collect();
    waits.sort_unstable();
    let at = |part: usize| waits.get(waits.len() * part / 100).copied().unwrap_or_default();
    Ok((at(50), at(99)))
}

/// Half of `jobs` wait for a worker, the other half for next year.
pub async fn millions(jobs: usize) -> Result<()> {
    let server = Cluster::durable_with(SETTINGS)?;
    let database = create_database(&server.url()).await?;
    let site = Site::up(&database.url, LEASE).await?;
    let mut calls = Vec::new();
    let plan = Plan { callers: 2, pace: Duration::from_millis(20), ..Plan::default() };
    let before = percentiles(&site, plan.clone(), Duration::from_secs(10)).await?;
    let later = chrono::DateTime::from_timestamp_micros(now_us() + 365 * 86_400_000_000).context("a time")?;
    let began = Instant::now();
    submit(&site.client, "h", jobs / 2, None, &mut calls).await?;
    submit(&site.client, "l", jobs - jobs / 2, Some(&later.to_rfc3339()), &mut calls).await?;
    println!("  {jobs} jobs submitted in {:?}", began.elapsed());
    let after = percentiles(&site, plan, Duration::from_secs(10)).await?;
    println!("  a submit: p50 / p99 {before:?} ms with none, {after:?} ms with {jobs} jobs");
    let mut claims = Vec::new();
    for _ in 0..200 {
        let asked = Instant::now();
        let part = claim(&site.client, "one", 100, 60_000).await?;
        claims.push(asked.elapsed());
        ensure!(part.len() == 100, "a claim of a hundred gave {}", part.len());
        complete(&site.client, &part).await?;
    }
    claims.sort_unstable();
    println!("  a claim of 100: p50 {:?}, p99 {:?}", claims[100], claims[198]);
    ensure!(claims[198] < Duration::from_secs(1), "a claim took {:?}", claims[198]);
    let small = Plan { callers: 2, ..Plan::default() };
    let load = Load::start(&site.client, small);
    load.accepts(100, PATIENCE).await?;
    load.finish().await?;
    Ok(())
}

/// Somebody reads in one transaction for minutes, while jobs come and go as fast
/// as they can.
pub async fn held(time: Duration) -> Result<()> {
    let server = Cluster::durable_with(SETTINGS)?;
    let database = create_database(&server.url()).await?;
    let mut site = Site::up(&database.url, LEASE).await?;
    let plan = Plan { callers: 16, pace: Duration::ZERO, ..Plan::default() };
    let load = Load::start(&site.client, plan);
    load.accepts(500, PATIENCE).await?;
    let window = Duration::from_secs(20);
    let before = rate(&load, window).await;
    let mut reader = sqlx::PgConnection::connect(&database.url).await?;
    sqlx::raw_sql("begin isolation level repeatable read; select count(*) from job")
        .execute(&mut reader)
        .await?;
    let began = Instant::now();
    let mut last = before;
    while began.elapsed() < time {
        last = rate(&load, window).await;
        println!("  held for {:?}: {last:.0} jobs/s, {before:.0} before", began.elapsed());
    }
    reader.close().await?;
    site.finish(load).await?;
    site.settle(PATIENCE).await?;
    let figures = site.judge("a transaction is held open").await?;
    println!("  {} jobs, at the end {:.0} % of the rate before", figures.jobs, 100.0 * last / before);
    ensure!(last >= 0.7 * before, "the rate fell from {before:.0} to {last:.0} jobs/s");
    Ok(())
}

/// Jobs that were accepted in a second, over some time.
async fn rate(load: &Load, time: Duration) -> f64 {
    let (began, before) = (Instant::now(), load.accepted());
    pause(time).await;
    (load.accepted() - before) as f64 / began.elapsed().as_secs_f64()
}
