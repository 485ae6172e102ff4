//! The commands that are no server: what they refuse, and what they leave behind.

use anyhow::{Result, ensure};
use taskflow_tests::postgres;
use taskflow_tests::process::{Launch, Signal};

use super::api::{Store, until};
use super::on_both_databases;

on_both_databases! {
    a_verifier_refuses_what_is_no_audit
    a_bench_that_is_broken_off_leaves_nothing
}

/// A verifier only reads: an empty place is no whole audit, and stays empty.
async fn a_verifier_refuses_what_is_no_audit(store: Store) -> Result<()> {
    let verify = || Launch::new(["audit", "verify"]).env("DATABASE_URL", &store.url()).output();
    for _ in 0..2 {
        let (status, shown, log) = verify()?;
        ensure!(status.code() == Some(1) && shown.trim().is_empty(), "{shown}{log}");
        ensure!(
            log.contains("there is no database at") || log.contains("has no tables of TaskFlow"),
            "{log}"
        );
    }
    if let Store::Sqlite(directory) = &store {
        ensure!(std::fs::read_dir(directory.path())?.next().is_none(), "it made a file");
        std::fs::write(directory.path().join("taskflow.db"), "")?;
        let (status, _, log) = verify()?;
        ensure!(status.code() == Some(1) && log.contains("has no tables of TaskFlow"), "{log}");
    }
    let (status, _, log) = store.launch("migrate").output()?;
    ensure!(status.success(), "{log}");
    let (status, shown, log) = verify()?;
    ensure!(status.success() && shown.contains("\"entries\":0"), "{shown}{log}");
    Ok(())
}

async fn a_bench_that_is_broken_off_leaves_nothing(store: Store) -> Result<()> {
    let launch = Launch::new(["bench", "--jobs", "50000000", "--enqueue", "single"]);
    let mut process = launch.env("DATABASE_URL", &store.url()).spawn()?;
    until("it measures", async || process.log().contains("enqueue:")).await?;
    process.signal(Signal::Term)?;
    let status = process.ended().await?;
    ensure!(status.code() == Some(1), "{status}: {}", process.log());
    match &store {
        Store::Sqlite(directory) => {
            for file in std::fs::read_dir(directory.path())? {
                let name = file?.file_name().to_string_lossy().into_owned();
                ensure!(!name.starts_with("bench_"), "{name} is left behind");
            }
        }
        Store::Postgres(database) => ensure!(!postgres::dump(&database.url)?.contains("bench_")),
    }
    Ok(())
}

#[test]
fn a_bench_of_nothing_is_refused() -> Result<()> {
    for (flag, value) in [
        ("--jobs", "0"),
        ("--tenants", "0"),
        ("--callers", "0"),
        ("--slots", "0"),
        ("--batch", "0"),
        ("--payload-bytes", "300000"),
    ] {
        let (status, _, log) = Launch::new(["bench", flag, value]).output()?;
        ensure!(status.code() == Some(2) && log.contains(flag), "{flag} {value}: {status}: {log}");
    }
    Ok(())
}
