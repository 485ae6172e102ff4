//! Several processes fire the same rules.

use anyhow::Result;
use taskflow_tests::postgres::fresh_database;
use taskflow_tests::schedulers::{Plan, run};

/// The short form of what `scripts/faults schedulers` does at length.
#[tokio::test]
async fn each_occurrence_is_fired_once_by_five_processes() -> Result<()> {
    let database = fresh_database().await?;
    let plan = Plan { rules: 50, seconds: 9, idle: 500 };
    run(&database.url, plan).await?.print(plan);
    Ok(())
}
