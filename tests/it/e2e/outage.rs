//! The database goes away and comes back, under load.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use taskflow_tests::postgres::{Cluster, StopMode, create_database};
use taskflow_tests::process::Launch;
use tokio::sync::watch;
use tokio::time::Instant;

use super::api::{Api, bounded, id_of};

/// Within this time after the database is back, the engine works again.
const RESUMES: Duration = Duration::from_secs(10);

#[tokio::test]
async fn the_database_goes_and_comes_back() -> Result<()> {
    let server = Cluster::durable()?;
    let database = create_database(&server.url()).await?;
    let process = Launch::new(["up"])
        .env("DATABASE_URL", &database.url)
        .env("TASKFLOW_LEASE_MS", "3000")
        .start()
        .await?;
    let api = Api::new(&process.url)?;
    let (tally, mut tallied) = watch::channel(Tally::default());
    let tally = Arc::new(tally);
    let callers: Vec<_> = (0..4).map(|_| tokio::spawn(post(api.clone(), Arc::clone(&tally)))).collect();

    bounded("accepting", tallied.wait_for(|tally| tally.accepted.len() >= 100)).await??;
    server.stop(StopMode::Immediate)?;
    let before = tallied.borrow_and_update().clone();
    bounded("refusing", tallied.wait_for(|tally| tally.refused >= before.refused + 10)).await??;
    assert_ready(&process.url, false).await?;
    server.start()?;
    let back = Instant::now();
    let accepted = tallied.borrow_and_update().accepted.len();
    bounded("accepting again", tallied.wait_for(|tally| tally.accepted.len() > accepted)).await??;
    let id = api.submit(&noop()).await?;
    api.in_state(&id, "SUCCEEDED").await?;
    let resumed = back.elapsed();
    println!("works again after {resumed:?}");
    ensure!(resumed < RESUMES, "it took {resumed:?} until jobs ran again");

    tally.send_modify(|tally| tally.over = true);
    for caller in callers {
        bounded("a caller", caller).await???;
    }
    let accepted = tally.borrow().accepted.clone();
    for id in &accepted {
        api.in_state(id, "SUCCEEDED").await?;
    }
    println!("{} accepted, {} refused, none lost", accepted.len(), tally.borrow().refused);
    assert_ready(&process.url, true).await
}

#[derive(Clone, Debug, Default)]
struct Tally {
    accepted: Vec<String>,
    refused: usize,
    over: bool,
}

fn noop() -> serde_json::Value {
    json!({"kind": "noop", "target": {"type": "builtin", "name": "noop"}})
}

/// Posts until told to end. Whatever the database does, there is an answer, and
/// it is either the job or 503.
async fn post(api: Api, tally: Arc<watch::Sender<Tally>>) -> Result<()> {
    while !tally.borrow().over {
        let (status, body) = api.post("/v1/jobs", &noop()).await?;
        match status.as_u16() {
            201 => {
                let id = id_of(&body)?;
                tally.send_modify(|tally| tally.accepted.push(id));
            }
            503 => tally.send_modify(|tally| tally.refused += 1),
            _ => anyhow::bail!("{status}: {body}"),
        }
    }
    Ok(())
}

async fn assert_ready(url: &str, expected: bool) -> Result<()> {
    let client = taskflow_tests::process::client()?;
    let ready = client.get(format!("{url}/health/ready")).send().await?.status();
    let live = client.get(format!("{url}/health/live")).send().await?.status();
    assert_eq!((ready.is_success(), live.as_u16()), (expected, 200));
    Ok(())
}
