//! F9: the connection breaks at every step of a submit. Whoever asks again with
//! the same key gets one job, and what was acknowledged exists.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use taskflow_adapters::store::postgres::{PostgresOptions, PostgresStore};
use taskflow_application::Caller;
use taskflow_application::jobs::{JobWish, Jobs};
use taskflow_application::memory::ManualClock;
use taskflow_application::ports::{JobFilter, Stores};
use taskflow_domain::{Json, TenantSlug};
use taskflow_tests::builders::{START, kind, world};
use taskflow_tests::postgres::fresh_database;
use taskflow_tests::process::variable;
use taskflow_tests::wire::{Trouble, Wire};

/// Bytes between two cuts in the ordinary test command; `TASKFLOW_CUT_STEP=1`
/// cuts at every byte.
const STEP: u64 = 13;

fn jobs(stores: Stores, seed: u64) -> Jobs {
    Jobs::new(world(stores, &Arc::new(ManualClock::new(START)), seed))
}

fn wish(number: u64) -> Result<JobWish> {
    Ok(JobWish {
        payload: Json::from_valid(&number.to_string()),
        idempotency_key: Some(format!("key-{number}")),
        ..JobWish::new(kind("work")?)
    })
}

#[tokio::test]
async fn a_submit_may_be_cut_at_every_step() -> Result<()> {
    let step = variable("TASKFLOW_CUT_STEP").map_or(Ok(STEP), |text| text.parse())?;
    let database = fresh_database().await?;
    let direct = PostgresStore::connect(&database.url, PostgresOptions::default()).await?;
    direct.migrate().await?;
    let (wire, url) = Wire::to_database(&database.url).await?;
    let options = PostgresOptions { max_connections: 2, ..PostgresOptions::default() };
    let store = PostgresStore::connect(&url, options).await?;
    let (through, beside) = (jobs(store.stores(), 1), jobs(direct.stores(), 2));
    let caller = Caller::trusted(TenantSlug::fallback());
    let (mut cuts, mut acknowledged) = (0_u64, 0_u64);
    for forth in [true, false] {
        let mut at = 0;
        loop {
            // What a statement costs the first time on a connection is not part of it,
            // and the pool finds out that the connections before were broken.
            wire.set(Trouble::None);
            for _ in 0..5 {
                if through.submit(&caller, wish(u64::MAX)?).await.is_ok() {
                    break;
                }
            }
            wire.set(if forth { Trouble::CutThere(at) } else { Trouble::CutBack(at) });
            let broken = wire.breaks();
            let number = cuts;
            let told = through.submit(&caller, wish(number)?).await;
            let broke = wire.breaks() > broken;
            wire.set(Trouble::None);
            // The engine may have asked again by itself, on a new connection.
            let again = beside.submit(&caller, wish(number)?).await.context("asked again")?;
            if let Ok(told) = told {
                ensure!(!again.created && again.job.spec.id == told.job.spec.id, "cut {at}: another job");
                acknowledged += 1;
            }
            cuts += 1;
            if !broke {
                break;
            }
            at += step;
        }
        ensure!(at > 4 * step, "only {at} bytes went by");
    }
    let tenant = direct.stores().tenants.get(&TenantSlug::fallback()).await?.context("a tenant")?;
    let count = direct.stores().reader.count(tenant.id, &JobFilter::default(), START).await?;
    ensure!(count == cuts + 1, "{count} jobs of {cuts} submits");
    println!(
        "report: fault connection cut within a submit | {acknowledged} acknowledged | 0 lost | {cuts} cuts"
    );
    Ok(())
}
