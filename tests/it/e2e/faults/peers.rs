//! F12: the way to the database resets at any byte, is slow, or falls silent.

use std::time::Duration;

use anyhow::Result;
use taskflow_tests::faults::{now_us, pause};
use taskflow_tests::wire::{Trouble, Wire};
use tokio::sync::watch;

use super::trial::{Trial, noop};
use crate::e2e::api::{Api, Store, bounded};

#[tokio::test]
async fn a_bad_way_to_the_database_loses_nothing() -> Result<()> {
    let store = Store::postgres().await?;
    let (wire, url) = Wire::to_database(&store.url()).await?;
    let trial = Trial::new("resets, slowness and silence before the database", store, 3_000);
    let began = now_us();
    let process = trial.launch("up").env("DATABASE_URL", &url).start().await?;
    let api = Api::new(&process.url)?;
    let (enough, told) = watch::channel(false);
    let callers = trial.callers(4, &api, &noop(), &told);
    let slow = Trouble::Slow(200, Duration::from_millis(3));
    for trouble in [
        Trouble::ResetEach(20_011),
        slow,
        Trouble::ResetEach(4_001),
        Trouble::Silence,
        Trouble::ResetEach(9_973),
    ] {
        wire.set(trouble);
        pause(Duration::from_secs(2)).await;
        wire.set(Trouble::None);
        pause(Duration::from_millis(500)).await;
    }
    let mut acknowledged = trial.acknowledged();
    let before = *acknowledged.borrow();
    bounded("accepting again", acknowledged.wait_for(|count| *count >= before + 20)).await??;
    enough.send_replace(true);
    for caller in callers {
        bounded("a caller", caller).await??;
    }
    trial.no_engine_since(began);
    let again = trial.ask_again(&api).await?;
    trial.judge(None).await?;
    println!("{} connections were reset; {again} submits had no answer", wire.breaks());
    Ok(())
}
