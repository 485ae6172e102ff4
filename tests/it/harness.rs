//! The harness itself: servers come, crash and come back.

use anyhow::Result;
use taskflow_tests::postgres::{Cluster, StopMode, create_database, execute, fresh_database};

#[tokio::test]
async fn each_test_has_a_database_of_its_own() -> Result<()> {
    let (one, other) = (fresh_database().await?, fresh_database().await?);
    execute(&one.url, "CREATE TABLE a (b int)").await?;
    execute(&other.url, "CREATE TABLE a (b int)").await?;
    let url = one.url.clone();
    drop(one);
    assert!(execute(&url, "SELECT 1").await.is_err());
    Ok(())
}

#[tokio::test]
async fn a_durable_server_keeps_what_it_committed() -> Result<()> {
    let server = Cluster::durable()?;
    let database = create_database(&server.url()).await?;
    execute(&database.url, "CREATE TABLE a AS SELECT 1 AS b").await?;
    server.stop(StopMode::Immediate)?;
    assert!(execute(&database.url, "SELECT 1").await.is_err());
    server.start()?;
    execute(&database.url, "INSERT INTO a SELECT 1 / count(*) FROM a").await
}
