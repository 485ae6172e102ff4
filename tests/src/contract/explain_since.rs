//! Since when a gate is closed: what was set tells, and not what is set beside it.

use anyhow::{Context as _, Result};
use taskflow_application::ports::{QueuePut, Stores};
use taskflow_domain::explain::{Gate, explain};
use taskflow_domain::queue::QueueSettings;
use taskflow_domain::tenant::TenantSettings;
use taskflow_domain::{JobId, Timestamp};

use crate::builders::{Scene, at, queue, success};

/// Since when a job of the scene's tenant stands before this gate.
async fn since(scene: &Scene<'_>, job: JobId, gate: Gate, now: Timestamp) -> Result<Option<Timestamp>> {
    let facts = scene.stores.explain.facts(scene.tenant.id, job, now).await?.context("the job is known")?;
    let explanation = explain(&facts, now);
    let report = explanation.closed().find(|report| report.gate == gate).context("the gate is closed")?;
    Ok(report.since)
}

/// Puts the settings of the scene's tenant.
async fn put(scene: &Scene<'_>, settings: TenantSettings, now: Timestamp) -> Result<()> {
    scene.stores.tenants.put(&scene.tenant.slug, &settings, now, None).await?;
    Ok(())
}

async fn put_queue(scene: &Scene<'_>, settings: QueueSettings, now: Timestamp) -> Result<()> {
    scene.stores.queues.put(QueuePut::new(queue("q")?, settings, now)).await?;
    Ok(())
}

/// Where more run than may since a limit was lowered, that closed the gate: not a later
/// change of something else, and not the end of one of those that run.
pub async fn a_lowered_limit_closed_the_gate(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let jobs = [scene.job(1)?.queue("q")?, scene.job(2)?.queue("q")?, scene.job(3)?.queue("q")?];
    let last = scene.put(jobs).await?[2];
    let running = scene.claim(2, at(1)).await?;
    let of_tenant = |max| TenantSettings { max_running: Some(max), ..TenantSettings::default() };
    let of_queue = |max| QueueSettings { max_running: Some(max), ..QueueSettings::default() };
    let in_queue = |max| QueueSettings { max_running_per_tenant: Some(max), ..QueueSettings::default() };

    put(&scene, of_tenant(5), at(50)).await?;
    put(&scene, of_tenant(1), at(100)).await?;
    assert_eq!(since(&scene, last, Gate::TenantLimit, at(200)).await?, Some(at(100)));
    put(&scene, TenantSettings { weight: 3, ..of_tenant(1) }, at(150)).await?;
    assert_eq!(since(&scene, last, Gate::TenantLimit, at(200)).await?, Some(at(100)));
    put(&scene, TenantSettings::default(), at(160)).await?;

    put_queue(&scene, of_queue(1), at(200)).await?;
    assert_eq!(since(&scene, last, Gate::QueueLimit, at(300)).await?, Some(at(200)));
    put_queue(&scene, QueueSettings { max_running_per_tenant: Some(9), ..of_queue(1) }, at(250)).await?;
    assert_eq!(since(&scene, last, Gate::QueueLimit, at(300)).await?, Some(at(200)));

    put_queue(&scene, in_queue(1), at(400)).await?;
    assert_eq!(since(&scene, last, Gate::TenantLimit, at(500)).await?, Some(at(400)));
    put_queue(&scene, QueueSettings { max_running: Some(9), ..in_queue(1) }, at(450)).await?;
    scene.settle(&running[0], success(), at(460)).await?;
    assert_eq!(since(&scene, last, Gate::TenantLimit, at(500)).await?, Some(at(400)), "it never opened");

    // Since then one has begun, and that filled it.
    scene.settle(&running[1], success(), at(510)).await?;
    scene.claim_one(at(520)).await?;
    let next = scene.put_one(scene.job(4)?.queue("q")?).await?;
    assert_eq!(since(&scene, next, Gate::TenantLimit, at(600)).await?, Some(at(520)));
    Ok(())
}

/// A tenant is held since it was held, whatever else of it is set later.
pub async fn a_tenant_is_held_since_it_was(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let job = scene.put_one(scene.job(1)?).await?;
    let held = || TenantSettings { paused: true, ..TenantSettings::default() };
    for (settings, now, expected) in [
        (held(), 10, Some(10)),
        (TenantSettings { weight: 2, ..held() }, 20, Some(10)),
        (TenantSettings { suspended: true, ..held() }, 30, Some(10)),
        (TenantSettings::default(), 40, None),
        (held(), 50, Some(50)),
    ] {
        put(&scene, settings, at(now)).await?;
        if let Some(expected) = expected {
            assert_eq!(since(&scene, job, Gate::TenantLimit, at(100)).await?, Some(at(expected)), "at {now}");
        }
    }
    Ok(())
}
