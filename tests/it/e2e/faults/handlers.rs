//! F3 to F5, F12: targets that hang, trickle, flood and heed no cancel, and handlers of
//! workers that block, panic, end their process or take all its memory, among good
//! ones. What a job does wrong is its own loss.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use taskflow_tests::faults::careless::{Careless, KINDS, LEASE_MS};
use taskflow_tests::faults::now_us;
use taskflow_tests::faults::witness::Witness;

use super::trial::{Trial, outcomes};
use crate::e2e::api::{Store, bounded};
use crate::e2e::on_both_databases;

on_both_databases! {
    bad_targets_harm_nobody_else
    careless_handlers_harm_nobody_else
}

/// Good jobs beside the bad ones.
const GOOD: usize = 100;
/// What the process may need more of memory afterwards: an endless answer is
/// not read into it.
const MORE_KIB: u64 = 64 * 1024;

async fn bad_targets_harm_nobody_else(store: Store) -> Result<()> {
    let trial = Trial::new("hanging, trickling and flooding targets", store, 1_000);
    let witness = Witness::start().await?;
    let began = now_us();
    let (process, api) = trial.up().await?;
    trial.no_engine_since(began);
    let before = resident_kib(process.id())?;
    let mut bad = Vec::new();
    for behaviour in ["silent", "trickle", "endless"] {
        let mut job = witness.job(behaviour);
        job["timeout_ms"] = json!(1_500);
        job["retry_policy"]["max_attempts"] = json!(2);
        bad.push((behaviour, trial.submit(&api, &job).await.1.context("not accepted")?));
    }
    let mut uncancellable = witness.job("silent");
    uncancellable["timeout_ms"] = json!(60_000);
    let uncancellable = trial.submit(&api, &uncancellable).await.1.context("not accepted")?;
    for _ in 0..GOOD {
        trial.submit(&api, &witness.job("ok")).await;
    }
    bounded("all calls", witness.called(GOOD + 4)).await??;
    let (status, answer) = api.post(&format!("/v1/jobs/{uncancellable}/cancel"), &json!({})).await?;
    ensure!(status.is_success(), "{status}: {answer}");
    api.in_state(&uncancellable, "CANCELLED").await?;
    for (behaviour, id) in &bad {
        let job = api.in_state(id, if *behaviour == "endless" { "SUCCEEDED" } else { "DEAD" }).await;
        println!("{behaviour}: {:?} {:?}", job.map(|job| job["state"].clone()), api.outcomes(id).await?);
    }
    let after = resident_kib(process.id())?;
    ensure!(after < before + MORE_KIB, "from {before} to {after} KiB");
    let history = trial.judge(Some(&witness)).await?;
    let good = history.jobs.iter().filter(|job| job.state == "SUCCEEDED").count();
    ensure!(good >= GOOD, "{good} of {GOOD} good jobs succeeded");
    Ok(())
}

/// What ends its process is given up after three deaths, what panics is tried as often
/// as it may be, and what blocks for ever is taken from its worker when its time is up.
async fn careless_handlers_harm_nobody_else(store: Store) -> Result<()> {
    let trial = Trial::new("careless handlers", store, i64::try_from(LEASE_MS)?);
    let began = now_us();
    let (process, api) = trial.up().await?;
    trial.no_engine_since(began);
    let workers = Careless::start(3, Path::new(env!("CARGO_BIN_EXE_careless")), &process.url)?;
    let mut ids = Vec::new();
    for kind in KINDS {
        let policy = json!({"max_attempts": if kind == "block" { 1 } else { 4 }, "base_delay_ms": 10, "jitter": "none"});
        let timeout = if kind == "block" { 500 } else { 60_000 };
        let job = json!({"kind": kind, "timeout_ms": timeout, "retry_policy": policy});
        for _ in 0..if kind == "good" { GOOD } else { 1 } {
            ids.push((kind, trial.submit(&api, &job).await.1.context("not accepted")?));
        }
    }
    let history = trial.judge(None).await?;
    for (kind, id) in &ids {
        let job = api.job(id).await?;
        let (state, why, expected): (_, _, &[&str]) = match *kind {
            "abort" | "overflow" | "hungry" => ("DEAD", json!("poison"), &["LEASE_EXPIRED"; 3]),
            "panic" => ("DEAD", json!("attempts_exhausted"), &["FAILED"; 4]),
            "block" => ("DEAD", json!("attempts_exhausted"), &["TIMEOUT"]),
            _ => ("SUCCEEDED", json!(null), &["SUCCEEDED"]),
        };
        ensure!(job["state"] == state && job["state_reason"] == why, "{kind}: {job}");
        ensure!(outcomes(&history, id) == expected, "{kind}: {:?}", outcomes(&history, id));
    }
    ensure!(workers.deaths() >= 9, "three handlers that end their process three times: {}", workers.deaths());
    Ok(())
}

/// The most memory that a process ever had.
fn resident_kib(process: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmHWM")).context("a peak")?;
    Ok(line.split_whitespace().nth(1).context("a number")?.parse()?)
}
