//! The engine on SQLite is killed again and again, at any moment of a write, and
//! each time the file is sound and another engine goes on with it.

use std::time::Duration;

use anyhow::{Result, ensure};
use sqlx::Connection as _;

use super::load::{Load, Plan};
use super::site::Site;
use super::{now_us, pause, random};

const LEASE: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(60);

/// So many kills.
pub async fn run(kills: u32) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let url = format!("sqlite://{}/taskflow.db", directory.path().display());
    let mut site = Site::up(&url, LEASE).await?;
    let mut state = now_us() as u64;
    let load = Load::start(&site.client, Plan { callers: 8, pace: Duration::ZERO, ..Plan::default() });
    load.accepts(20, PATIENCE).await?;
    for _ in 0..kills {
        pause(Duration::from_micros(random(&mut state, 150_000))).await;
        site.process.kill()?;
        sound(&url).await?;
        site.restart().await?;
        load.accepts(2, PATIENCE).await?;
    }
    site.finish(load).await?;
    site.settle(PATIENCE).await?;
    sound(&url).await?;
    println!("  {kills} kills, the file was sound each time");
    site.judge("SQLite kills").await?;
    Ok(())
}

async fn sound(url: &str) -> Result<()> {
    let mut connection = sqlx::SqliteConnection::connect(url).await?;
    let told: String = sqlx::query_scalar("pragma integrity_check").fetch_one(&mut connection).await?;
    connection.close().await?;
    ensure!(told == "ok", "the file is damaged: {told}");
    Ok(())
}
