//! `kill -9`: what ran then runs again.

use anyhow::Result;
use taskflow_tests::process::Process;

use super::api::{Api, Store, bounded, call};
use super::on_both_databases;
use super::target::Target;

on_both_databases! {
    jobs_of_a_killed_process_run_again
}

/// With short leases, as what ran at the kill runs again only when its lease has expired.
async fn up(store: &Store) -> Result<(Process, Api)> {
    let process = store.launch("up").env("TASKFLOW_LEASE_MS", "1000").start().await?;
    let api = Api::new(&process.url)?;
    Ok((process, api))
}

async fn jobs_of_a_killed_process_run_again(store: Store) -> Result<()> {
    let target = Target::start().await?;
    let (mut process, api) = up(&store).await?;
    let id = api.submit(&call(&target.url("hold"))).await?;
    target.called(1).await?;
    process.kill()?;
    let (_process, api) = up(&store).await?;
    bounded("the second attempt", target.called(2)).await??;
    target.open();
    api.in_state(&id, "SUCCEEDED").await?;
    assert_eq!(api.outcomes(&id).await?, ["LEASE_EXPIRED", "SUCCEEDED"]);
    let tokens: Vec<_> = target.calls().into_iter().map(|call| call.token).collect();
    assert!(tokens[0] < tokens[1], "a later attempt has a greater token: {tokens:?}");
    Ok(())
}
