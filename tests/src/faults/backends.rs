//! PostgreSQL's processes die: single sessions, one process so that all start
//! again, and the whole server, again and again under load.

use std::time::Duration;

use anyhow::{Result, ensure};
use sqlx::Connection as _;
use tokio::time::Instant;

use super::load::{Load, Plan};
use super::machine::run;
use super::site::Site;
use super::{now_us, pause, random};
use crate::postgres::{Cluster, StopMode, create_database};

const LEASE: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_mins(1);
/// Within this time after the server is there, jobs are accepted again.
const RESUMES: Duration = Duration::from_secs(10);

/// All three, with so many cycles of stop and start.
pub async fn run_all(cycles: u32) -> Result<()> {
    let server = Cluster::durable()?;
    let database = create_database(&server.url()).await?;
    let mut site = Site::up(&database.url, LEASE).await?;
    let load = Load::start(&site.client, Plan::default());
    load.accepts(50, PATIENCE).await?;
    sessions_end(&server, 10 * cycles, &load).await?;
    let mut slowest = Duration::ZERO;
    for _ in 0..cycles.div_ceil(4) {
        slowest = slowest.max(one_is_killed(&server, &mut site, &load).await?);
    }
    println!("  accepts again at most {slowest:?} after one process was killed");
    slowest = Duration::ZERO;
    for _ in 0..cycles {
        slowest = slowest.max(stop_and_start(&server, &mut site, &load).await?);
    }
    println!("  accepts again at most {slowest:?} after a start of the server, {cycles} times");
    println!("  answers: {:?}", load.answers());
    site.finish(load).await?;
    site.settle(PATIENCE).await?;
    site.judge("PostgreSQL's processes die").await?;
    Ok(())
}

/// One session of the engine, whichever, is ended every 200 ms.
async fn sessions_end(server: &Cluster, times: u32, load: &Load) -> Result<()> {
    let mut keeper = sqlx::PgConnection::connect(&server.url()).await?;
    let mut ended = 0;
    for _ in 0..times {
        let sql = "select pg_terminate_backend(pid) from pg_stat_activity \
                   where application_name = 'taskflow' order by random() limit 1";
        ended += sqlx::query(sql).execute(&mut keeper).await?.rows_affected();
        pause(Duration::from_millis(200)).await;
    }
    keeper.close().await?;
    load.accepts(20, RESUMES).await?;
    println!("  {ended} sessions ended");
    ensure!(ended >= u64::from(times) / 2, "there were too few sessions to end");
    Ok(())
}

/// One session's process is killed; the server then starts all of them again.
async fn one_is_killed(server: &Cluster, site: &mut Site, load: &Load) -> Result<Duration> {
    let mut keeper = sqlx::PgConnection::connect(&server.url()).await?;
    let sql =
        "select pid from pg_stat_activity where application_name = 'taskflow' order by random() limit 1";
    let process: i32 = sqlx::query_scalar(sql).fetch_one(&mut keeper).await?;
    let from = now_us();
    run("kill", &["-KILL", &process.to_string()])?;
    drop(keeper);
    let back = answers_again(server).await?;
    site.outage(from, now_us());
    load.accepts(20, RESUMES).await?;
    Ok(back.elapsed())
}

/// The whole server stops as if its machine failed, and starts.
async fn stop_and_start(server: &Cluster, site: &mut Site, load: &Load) -> Result<Duration> {
    let mut state = now_us() as u64;
    let from = now_us();
    server.stop(StopMode::Immediate)?;
    pause(Duration::from_millis(random(&mut state, 2_000))).await;
    let to = now_us();
    server.start()?;
    let back = Instant::now();
    site.outage(from, to);
    load.accepts(20, RESUMES).await?;
    let took = back.elapsed();
    pause(Duration::from_millis(random(&mut state, 1_500))).await;
    Ok(took)
}

/// Waits until the server takes connections; when it did.
async fn answers_again(server: &Cluster) -> Result<Instant> {
    let until = Instant::now() + PATIENCE;
    while crate::postgres::execute(&server.url(), "SELECT 1").await.is_err() {
        ensure!(Instant::now() < until, "the server did not come back");
        pause(Duration::from_millis(20)).await;
    }
    Ok(Instant::now())
}
