//! F1: the engine is killed at named points: amid a transaction that is about to
//! be committed, and after the commit of which it was not told any more.
//!
//! A trigger stands for the point: it waits for a lock that the test holds, as a
//! part of the statement or, put off, as a part of the commit.

use anyhow::{Context as _, Result};
use taskflow_domain::Timestamp;
use taskflow_tests::faults::now_us;
use taskflow_tests::faults::witness::Witness;
use taskflow_tests::process::{Signal, eventually};
use tokio::sync::watch;
use tokio_postgres::Client;

use super::trial::{Trial, connect};
use crate::e2e::api::{Store, bounded};

/// What the engine does, and the rows by which it is known.
const DEEDS: [(&str, &str, &str); 5] = [
    ("a submit", "job", "insert"),
    ("a claim", "running", "insert"),
    ("a heartbeat", "worker", "update"),
    ("the waking of a scheduled job", "parked", "delete"),
    ("the end of an attempt", "running", "delete"),
];
/// The lock that stands for all points.
const LOCK: i64 = 4_711;

/// Before the commit: the statement waits. After it: the commit waits.
#[derive(Clone, Copy, Debug)]
enum Side {
    Before,
    After,
}

#[tokio::test]
async fn kills_at_named_points_lose_nothing() -> Result<()> {
    let store = Store::postgres().await?;
    let own = connect(&store.url()).await?;
    let trial = Trial::new("kill -9 at named points", store, 1_000);
    let witness = Witness::start().await?;
    let mut down = now_us();
    // The process that makes the tables is the first that is killed: amid a call.
    {
        let (mut process, api) = trial.up().await?;
        trial.no_engine_since(down);
        trial.submit(&api, &witness.job("hold")).await;
        bounded("the call", witness.called(1)).await??;
        down = now_us();
        process.kill()?;
        witness.open();
    }
    own.batch_execute(&format!(
        "create function point() returns trigger language plpgsql as $$ begin
             perform pg_advisory_xact_lock_shared({LOCK}); return null; end $$"
    ))
    .await?;
    let mut points = 1;
    for (deed, table, event) in DEEDS {
        for side in [Side::Before, Side::After] {
            down = killed_at(&trial, &own, &witness, (table, event, side), down)
                .await
                .with_context(|| format!("{side:?} the commit of {deed}"))?;
            points += 1;
        }
    }
    let (_process, api) = trial.up().await?;
    trial.no_engine_since(down);
    trial.ask_again(&api).await?;
    trial.judge(Some(&witness)).await?;
    println!("report: points at which the engine was killed | {points}");
    Ok(())
}

/// Lets an engine work until it comes to the point, and kills it there; since when it is down.
async fn killed_at(
    trial: &std::sync::Arc<Trial>,
    own: &Client,
    witness: &Witness,
    (table, event, side): (&str, &str, Side),
    down: i64,
) -> Result<i64> {
    let (kind, put_off) = match side {
        Side::Before => ("", ""),
        Side::After => ("constraint", "deferrable initially deferred"),
    };
    let trigger = format!(
        "create {kind} trigger point after {event} on {table} {put_off} for each row execute function point()"
    );
    own.batch_execute(&trigger).await?;
    let (mut process, api) = trial.up().await?;
    trial.no_engine_since(down);
    let (enough, told) = watch::channel(false);
    let mut job = witness.job("ok");
    let mut acknowledged = trial.acknowledged();
    let some = *acknowledged.borrow() + 5;
    let callers = trial.callers(2, &api, &job, &told);
    // Some jobs are due while the test waits.
    let due = Timestamp::from_micros(now_us()).plus_millis(3_000);
    job["run_at"] = due.to_string().into();
    let later = trial.callers(1, &api, &job, &told);
    bounded("accepting", acknowledged.wait_for(|count| *count >= some)).await??;
    own.execute("select pg_advisory_lock($1)", &[&LOCK]).await?;
    waiting(own, true).await?;
    // One that stands still sends no more, and never hears of the commit.
    if let Side::After = side {
        process.signal(Signal::Stop)?;
    } else {
        process.kill()?;
    }
    let down = now_us();
    own.execute("select pg_advisory_unlock($1)", &[&LOCK]).await?;
    waiting(own, false).await?;
    if let Side::After = side {
        process.kill()?;
    }
    enough.send_replace(true);
    for caller in callers.into_iter().chain(later) {
        bounded("a caller", caller).await??;
    }
    own.batch_execute(&format!("drop trigger point on {table}")).await?;
    Ok(down)
}

/// Waits until somebody waits at the point, or until nobody is at it any more.
async fn waiting(own: &Client, wanted: bool) -> Result<()> {
    let sql = "select exists (select from pg_locks where locktype = 'advisory' and objid = $1::int8::oid
        and pid <> pg_backend_pid() and (not granted or not $2)
        and database = (select oid from pg_database where datname = current_database()))";
    eventually("somebody is at the point, or nobody", async || {
        let there: bool = own.query_one(sql, &[&LOCK, &wanted]).await?.get(0);
        Ok((there == wanted).then_some(()))
    })
    .await
}
