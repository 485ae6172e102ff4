//! `kill -9` at any time: what was acknowledged exists and runs.

use std::sync::Arc;

use anyhow::{Result, ensure};
use serde_json::json;
use taskflow_tests::process::Process;
use tokio::sync::watch;

use super::api::{Api, Store, bounded, call, id_of};
use super::on_both_databases;
use super::target::Target;

on_both_databases! {
    nothing_acknowledged_is_lost
    jobs_of_a_killed_process_run_again
}

/// How often the process is killed.
const KILLS: usize = 10;

/// Who posts at the same time.
const CALLERS: usize = 8;

/// With short leases, as what ran at the kill runs again only when its lease has expired.
async fn up(store: &Store) -> Result<(Process, Api)> {
    let process = store.launch("up").env("TASKFLOW_LEASE_MS", "1000").start().await?;
    let api = Api::new(&process.url)?;
    Ok((process, api))
}

async fn nothing_acknowledged_is_lost(store: Store) -> Result<()> {
    let mut acknowledged = Vec::new();
    for round in 0..KILLS {
        let (mut process, api) = up(&store).await?;
        let (count, counted) = watch::channel(0_usize);
        let count = Arc::new(count);
        let callers: Vec<_> =
            (0..CALLERS).map(|_| tokio::spawn(post(api.clone(), Arc::clone(&count)))).collect();
        // The moment differs from round to round: early, late, in the middle.
        let moment = 5 + round * 17;
        let mut counted = counted;
        bounded("accepting", counted.wait_for(|count| *count >= moment)).await??;
        process.kill()?;
        for caller in callers {
            acknowledged.extend(bounded("a caller", caller).await??);
        }
    }
    ensure!(acknowledged.len() >= KILLS * 5, "too few were accepted to show anything");
    let (_process, api) = up(&store).await?;
    for id in &acknowledged {
        api.in_state(id, "SUCCEEDED").await?;
    }
    println!("{} acknowledged over {KILLS} kills, none lost", acknowledged.len());
    Ok(())
}

/// Posts until the process is gone; what it acknowledged.
async fn post(api: Api, count: Arc<watch::Sender<usize>>) -> Vec<String> {
    let job = json!({"kind": "noop", "target": {"type": "builtin", "name": "noop"}});
    let mut ids = Vec::new();
    while let Ok((status, body)) = api.post("/v1/jobs", &job).await {
        if status == 201
            && let Ok(id) = id_of(&body)
        {
            ids.push(id);
            count.send_modify(|count| *count += 1);
        }
    }
    ids
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
