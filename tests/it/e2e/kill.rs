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
    assert!(report.violations.is_empty(), "{report}");
    println!("report: fault kills under limits, {name} | {}", report.line());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_hold_on_postgres() -> Result<()> {
    judged("PostgreSQL", &on_postgres(plan()?).await?);
    Ok(())
}

/// One process may own the file. Whoever begins leaves all leases alone for the time of
/// one, so in a long run it has to live for longer than that now and then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_hold_on_sqlite() -> Result<()> {
    let plan = plan()?;
    let fault_every_ms = (plan.seconds * 100).clamp(1_000, 7_000);
    judged("SQLite", &on_sqlite(Plan { fault_every_ms, ..plan }).await?);
    Ok(())
}
