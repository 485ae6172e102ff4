//! SIGTERM: running work gets its time, the rest is handed back.

use anyhow::Result;
use taskflow_tests::process::{Process, Signal};

use super::api::{Api, Store, call, until};
use super::on_both_databases;
use super::target::Target;

on_both_databases! {
    running_work_gets_its_time
    the_rest_is_handed_back
}

async fn up(store: &Store, shutdown_ms: u32) -> Result<(Process, Api)> {
    let process = store.launch("up").env("TASKFLOW_SHUTDOWN_MS", &shutdown_ms).start().await?;
    let api = Api::new(&process.url)?;
    Ok((process, api))
}

async fn running_work_gets_its_time(store: Store) -> Result<()> {
    let target = Target::start().await?;
    let (mut process, api) = up(&store, 20_000).await?;
    let id = api.submit(&call(&target.url("hold"))).await?;
    target.called(1).await?;
    process.signal(Signal::Term)?;
    until("the listener is closed", async || api.job(&id).await.is_err()).await?;
    target.open();
    assert_eq!(process.ended().await?.code(), Some(0), "{}", process.log());
    let (_process, api) = up(&store, 1_000).await?;
    api.in_state(&id, "SUCCEEDED").await?;
    assert_eq!(api.outcomes(&id).await?, ["SUCCEEDED"]);
    Ok(())
}

async fn the_rest_is_handed_back(store: Store) -> Result<()> {
    let target = Target::start().await?;
    let (mut process, api) = up(&store, 300).await?;
    let id = api.submit(&call(&target.url("hold"))).await?;
    target.called(1).await?;
    process.signal(Signal::Term)?;
    assert_eq!(process.ended().await?.code(), Some(0), "{}", process.log());
    // The next process takes it at once, without waiting for a lease to expire,
    // and the attempt that was taken away is not spent.
    let (_process, api) = up(&store, 300).await?;
    target.called(2).await?;
    target.open();
    let job = api.in_state(&id, "SUCCEEDED").await?;
    assert_eq!(api.outcomes(&id).await?, ["INTERRUPTED", "SUCCEEDED"], "{job}");
    Ok(())
}

/// Whoever asks twice does not want to wait.
#[tokio::test]
async fn a_second_signal_does_not_wait() -> Result<()> {
    let target = Target::start().await?;
    let store = Store::sqlite()?;
    let (mut process, api) = up(&store, 3_600_000).await?;
    api.submit(&call(&target.url("hold"))).await?;
    target.called(1).await?;
    process.signal(Signal::Term)?;
    until("the first signal was heard", async || process.log().contains("stopping")).await?;
    process.signal(Signal::Term)?;
    assert_eq!(process.ended().await?.code(), Some(130), "{}", process.log());
    Ok(())
}
