//! Workers under limits, killed at random: the short form of `scripts/kill-run`.

use anyhow::Result;
use taskflow_tests::kill::{Plan, Report, on_postgres, on_sqlite};
use taskflow_tests::process::variable;

/// Of the short form.
const SECONDS: u64 = 8;

fn plan() -> Result<Plan> {
    let seconds = variable("TASKFLOW_KILL_SECONDS").map_or(Ok(SECONDS), |text| text.parse())?;
    let seed = variable("TASKFLOW_KILL_SEED").map_or(Ok(1), |text| text.parse())?;
    Ok(Plan { seconds, workers: 8, seed, fault_every_ms: 700 })
}

fn judged(name: &str, report: &Report) {
    println!("{name}: {report}");
    println!("report: fault kills under limits, {name} | {}", report.line());
    assert!(report.violations.is_empty(), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_hold_on_postgres() -> Result<()> {
    judged("PostgreSQL", &on_postgres(plan()?).await?);
    Ok(())
}

/// One process may own the file, so it is killed less often, to do something meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_hold_on_sqlite() -> Result<()> {
    judged("SQLite", &on_sqlite(Plan { fault_every_ms: 1_000, ..plan()? }).await?);
    Ok(())
}
