//! Limits and pauses: what must not start, and what may start again.

use anyhow::Result;
use taskflow_application::ports::{ClaimRequest, Route, Stores};
use taskflow_domain::queue::{Pause, QueueSettings, Rate};
use taskflow_domain::tenant::{Tenant, TenantSettings};
use taskflow_domain::{ClaimedJob, Timestamp, Verdict};

use crate::builders::{Draft, Scene, at, failure, kind, queue, slug, success};

async fn backlog(scene: &Scene<'_>, tenant: &Tenant, queue: &str, first: u32, count: u32) -> Result<()> {
    let drafts: Result<Vec<_>> =
        (first..first + count).map(|n| Draft::new(tenant.id, n)?.queue(queue)).collect();
    scene.put(drafts?).await?;
    Ok(())
}

/// Claims until nothing more comes.
async fn drain(scene: &Scene<'_>, now: Timestamp) -> Result<Vec<ClaimedJob>> {
    let mut all = Vec::new();
    loop {
        let claim = scene.stores.jobs.claim(&scene.request(7, now)).await?;
        if claim.jobs.is_empty() {
            assert!(!claim.more, "nothing can be claimed, so nobody need ask again");
            return Ok(all);
        }
        all.extend(claim.jobs);
    }
}

fn running(max: u32) -> TenantSettings {
    TenantSettings { max_running: Some(max), ..TenantSettings::default() }
}

fn queue_running(max: u32) -> QueueSettings {
    QueueSettings { max_running: Some(max), ..QueueSettings::default() }
}

fn per_tenant(max: u32) -> QueueSettings {
    QueueSettings { max_running_per_tenant: Some(max), ..QueueSettings::default() }
}

/// A tenant's limit holds over all its queues and kinds, and hinders nobody else.
pub async fn a_tenants_limit_holds_over_all_queues(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let small = scene.tenant_with("small", &running(3)).await?;
    let other = scene.tenant("other").await?;
    backlog(&scene, &small, "a", 0, 10).await?;
    backlog(&scene, &small, "b", 100, 10).await?;
    scene.put([Draft::new(small.id, 200)?.pulled(), Draft::new(small.id, 201)?.pulled()]).await?;
    backlog(&scene, &other, "a", 300, 5).await?;
    let jobs = drain(&scene, at(0)).await?;
    let of_small: Vec<_> = jobs.into_iter().filter(|job| job.spec.tenant == small.id).collect();
    assert_eq!(of_small.len(), 3);
    let pull = ClaimRequest { route: Route::Kinds(vec![kind("work")?]), ..scene.request(5, at(0)) };
    assert_eq!(stores.jobs.claim(&pull).await?.jobs.len(), 0, "also for pulled kinds");
    scene.healthy(at(0)).await?;
    scene.settle(&of_small[0], success(), at(1)).await?;
    assert_eq!(drain(&scene, at(1)).await?.len(), 1, "an end makes room for one");
    scene.settle(&of_small[1], failure(), at(2)).await?;
    scene.settle(&of_small[2], Verdict::Interrupted, at(2)).await?;
    assert_eq!(drain(&scene, at(2)).await?.len(), 2, "so does every other end");
    scene.healthy(at(2)).await
}

/// A queue's limit holds over all tenants.
pub async fn a_queues_limit_holds_over_all_tenants(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    scene.queue_with("narrow", &queue_running(4)).await?;
    let other = scene.tenant("other").await?;
    backlog(&scene, &scene.tenant, "narrow", 0, 20).await?;
    backlog(&scene, &other, "narrow", 100, 20).await?;
    backlog(&scene, &other, "wide", 200, 3).await?;
    let jobs = drain(&scene, at(0)).await?;
    let (narrow, wide): (Vec<_>, Vec<_>) =
        jobs.into_iter().partition(|job| job.spec.queue.as_str() == "narrow");
    assert_eq!((narrow.len(), wide.len()), (4, 3));
    scene.settle(&narrow[0], success(), at(1)).await?;
    scene.settle(&narrow[1], Verdict::Lost, at(1)).await?;
    assert_eq!(drain(&scene, at(1)).await?.len(), 2);
    scene.healthy(at(1)).await
}

/// A limit for each tenant of a queue counts each tenant by itself.
pub async fn a_limit_for_each_tenant_counts_each(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    scene.queue_with("q", &per_tenant(2)).await?;
    let other = scene.tenant("other").await?;
    backlog(&scene, &scene.tenant, "q", 0, 20).await?;
    backlog(&scene, &other, "q", 100, 20).await?;
    backlog(&scene, &other, "free", 200, 5).await?;
    scene.put([Draft::new(other.id, 300)?.queue("q")?.pulled()]).await?;
    let jobs = drain(&scene, at(0)).await?;
    let count = |tenant: &Tenant, queue: &str| {
        jobs.iter().filter(|job| job.spec.tenant == tenant.id && job.spec.queue.as_str() == queue).count()
    };
    assert_eq!((count(&scene.tenant, "q"), count(&other, "q"), count(&other, "free")), (2, 2, 5));
    let pull = ClaimRequest { route: Route::Kinds(vec![kind("work")?]), ..scene.request(5, at(0)) };
    assert_eq!(stores.jobs.claim(&pull).await?.jobs.len(), 0, "also for pulled kinds");
    scene.settle(&jobs[0], success(), at(1)).await?;
    assert!(drain(&scene, at(1)).await?.len() <= 1);
    scene.healthy(at(1)).await
}

/// Where several limits hold, all of them hold.
pub async fn limits_hold_together(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let small = scene.tenant_with("small", &running(5)).await?;
    let settings =
        QueueSettings { max_running: Some(6), max_running_per_tenant: Some(4), ..QueueSettings::default() };
    scene.queue_with("q", &settings).await?;
    backlog(&scene, &small, "q", 0, 20).await?;
    backlog(&scene, &small, "r", 100, 20).await?;
    backlog(&scene, &scene.tenant, "q", 200, 20).await?;
    let jobs = drain(&scene, at(0)).await?;
    let in_q = jobs.iter().filter(|job| job.spec.queue.as_str() == "q").count();
    let of_small = jobs.iter().filter(|job| job.spec.tenant == small.id).count();
    // How the small tenant's five are spread over the queues is the fair share's affair.
    assert!((5..=6).contains(&in_q) && of_small == 5, "{in_q} in the queue, {of_small} of the tenant");
    for tenant in [small.id, scene.tenant.id] {
        let both = |job: &&ClaimedJob| job.spec.tenant == tenant && job.spec.queue.as_str() == "q";
        assert!(jobs.iter().filter(both).count() <= 4);
    }
    for job in &jobs {
        scene.settle(job, success(), at(1)).await?;
    }
    assert!(drain(&scene, at(1)).await?.len() >= 9, "all the room is there again");
    scene.healthy(at(1)).await
}

/// A limit that is lowered while jobs run lets none start until there is room.
pub async fn a_lowered_limit_counts_what_runs(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    backlog(&scene, &scene.tenant, "q", 0, 20).await?;
    let jobs = scene.claim(5, at(0)).await?;
    assert_eq!(jobs.len(), 5);
    scene.queue_with("q", &queue_running(3)).await?;
    scene.settle(&jobs[0], success(), at(1)).await?;
    scene.settle(&jobs[1], success(), at(1)).await?;
    assert!(drain(&scene, at(1)).await?.is_empty());
    scene.healthy(at(1)).await?;
    scene.settle(&jobs[2], success(), at(2)).await?;
    assert_eq!(drain(&scene, at(2)).await?.len(), 1);
    scene.healthy(at(2)).await
}

/// A tenant's limit that is set while jobs run counts them, likewise one for
/// each tenant of a queue.
pub async fn a_new_limit_counts_what_runs(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let tenant = scene.tenant("small").await?;
    backlog(&scene, &tenant, "q", 0, 20).await?;
    let jobs = scene.claim(4, at(0)).await?;
    stores.tenants.put(&tenant.slug, &running(4), at(0), None).await?;
    assert!(drain(&scene, at(0)).await?.is_empty());
    scene.settle(&jobs[0], success(), at(1)).await?;
    assert_eq!(drain(&scene, at(1)).await?.len(), 1);
    stores.tenants.put(&tenant.slug, &TenantSettings::default(), at(2), None).await?;
    scene.queue_with("q", &per_tenant(5)).await?;
    assert_eq!(drain(&scene, at(2)).await?.len(), 1);
    scene.queue_with("q", &per_tenant(3)).await?;
    scene.settle(&jobs[1], success(), at(3)).await?;
    scene.settle(&jobs[2], success(), at(3)).await?;
    assert!(drain(&scene, at(3)).await?.is_empty());
    scene.healthy(at(3)).await
}

/// A limit that is raised or taken away lets waiting jobs start.
pub async fn a_raised_limit_gives_room_at_once(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let tenant = scene.tenant_with("small", &running(1)).await?;
    scene.queue_with("q", &QueueSettings { max_running_per_tenant: Some(3), ..queue_running(5) }).await?;
    backlog(&scene, &tenant, "q", 0, 20).await?;
    assert_eq!(drain(&scene, at(0)).await?.len(), 1);
    stores.tenants.put(&tenant.slug, &running(2), at(1), None).await?;
    assert_eq!(drain(&scene, at(1)).await?.len(), 1);
    stores.tenants.put(&tenant.slug, &TenantSettings::default(), at(2), None).await?;
    assert_eq!(drain(&scene, at(2)).await?.len(), 1);
    scene.queue_with("q", &QueueSettings { max_running_per_tenant: Some(4), ..queue_running(5) }).await?;
    assert_eq!(drain(&scene, at(3)).await?.len(), 1);
    scene.queue_with("q", &queue_running(7)).await?;
    assert_eq!(drain(&scene, at(4)).await?.len(), 3);
    scene.queue_with("q", &QueueSettings::default()).await?;
    assert_eq!(drain(&scene, at(5)).await?.len(), 13);
    scene.healthy(at(5)).await
}

/// A limit of nothing lets nothing start.
pub async fn a_limit_of_zero_stops_all(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let none = scene.tenant_with("none", &running(0)).await?;
    scene.queue_with("shut", &queue_running(0)).await?;
    backlog(&scene, &none, "q", 0, 3).await?;
    backlog(&scene, &scene.tenant, "shut", 100, 3).await?;
    assert!(drain(&scene, at(0)).await?.is_empty());
    stores.tenants.put(&none.slug, &running(1), at(1), None).await?;
    scene.queue_with("shut", &queue_running(1)).await?;
    assert_eq!(drain(&scene, at(1)).await?.len(), 2);
    scene.healthy(at(1)).await
}

/// Starts never exceed the burst and the rate.
pub async fn a_rate_is_kept(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let rate = Some(Rate { limit: 5, period_ms: 1_000 });
    scene.queue_with("q", &QueueSettings { rate, ..QueueSettings::default() }).await?;
    let other = scene.tenant("other").await?;
    backlog(&scene, &scene.tenant, "q", 0, 20).await?;
    backlog(&scene, &other, "q", 100, 20).await?;
    assert_eq!(drain(&scene, at(0)).await?.len(), 5, "the burst");
    assert_eq!(drain(&scene, at(199)).await?.len(), 0);
    assert_eq!(drain(&scene, at(200)).await?.len(), 1);
    assert_eq!(drain(&scene, at(1_000)).await?.len(), 4);
    assert_eq!(drain(&scene, at(60_000)).await?.len(), 5, "no more than the burst is saved up");
    scene.queue_with("q", &QueueSettings { rate, ..queue_running(100) }).await?;
    assert_eq!(drain(&scene, at(60_001)).await?.len(), 0, "other settings leave the bucket alone");
    scene.queue_with("q", &QueueSettings::default()).await?;
    assert_eq!(drain(&scene, at(60_002)).await?.len(), 25);
    scene.healthy(at(60_002)).await
}

fn held(until: Option<Timestamp>) -> QueueSettings {
    let pause = Pause { reason: Some("a deployment".into()), actor: "api".into(), since: at(0), until };
    QueueSettings { pause: Some(pause), ..QueueSettings::default() }
}

/// Nothing of a paused queue starts, and all of it when the pause is lifted.
pub async fn a_paused_queue_starts_nothing(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    backlog(&scene, &scene.tenant, "q", 0, 3).await?;
    backlog(&scene, &scene.tenant, "r", 100, 2).await?;
    scene.queue_with("q", &held(None)).await?;
    backlog(&scene, &scene.tenant, "q", 10, 2).await?;
    assert_eq!(drain(&scene, at(1)).await?.len(), 2);
    let named = ClaimRequest { queues: vec![queue("q")?], ..scene.request(5, at(1)) };
    assert_eq!(stores.jobs.claim(&named).await?.jobs.len(), 0, "also if it is asked for by name");
    scene.healthy(at(1)).await?;
    scene.queue_with("q", &QueueSettings::default()).await?;
    assert_eq!(drain(&scene, at(2)).await?.len(), 5);
    scene.healthy(at(2)).await
}

/// What runs when a queue is paused may end.
pub async fn a_paused_queue_lets_running_jobs_end(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    backlog(&scene, &scene.tenant, "q", 0, 2).await?;
    let jobs = scene.claim(2, at(0)).await?;
    scene.queue_with("q", &held(None)).await?;
    scene.settle(&jobs[0], success(), at(1)).await?;
    scene.settle(&jobs[1], Verdict::Interrupted, at(1)).await?;
    assert!(drain(&scene, at(2)).await?.is_empty());
    scene.healthy(at(2)).await
}

/// A pause may end by itself.
pub async fn a_pause_may_expire(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    backlog(&scene, &scene.tenant, "q", 0, 3).await?;
    scene.queue_with("q", &held(Some(at(1_000)))).await?;
    assert!(drain(&scene, at(999)).await?.is_empty());
    assert_eq!(drain(&scene, at(1_000)).await?.len(), 3);
    scene.healthy(at(1_000)).await
}

/// Nothing of a paused tenant starts, in any queue, also what comes later.
pub async fn a_paused_tenant_starts_nothing(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let name = slug("held")?;
    let tenant = scene.tenant("held").await?;
    backlog(&scene, &tenant, "q", 0, 3).await?;
    let settings = TenantSettings { paused: true, ..TenantSettings::default() };
    stores.tenants.put(&name, &settings, at(0), None).await?;
    backlog(&scene, &tenant, "new", 10, 2).await?;
    backlog(&scene, &scene.tenant, "q", 100, 2).await?;
    assert_eq!(drain(&scene, at(1)).await?.len(), 2);
    let bound = ClaimRequest { tenant: Some(tenant.id), ..scene.request(5, at(1)) };
    assert_eq!(stores.jobs.claim(&bound).await?.jobs.len(), 0, "also if it is asked for by name");
    scene.healthy(at(1)).await?;
    stores.tenants.put(&name, &TenantSettings::default(), at(2), None).await?;
    assert_eq!(drain(&scene, at(2)).await?.len(), 5);
    scene.healthy(at(2)).await
}
