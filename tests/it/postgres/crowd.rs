//! A tenant at its limit with a great many due jobs costs the others nothing, and
//! each of its jobs can be explained at once.

use std::time::Duration;

use anyhow::{Context as _, Result};
use taskflow_application::ports::Stores;
use taskflow_domain::explain::{Gate, explain, explain_queue};
use taskflow_domain::tenant::{Tenant, TenantSettings};
use taskflow_domain::{JobId, TenantId};
use taskflow_tests::builders::{Draft, Scene, at, queue, success};
use taskflow_tests::postgres::execute;
use uuid::Uuid;

use super::plans::Filled;

/// Due jobs of the tenant at its limit.
const CROWD: u32 = 100_000;

/// Tables that have a row for each name or minute, and none for each job. They may be read whole.
pub(super) const SMALL: &[&str] = &[
    "queue",
    "tenant",
    "kind",
    "worker",
    "lane",
    "depth",
    "depth_delta",
    "stat",
    "stat_spread",
    "limit_slot",
    "runner",
];

/// A look that reads no more rows than these.
async fn look<T>(filled: &Filled, name: &str, most: i64, look: impl Future<Output = Result<T>>) -> Result<T> {
    let (seen, rows) = filled.measured(name, SMALL, look).await?;
    assert!(rows <= most, "{name}: {rows} rows were read");
    Ok(seen)
}

/// Copies of the one due job of a tenant, each a microsecond later.
fn copies(tenant: TenantId) -> String {
    let id = |n: &str| format!("('{}' || lpad(to_hex({n}), 12, '0'))::uuid", prefix(tenant));
    format!(
        "insert into job (tenant_id, id, queue_id, kind_id, lane_id, priority, payload, target, timeout_ms,
            created_by, created_at, run_at)
        select j.tenant_id, {id}, j.queue_id, j.kind_id, j.lane_id, j.priority, j.payload, j.target,
            j.timeout_ms, j.created_by, j.created_at, j.run_at
        from generate_series(1, {CROWD}) i, (select * from job where tenant_id = {tenant} limit 1) j;
        insert into ready (tenant_id, job_id, lane_id, ord, kind_id, priority, due_at, since, attempt, spent,
            lost, interrupted, snoozed, seq)
        select r.tenant_id, {id}, r.lane_id, r.ord + i, r.kind_id, r.priority, r.due_at + i, r.since, 0, 0,
            0, 0, 0, 1
        from generate_series(1, {CROWD}) i, (select * from ready where tenant_id = {tenant} limit 1) r;
        insert into depth_delta (queue_id, state, n)
        select queue_id, 2, {CROWD} from job where tenant_id = {tenant} limit 1;",
        id = id("i"),
        tenant = tenant.0,
    )
}

fn prefix(tenant: TenantId) -> String {
    format!("01970000-0000-7000-8{:03}-", tenant.0)
}

fn copy(tenant: TenantId, n: u32) -> Result<JobId> {
    Ok(JobId(Uuid::parse_str(&format!("{}{n:012x}", prefix(tenant)))?))
}

/// Runs jobs of a quiet tenant one after the other; how many rows that read.
async fn quiet_work(filled: &Filled, scene: &Scene<'_>, quiet: &Tenant, first: u32) -> Result<i64> {
    for n in first..first + 20 {
        scene.put([Draft::new(quiet.id, n)?.queue("q")?]).await?;
    }
    let work = async {
        for n in 0..20 {
            let job = scene.claim_one(at(100 + n)).await?;
            assert_eq!(job.spec.tenant, quiet.id, "only the quiet tenant may start anything");
            scene.settle(&job, success(), at(101 + n)).await?;
        }
        Ok(())
    };
    let ((), rows) = filled.measured("the work of others", SMALL, work).await?;
    Ok(rows)
}

async fn full_tenant(scene: &Scene<'_>) -> Result<Tenant> {
    let settings = TenantSettings { max_running: Some(1), ..TenantSettings::default() };
    let crowd = scene.tenant_with("crowd", &settings).await?;
    scene.put([Draft::new(crowd.id, 1)?.queue("q")?, Draft::new(crowd.id, 2)?.queue("q")?]).await?;
    let running = scene.claim_one(at(0)).await?;
    assert_eq!(running.spec.tenant, crowd.id);
    Ok(crowd)
}

#[tokio::test]
async fn a_crowd_at_its_limit_costs_the_others_nothing() -> Result<()> {
    let filled = &Filled::empty().await?;
    let stores = filled.store.stores();
    let scene = Scene::new(&stores).await?;
    let (crowd, quiet) = (full_tenant(&scene).await?, scene.tenant("quiet").await?);
    quiet_work(filled, &scene, &quiet, 1_000).await?;
    let before = quiet_work(filled, &scene, &quiet, 2_000).await?;
    execute(&filled.database.url, &copies(crowd.id)).await?;
    let after = quiet_work(filled, &scene, &quiet, 3_000).await?;
    assert!(after <= before + 40, "{before} rows were read without the crowd, and {after} with it");
    println!("20 jobs of another tenant read {before} rows without, {after} rows with {CROWD} due jobs");

    for n in (1..=CROWD).step_by(997).chain([CROWD]) {
        explained(filled, &stores, &crowd, copy(crowd.id, n)?).await?;
    }
    let line = async { Ok(stores.explain.line(&queue("q")?, at(900)).await?) };
    let line = look(filled, "the queue's line", 3_000, line).await?.context("the queue")?;
    let gates = explain_queue(&line, at(900));
    let held = gates.iter().find(|gate| gate.gate == Gate::TenantLimit).context("the limit")?;
    assert!(held.jobs == u64::from(CROWD) + 1 && !held.at_least, "{held:?}");
    Ok(())
}

/// One of the waiting jobs says why, in numbers and at once.
async fn explained(filled: &Filled, stores: &Stores, crowd: &Tenant, job: JobId) -> Result<()> {
    let facts = async { Ok(stores.explain.facts(crowd.id, job, at(900)).await?) };
    let facts = tokio::time::timeout(Duration::from_secs(30), look(filled, "why", 2_500, facts)).await??;
    let explanation = explain(&facts.context("the job")?, at(900));
    assert!(!explanation.runnable);
    let limit = explanation.closed().find(|gate| gate.gate == Gate::TenantLimit).context("the limit")?;
    assert_eq!((limit.limit, limit.in_use, limit.held_by.len()), (Some(1), Some(1), 1));
    Ok(())
}
