//! F6, F25: sessions of the database are ended or killed under load, and the
//! ones by which processes hear of each other are ended all the time.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use taskflow_tests::postgres::{Cluster, create_database};
use tokio::sync::watch;

use super::pass;
use super::trial::{Trial, noop};
use crate::e2e::api::{Api, Store, bounded};

/// How often sessions are ended.
const ROUNDS: usize = 20;
/// How often one is killed, which makes the server end them all and recover.
const KILLS: usize = 3;

/// A session of a test beside the engine's.
async fn connect(url: &str) -> Result<tokio_postgres::Client> {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

#[tokio::test]
async fn sessions_are_ended_under_load() -> Result<()> {
    let store = Store::postgres().await?;
    let own = connect(&store.url()).await?;
    let trial = Trial::new("ended sessions", store, 3_000);
    let began = trial.now();
    let (_process, api) = trial.up().await?;
    let (enough, told) = watch::channel(false);
    let callers = trial.callers(4, &api, &noop(), &told);
    let mut ended = 0;
    for _ in 0..ROUNDS {
        pass(Duration::from_millis(200)).await;
        let sql = "select pg_terminate_backend(pid) from pg_stat_activity
            where datname = current_database() and pid <> pg_backend_pid()
            and backend_type = 'client backend' and random() < 0.5";
        ended += own.query(sql, &[]).await?.len();
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
    println!("{ended} sessions were ended; {again} submits had no answer");
    ensure!(ended > ROUNDS, "only {ended} sessions were ended");
    Ok(())
}

#[tokio::test]
async fn killed_backends_lose_nothing() -> Result<()> {
    let server = Cluster::durable()?;
    let database = create_database(&server.url()).await?;
    let url = database.url.clone();
    let trial = Trial::new("kill -9 of a backend", Store::Postgres(database), 3_000);
    let began = trial.now();
    let (_process, api) = trial.up().await?;
    let (enough, told) = watch::channel(false);
    let callers = trial.callers(4, &api, &noop(), &told);
    let mut acknowledged = trial.acknowledged();
    for _ in 0..KILLS {
        let before = *acknowledged.borrow_and_update();
        bounded("accepting", acknowledged.wait_for(|count| *count >= before + 40)).await??;
        let own = connect(&url).await?;
        let sql = "select pid from pg_stat_activity where datname = current_database()
            and pid <> pg_backend_pid() and backend_type = 'client backend' order by state limit 1";
        let pid: i32 = own.query_one(sql, &[]).await?.try_get(0)?;
        let status = Command::new("kill").args(["-s", "KILL", &pid.to_string()]).status()?;
        ensure!(status.success(), "the backend {pid} could not be killed");
    }
    let before = *acknowledged.borrow_and_update();
    bounded("accepting again", acknowledged.wait_for(|count| *count >= before + 20)).await??;
    enough.send_replace(true);
    for caller in callers {
        bounded("a caller", caller).await??;
    }
    trial.no_engine_since(began);
    let again = trial.ask_again(&api).await?;
    trial.judge(None).await?;
    println!("{KILLS} backends were killed; {again} submits had no answer");
    Ok(())
}

/// Processes that never hear of each other find the work all the same.
#[tokio::test]
async fn lost_news_lose_no_job() -> Result<()> {
    let store = Store::postgres().await?;
    let own = connect(&store.url()).await?;
    let trial = Trial::new("lost wake-ups", store, 3_000);
    let began = trial.now();
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
            pass(Duration::from_millis(20)).await;
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
