//! Sweeping: a healthy store has nothing to mend, whatever went through it.

use anyhow::Result;
use taskflow_application::ports::{Check, Stores};
use taskflow_domain::queue::QueueSettings;
use taskflow_domain::tenant::TenantSettings;
use taskflow_domain::{Actor, Verdict, change};

use crate::builders::{Draft, Scene, at, failure, report, success};

/// A fresh store is healthy.
pub async fn a_fresh_store_is_healthy(stores: &Stores) -> Result<()> {
    Scene::new(stores).await?.healthy(at(0)).await
}

/// A store under every limit and every kind of change stays healthy, and
/// sweeping disturbs nothing.
pub async fn a_busy_store_is_healthy(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let settings = TenantSettings { max_running: Some(7), ..TenantSettings::default() };
    let small = scene.tenant_with("small", &settings).await?;
    let limits =
        QueueSettings { max_running: Some(9), max_running_per_tenant: Some(5), ..QueueSettings::default() };
    scene.queue_with("q-0", &limits).await?;
    let mut drafts = Vec::new();
    for n in 0..120 {
        let owner = if n % 2 == 0 { small.id } else { scene.tenant.id };
        let draft = Draft::new(owner, n)?.queue(&format!("q-{}", n % 3))?;
        drafts.push(if n % 10 == 9 { draft.scheduled(at(i64::from(n))) } else { draft });
    }
    scene.put(drafts).await?;
    let mut ended = 0;
    for round in 0..60i64 {
        let now = at(round * 50);
        stores.jobs.promote(now, 5).await?;
        let claimed = scene.claim(10, now).await?;
        scene.healthy(now).await?;
        let mut changes = Vec::new();
        for (index, job) in claimed.iter().enumerate() {
            let verdict = match (round + index as i64) % 5 {
                0 => failure(),
                1 => Verdict::Interrupted,
                2 => Verdict::Lost,
                _ => success(),
            };
            changes.push(report(&job.lease, verdict, now));
        }
        ended += stores.jobs.commit(&changes).await?.len();
        if round % 10 == 4 {
            cancel_some(&scene, now).await?;
        }
        scene.healthy(now).await?;
    }
    assert!(ended > 100, "only {ended} attempts");
    Ok(())
}

/// What is no fault of the store is told too: a limit that was lowered below what
/// runs, leases that nobody takes back, scheduled jobs that nobody makes claimable.
pub async fn a_proof_tells_what_stays_undone(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let owner = scene.tenant.id;
    let mut drafts = Vec::new();
    for n in 0..4 {
        drafts.push(Draft::new(owner, n)?.queue("q")?);
    }
    drafts.push(Draft::new(owner, 4)?.queue("q")?.scheduled(at(1_000)));
    scene.put(drafts).await?;
    scene.beat(&scene.worker, at(0), at(2_000)).await?;
    assert_eq!(scene.claim(10, at(0)).await?.len(), 4);
    let proof = stores.jobs.proof(at(0)).await?;
    assert_eq!(proof.broken().collect::<Vec<_>>(), []);

    let limits =
        QueueSettings { max_running: Some(3), max_running_per_tenant: Some(2), ..QueueSettings::default() };
    scene.queue_with("q", &limits).await?;
    let settings = TenantSettings { max_running: Some(4), ..TenantSettings::default() };
    stores.tenants.put(&scene.tenant.slug, &settings, at(0), None).await?;
    let proof = stores.jobs.proof(at(0)).await?;
    assert_eq!(proof.broken().collect::<Vec<_>>(), [(Check::ExceededLimits, 2)]);
    assert!(proof.holds(), "operators may lower limits at any time");

    let almost = stores.jobs.proof(at(1_000 + Check::PATIENCE_MS - 1)).await?;
    assert_eq!(almost.times(Check::OverdueJobs), 0);
    let late = stores.jobs.proof(at(1_000 + Check::PATIENCE_MS)).await?;
    assert_eq!((late.times(Check::OverdueJobs), late.times(Check::LostLeases)), (1, 0));
    let later = stores.jobs.proof(at(2_001 + Check::PATIENCE_MS)).await?;
    assert_eq!((later.times(Check::OverdueJobs), later.times(Check::LostLeases)), (1, 4));
    assert!(later.holds(), "{later:?}");
    Ok(())
}

async fn cancel_some(scene: &Scene<'_>, now: taskflow_domain::Timestamp) -> Result<()> {
    let filter = taskflow_application::ports::JobFilter::default();
    let page = taskflow_application::ports::Page { before: None, limit: 20 };
    for job in scene.stores.reader.list(scene.tenant.id, &filter, page, now).await? {
        if let Ok(Some(change)) = change::cancel(&job, Actor::api(), None, now) {
            scene.done(&change).await?;
        }
    }
    Ok(())
}
