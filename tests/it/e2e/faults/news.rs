//! F25: the sessions by which processes hear of each other are ended all the time.

use std::time::Duration;

use anyhow::{Context as _, Result};
use taskflow_tests::faults::{now_us, pause};

use super::trial::{Trial, connect, noop};
use crate::e2e::api::{Api, Store};

/// Processes that never hear of each other find the work all the same.
#[tokio::test]
async fn lost_news_lose_no_job() -> Result<()> {
    let store = Store::postgres().await?;
    let own = connect(&store.url()).await?;
    let trial = Trial::new("lost wake-ups", store, 3_000);
    let began = now_us();
    let (api, _worker) = tokio::try_join!(trial.launch("api").start(), trial.launch("worker").start())?;
    let client = Api::new(&api.url)?;
    let deaf = tokio::spawn(async move {
        let mut ended = 0_usize;
        loop {
            let sql = "select pg_terminate_backend(pid) from pg_stat_activity
                where datname = current_database() and query ilike '%listen%' and pid <> pg_backend_pid()";
            match own.query(sql, &[]).await {
                Ok(rows) => ended += rows.len(),
                Err(_) => return ended,
            }
            if ended > 30 {
                return ended;
            }
            pause(Duration::from_millis(20)).await;
        }
    });
    for _ in 0..30 {
        let id = trial.submit(&client, &noop()).await.1.context("not accepted")?;
        client.in_state(&id, "SUCCEEDED").await?;
    }
    deaf.abort();
    trial.no_engine_since(began);
    trial.judge(None).await?;
    Ok(())
}
