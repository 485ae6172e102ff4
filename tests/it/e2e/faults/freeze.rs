//! F2: processes that stand still for longer than their lease, and go on.

use std::time::Duration;

use anyhow::{Result, ensure};
use taskflow_tests::faults::witness::Witness;
use taskflow_tests::faults::{now_us, pause};
use taskflow_tests::process::Signal;

use super::trial::{Trial, noop, outcomes};
use crate::e2e::api::{Api, Store, bounded};
use crate::e2e::on_both_databases;

on_both_databases! {
    a_frozen_engine_goes_on
}

/// Another worker takes over what the frozen one held, and the frozen one's
/// report is refused when it goes on.
#[tokio::test]
async fn a_frozen_worker_loses_what_it_held() -> Result<()> {
    let trial = Trial::new("SIGSTOP of a worker", Store::postgres().await?, 3_000);
    let witness = Witness::start().await?;
    let began = now_us();
    let (api, frozen) = tokio::try_join!(trial.launch("api").start(), trial.launch("worker").start())?;
    let api = Api::new(&api.url).map(|client| (client, api))?;
    let held = trial.submit(&api.0, &witness.job("hold")).await.1;
    let held = held.ok_or_else(|| anyhow::anyhow!("the job was not accepted"))?;
    bounded("the first attempt", witness.called(1)).await??;
    frozen.signal(Signal::Stop)?;
    let other = trial.launch("worker").start().await?;
    bounded("the second attempt", witness.called(2)).await??;
    for _ in 0..50 {
        trial.submit(&api.0, &witness.job("ok")).await;
    }
    // Nobody looked for ended leases until the second worker's first one had passed.
    trial.no_engine_since(began);
    frozen.signal(Signal::Cont)?;
    witness.open();
    api.0.in_state(&held, "SUCCEEDED").await?;
    let history = trial.judge(Some(&witness)).await;
    drop((frozen, other));
    let history = history?;
    ensure!(outcomes(&history, &held) == ["LEASE_EXPIRED", "SUCCEEDED"], "{:?}", outcomes(&history, &held));
    Ok(())
}

/// There is nobody to take over: what the engine finds when it goes on is judged
/// by its own clock, and every job ends once.
async fn a_frozen_engine_goes_on(store: Store) -> Result<()> {
    let trial = Trial::new("SIGSTOP of the whole engine", store, 1_000);
    let witness = Witness::start().await?;
    let began = now_us();
    let (process, api) = trial.up().await?;
    for _ in 0..8 {
        trial.submit(&api, &witness.job("hold")).await;
        trial.submit(&api, &noop()).await;
    }
    bounded("the first attempts", witness.called(8)).await??;
    process.signal(Signal::Stop)?;
    pause(Duration::from_secs(3)).await;
    process.signal(Signal::Cont)?;
    witness.open();
    for _ in 0..8 {
        trial.submit(&api, &noop()).await;
    }
    trial.no_engine_since(began);
    trial.judge(None).await?;
    Ok(())
}
