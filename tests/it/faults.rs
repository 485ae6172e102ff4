//! The faults that are quick enough for every run; `scripts/faults` has the others,
//! and more of these.

use std::time::Duration;

use anyhow::Result;
use taskflow_tests::faults;
use taskflow_tests::postgres::fresh_database;

#[tokio::test]
async fn sqlite_is_killed() -> Result<()> {
    faults::sqlite_kills::run(20).await
}

#[tokio::test]
async fn a_worker_freezes() -> Result<()> {
    faults::stall::freezes(2).await
}

#[tokio::test]
async fn a_connection_is_cut_at_many_bytes() -> Result<()> {
    faults::cuts::every_byte(211).await
}

#[tokio::test]
async fn a_server_falls_silent() -> Result<()> {
    faults::cuts::silence(Duration::from_secs(16)).await
}

#[tokio::test]
async fn wake_ups_are_lost() -> Result<()> {
    faults::wakeups::run().await
}

#[tokio::test]
async fn a_job_is_poison() -> Result<()> {
    faults::crowd::poison(&fresh_database().await?.url, 1_000, 1).await.map(drop)
}
