//! F1, F26, F28: processes are killed at any moment, and by the jobs that they run.

use anyhow::{Result, ensure};
use taskflow_tests::faults::now_us;
use taskflow_tests::faults::witness::Witness;
use tokio::sync::watch;

use super::trial::{Trial, noop, outcomes};
use crate::e2e::api::{Store, bounded};
use crate::e2e::on_both_databases;

on_both_databases! {
    twenty_kills_lose_nothing
    a_poison_job_spares_the_others
}

/// How often the process is killed.
const KILLS: usize = 20;
/// Good jobs beside the one that kills its worker.
const GOOD: usize = 200;

async fn twenty_kills_lose_nothing(store: Store) -> Result<()> {
    let trial = Trial::new("kill -9", store, 1_000);
    let mut down = now_us();
    for round in 0..KILLS {
        let (mut process, api) = trial.up().await?;
        trial.no_engine_since(down);
        let (enough, told) = watch::channel(false);
        let callers = trial.callers(8, &api, &noop(), &told);
        // The moment differs from round to round: early, late, in the middle.
        let mut acknowledged = trial.acknowledged();
        let moment = *acknowledged.borrow() + 3 + round * 11 % 97;
        bounded("accepting", acknowledged.wait_for(|count| *count >= moment)).await??;
        down = now_us();
        process.kill()?;
        enough.send_replace(true);
        for caller in callers {
            bounded("a caller", caller).await??;
        }
        trial.is_whole().await?;
    }
    let (_process, api) = trial.up().await?;
    trial.no_engine_since(down);
    let again = trial.ask_again(&api).await?;
    trial.judge(None).await?;
    println!("{KILLS} kills; {again} submits had no answer and were asked again");
    Ok(())
}

/// Whoever runs the poison dies. After three deaths nobody runs it any more.
async fn a_poison_job_spares_the_others(store: Store) -> Result<()> {
    let trial = Trial::new("poison among good ones", store, 3_000);
    let witness = Witness::start().await?;
    let mut deaths = witness.deaths();
    let mut down = now_us();
    let (mut process, api) = trial.up().await?;
    trial.no_engine_since(down);
    let poison = trial.submit(&api, &witness.job("die")).await.1;
    let poison = poison.ok_or_else(|| anyhow::anyhow!("the poison was not accepted"))?;
    let mut api = api;
    for death in 1..=3 {
        for _ in 0..GOOD / 4 {
            trial.submit(&api, &witness.job("ok")).await;
        }
        bounded("the next death", deaths.wait_for(|count| *count >= death)).await??;
        down = now_us();
        process.kill()?;
        (process, api) = trial.up().await?;
        trial.no_engine_since(down);
    }
    for _ in 0..GOOD / 4 {
        trial.submit(&api, &witness.job("ok")).await;
    }
    trial.ask_again(&api).await?;
    let dead = api.in_state(&poison, "DEAD").await?;
    ensure!(dead["state_reason"] == "poison", "{dead}");
    let history = trial.judge(Some(&witness)).await?;
    ensure!(outcomes(&history, &poison) == ["LEASE_EXPIRED"; 3], "{:?}", outcomes(&history, &poison));
    let good = history.jobs.iter().filter(|job| job.state == "SUCCEEDED").count();
    ensure!(good == GOOD, "{good} of {GOOD} good jobs succeeded");
    drop(process);
    Ok(())
}
