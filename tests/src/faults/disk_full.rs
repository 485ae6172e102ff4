//! The disk of the database is full, and has room again.
//!
//! Nothing may be acknowledged that is not stored; the caller is told what is
//! the matter; and the engine goes on by itself, also where PostgreSQL gave up
//! altogether because it had no room for its log.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::time::Instant;

use super::load::{Load, Plan};
use super::machine::{Ballast, Mount};
use super::site::Site;
use super::{now_us, pause};
use crate::postgres::{Cluster, create_database};

const LEASE: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_mins(1);

/// What is said of a disk without room.
const FULL: u16 = 507;
/// What is said of a database that is away.
const AWAY: u16 = 503;

/// Of a SQLite file.
pub async fn sqlite() -> Result<()> {
    let disk = Mount::memory(48)?;
    let file = disk.path().join("taskflow.db");
    let mut site = Site::up(&format!("sqlite://{}", file.display()), LEASE).await?;
    let load = start(&site).await?;
    for _ in 0..3 {
        full(&mut site, &load, disk.path(), None).await?;
    }
    end(site, load, "disk full, SQLite").await
}

/// Of PostgreSQL's data.
pub async fn postgres() -> Result<()> {
    let disk = Mount::memory(320)?;
    let server = Cluster::durable_in(disk.path(), "max_wal_size = 64MB\nwal_recycle = off\n")?;
    let database = create_database(&server.url()).await?;
    let mut site = Site::up(&database.url, LEASE).await?;
    let load = start(&site).await?;
    for _ in 0..3 {
        full(&mut site, &load, disk.path(), Some(&server)).await?;
    }
    end(site, load, "disk full, PostgreSQL").await
}

async fn start(site: &Site) -> Result<Load> {
    let load = Load::start(&site.client, Plan { payload: 8_000, ..Plan::default() });
    load.accepts(100, PATIENCE).await?;
    Ok(load)
}

/// Fills the disk until requests are refused, and makes room again.
async fn full(site: &mut Site, load: &Load, disk: &Path, server: Option<&Cluster>) -> Result<()> {
    let before = load.answers();
    let from = now_us();
    let ballast = Ballast::fill(disk)?;
    load.refuses(40, PATIENCE).await?;
    let answers = load.answers();
    for (status, count) in &answers {
        let new = count - before.get(status).unwrap_or(&0);
        println!("  {new} answers {status}");
        ensure!(
            [200, 201, 409, AWAY, FULL].contains(status),
            "a full disk is answered with {status}:\n{}",
            site.process.log()
        );
    }
    ensure!(answers.contains_key(&FULL) || answers.contains_key(&AWAY), "nobody was told of the full disk");
    // Long enough for every loop to meet the full disk.
    pause(2 * LEASE).await;
    let to = now_us();
    ballast.free()?;
    // A server that ended because it had no room for its log is started by whoever
    // looks after it. The engine is not.
    if server.map_or(Ok(false), Cluster::revive)? {
        println!("  the server had ended");
    }
    let freed = Instant::now();
    load.accepts(1, PATIENCE).await?;
    println!("  accepts jobs again {:?} after there was room", freed.elapsed());
    ensure!(freed.elapsed() < Duration::from_secs(10), "it took {:?} to go on", freed.elapsed());
    load.accepts(50, PATIENCE).await?;
    site.outage(from, to);
    Ok(())
}

async fn end(mut site: Site, load: Load, name: &str) -> Result<()> {
    site.finish(load).await?;
    site.settle(PATIENCE).await?;
    site.judge(name).await?;
    Ok(())
}
