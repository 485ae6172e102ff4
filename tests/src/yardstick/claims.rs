//! What a claim costs and how fair it is, measured at the store itself.

use anyhow::{Context, Result};
use sqlx::Row as _;
use taskflow_adapters::store::postgres::{PostgresOptions, PostgresStore};
use taskflow_application::ports::Stores;
use taskflow_domain::tenant::TenantSettings;
use taskflow_domain::{ClaimedJob, TenantId, Verdict};
use tokio::time::Instant;

use crate::builders::{Draft, Scene, at, report, slug};

const CHUNK: usize = 5_000;

/// Opens the store of an empty database, on one connection if its figures are to
/// be told apart from those of others.
pub async fn open(url: &str, connections: u32) -> Result<PostgresStore> {
    let options = PostgresOptions { max_connections: connections, ..PostgresOptions::default() };
    let store = PostgresStore::connect(url, options).await?;
    store.migrate().await?;
    Ok(store)
}

/// Inserts jobs, numbered from `first`, so many for each tenant in turn.
async fn fill(stores: &Stores, tenants: &[(TenantId, u32)], first: u32) -> Result<u32> {
    let mut number = first;
    let mut drafts = Vec::with_capacity(CHUNK);
    for &(tenant, jobs) in tenants {
        for _ in 0..jobs {
            drafts.push(Draft::new(tenant, number)?.0);
            number += 1;
            if drafts.len() == CHUNK {
                stores.jobs.insert(std::mem::take(&mut drafts), false).await?;
            }
        }
    }
    if !drafts.is_empty() {
        stores.jobs.insert(drafts, false).await?;
    }
    Ok(number)
}

async fn settle(stores: &Stores, jobs: &[ClaimedJob]) -> Result<()> {
    let changes: Vec<_> =
        jobs.iter().map(|job| report(&job.lease, Verdict::Succeeded { result: None }, at(2_000))).collect();
    stores.jobs.commit(&changes).await?;
    Ok(())
}

/// What the small tenants got beside a noisy one.
#[derive(Clone, Copy, Debug)]
pub struct Noisy {
    /// Jobs claimed, of whomsoever, until the last job of a small tenant was.
    pub claimed: u64,
    /// The least number that is possible: all jobs of the small tenants.
    pub ideal: u64,
    /// Seconds that it took.
    pub seconds: f64,
}

/// One tenant with `backlog` jobs, and after it `small` tenants with `each` jobs.
pub async fn noisy(url: &str, backlog: u32, small: u32, each: u32, batch: u32) -> Result<Noisy> {
    let store = open(url, 4).await?;
    let stores = store.stores();
    let scene = Scene::new(&stores).await?;
    let loud = scene.tenant("loud").await?.id;
    let next = fill(&stores, &[(loud, backlog)], 1).await?;
    let mut quiet = Vec::new();
    for number in 0..small {
        quiet.push((scene.tenant(&format!("quiet-{number}")).await?.id, each));
    }
    // A busy system: the loud tenant has used some time before the others come.
    for _ in 0..3 {
        let jobs = scene.claim(batch, at(1_000)).await?;
        settle(&stores, &jobs).await?;
    }
    fill(&stores, &quiet, next).await?;
    store.refresh_statistics().await?;
    let ideal = u64::from(small) * u64::from(each);
    let (mut claimed, mut left) = (0, ideal);
    let begun = Instant::now();
    while left > 0 {
        let jobs = scene.claim(batch, at(1_000)).await?;
        claimed += jobs.len() as u64;
        left -= jobs.iter().filter(|job| job.lease.tenant != loud).count() as u64;
        settle(&stores, &jobs).await?;
    }
    Ok(Noisy { claimed, ideal, seconds: begun.elapsed().as_secs_f64() })
}

/// A point of the grid over which a claim should cost the same.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    /// Tenants whose jobs may run.
    pub tenants: u32,
    /// Jobs that wait, over all tenants.
    pub backlog: u32,
    /// Tenants with jobs that a limit holds back.
    pub blocked: u32,
}

/// What a claim of a hundred jobs costs.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Milliseconds, the median.
    pub p50_ms: f64,
    /// Pages of the database that were touched.
    pub buffers: u64,
}

/// Measures claims of a hundred jobs at one point of the grid.
pub async fn cost(url: &str, point: Point) -> Result<Cost> {
    const CLAIMS: u32 = 30;
    let store = open(url, 1).await?;
    let stores = store.stores();
    let scene = Scene::new(&stores).await?;
    let (mut free, mut held) = (Vec::new(), Vec::new());
    for number in 0..point.tenants {
        free.push((scene.tenant(&format!("free-{number}")).await?.id, point.backlog / point.tenants));
    }
    for number in 0..point.blocked {
        let limits = TenantSettings { max_running: Some(0), ..TenantSettings::default() };
        let tenant = stores.tenants.put(&slug(&format!("held-{number}"))?, &limits, at(0), None).await?;
        held.push((tenant.id, 10));
    }
    let next = fill(&stores, &held, 1).await?;
    // Each held lane is met once, and then leaves the index of the claims.
    while stores.jobs.claim(&scene.request(1_000, at(1_000))).await?.more {}
    fill(&stores, &free, next).await?;
    store.refresh_statistics().await?;
    for _ in 0..10 {
        let jobs = scene.claim(10, at(1_000)).await?;
        settle(&stores, &jobs).await?;
    }
    let before = buffers(&store).await?;
    let mut times = Vec::new();
    for _ in 0..CLAIMS {
        let begun = Instant::now();
        let jobs = scene.claim(100.min(point.backlog / 2 / CLAIMS), at(1_000)).await?;
        times.push(begun.elapsed().as_secs_f64() * 1e3 / jobs.len().max(1) as f64 * 100.0);
    }
    let after = buffers(&store).await?;
    times.sort_by(f64::total_cmp);
    Ok(Cost { p50_ms: times[times.len() / 2], buffers: (after - before) / u64::from(CLAIMS) })
}

/// Pages touched so far by the one connection of the store.
async fn buffers(store: &PostgresStore) -> Result<u64> {
    let pool = store.pool();
    // What a session counts is shown when its next statement has ended.
    sqlx::query("select pg_stat_force_next_flush()").execute(pool).await?;
    sqlx::query("select 1").execute(pool).await?;
    let query =
        "select (blks_hit + blks_read)::int8 from pg_stat_database where datname = current_database()";
    let touched: i64 = sqlx::query(query).fetch_one(pool).await?.try_get(0)?;
    u64::try_from(touched).context("a count below zero")
}
