//! PostgreSQL's primary is killed, freezes, or is cut off from the network under
//! load, and its synchronous standby takes over.
//!
//! What was acknowledged is on the standby; the engine goes on as soon as the new
//! primary takes writes; and the old one, when it is back, acknowledges nothing.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use sqlx::Connection as _;
use tokio::time::{Instant, timeout};

use super::load::{Load, Plan};
use super::nodes::Nodes;
use super::site::Site;
use super::{now_us, pause};

const LEASE: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_mins(2);
const RESUMES: Duration = Duration::from_secs(10);

/// What happens to the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blow {
    Killed,
    Frozen,
    CutOff,
}

/// Each blow so many times.
pub async fn run(times: u32) -> Result<()> {
    let mut nodes = Nodes::start().await?;
    let mut site = Site::up(&nodes.url(), LEASE).await?;
    execute(&nodes.url(), "create table probe (number bigint primary key)").await?;
    let plan = Plan { pace: Duration::from_millis(25), ..Plan::default() };
    let load = Load::start(&site.client, plan);
    load.accepts(50, PATIENCE).await?;
    for _ in 0..times {
        for blow in [Blow::Killed, Blow::Frozen, Blow::CutOff] {
            strike(&mut nodes, &mut site, &load, blow).await.with_context(|| format!("primary {blow:?}"))?;
        }
    }
    println!("  answers: {:?}", load.answers());
    site.finish(load).await?;
    site.settle(PATIENCE).await?;
    site.judge("failover: primary killed, frozen, cut off").await?;
    Ok(())
}

async fn strike(nodes: &mut Nodes, site: &mut Site, load: &Load, blow: Blow) -> Result<()> {
    let old = nodes.primary().await.context("there is no primary")?;
    let from = now_us();
    let struck = Instant::now();
    match blow {
        Blow::Killed => nodes.nodes[old].end()?,
        Blow::Frozen => nodes.nodes[old].freeze(true)?,
        Blow::CutOff => nodes.nodes[old].cut_off(true)?,
    }
    let to = writable(nodes, old).await?;
    let writable_after = struck.elapsed();
    let back = Instant::now();
    load.accepts(20, PATIENCE).await?;
    let resumed = back.elapsed();
    site.outage(from, to);
    println!(
        "report: until writes are possible, the primary {blow:?} | {writable_after:.1?}, and jobs are accepted \
         {resumed:.1?} later"
    );
    ensure!(resumed < RESUMES, "it took {resumed:?} until jobs were accepted");
    let acknowledged = come_back(nodes, old, blow).await?;
    nodes.healthy().await?;
    still_there(nodes, &acknowledged).await?;
    println!(
        "report: writes that the old primary acknowledged when it was back, {blow:?} | {}, 0 lost",
        acknowledged.len()
    );
    load.accepts(20, RESUMES).await
}

/// Waits until another primary takes writes; when it was last known not to.
async fn writable(nodes: &Nodes, old: usize) -> Result<i64> {
    let until = Instant::now() + PATIENCE;
    let mut last = now_us();
    loop {
        let asked = now_us();
        let elsewhere = nodes.primary().await.is_some_and(|primary| primary != old);
        if elsewhere && write(&nodes.url(), asked).await {
            return Ok(last);
        }
        last = asked;
        ensure!(Instant::now() < until, "no new primary\n{}", nodes.logs());
        pause(Duration::from_millis(200)).await;
    }
}

/// The old primary is back, and somebody who still knows its address writes to it:
/// what it acknowledges.
async fn come_back(nodes: &mut Nodes, old: usize, blow: Blow) -> Result<Vec<i64>> {
    match blow {
        Blow::Killed => nodes.restart(old)?,
        Blow::Frozen => nodes.nodes[old].freeze(false)?,
        Blow::CutOff => nodes.nodes[old].cut_off(false)?,
    }
    let url = format!("postgres://postgres@{}:5432/postgres", nodes.nodes[old].address);
    let mut acknowledged = Vec::new();
    for _ in 0..20 {
        let number = now_us();
        if write(&url, number).await {
            acknowledged.push(number);
        }
        pause(Duration::from_millis(50)).await;
    }
    Ok(acknowledged)
}

async fn still_there(nodes: &Nodes, acknowledged: &[i64]) -> Result<()> {
    let mut connection = sqlx::PgConnection::connect(&nodes.url()).await?;
    let sql = "select count(*) from probe where number = any($1)";
    let found: i64 = sqlx::query_scalar(sql).bind(acknowledged).fetch_one(&mut connection).await?;
    connection.close().await?;
    ensure!(found == acknowledged.len() as i64, "the old primary acknowledged what is lost now");
    Ok(())
}

/// Whether a write was acknowledged within two seconds.
async fn write(url: &str, number: i64) -> bool {
    let sql = format!("insert into probe values ({number})");
    timeout(Duration::from_secs(2), execute(url, &sql)).await.is_ok_and(|outcome| outcome.is_ok())
}

async fn execute(url: &str, sql: &str) -> Result<()> {
    crate::postgres::execute(url, sql).await
}
