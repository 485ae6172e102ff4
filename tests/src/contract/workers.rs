//! Workers: who is known, and who is still alive.

use anyhow::{Context as _, Result};
use taskflow_application::ports::{ClaimRequest, HeldLease, Route, Stores, Worker};
use taskflow_domain::{TenantId, Verdict, WorkerName};

use crate::builders::{Draft, Scene, at, job_id, kind, queue, report, success, worker};

async fn known(stores: &Stores) -> Result<Vec<WorkerName>> {
    Ok(stores.workers.list().await?.into_iter().map(|worker| worker.name).collect())
}

/// A worker is shown as it made itself known.
pub async fn a_worker_comes_back(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let row = Worker {
        name: worker("host-1:4711")?,
        tenant: Some(scene.tenant.id),
        queues: vec![queue("a")?, queue("b")?],
        kinds: vec![kind("mail")?],
        slots: 32,
        started_at: at(1),
        beat_at: at(1),
        lease_until: at(30_001),
    };
    assert_eq!(stores.workers.beat(&row).await?, []);
    assert!(stores.workers.list().await?.contains(&row));
    let later = Worker { beat_at: at(10_000), lease_until: at(40_000), slots: 8, ..row };
    assert_eq!(stores.workers.beat(&later).await?, []);
    assert!(stores.workers.list().await?.contains(&later));
    assert_eq!(known(stores).await?, [worker("host-1:4711")?, worker("w-1")?], "by name, each once");
    Ok(())
}

/// A beat answers what the worker holds, and only that.
pub async fn a_beat_tells_what_is_held(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let other = Scene { worker: worker("w-2")?, ..scene.clone() };
    other.beat(&other.worker, at(0), at(1_000)).await?;
    scene.put([scene.job(1)?, scene.job(2)?, scene.job(3)?, scene.job(4)?]).await?;
    let jobs = scene.claim(2, at(1)).await?;
    other.claim_one(at(1)).await?;
    let own_end = ClaimRequest { lease_until: Some(at(500)), ..scene.request(1, at(1)) };
    let with_end = stores.jobs.claim(&own_end).await?.jobs;
    scene.settle(&jobs[0], success(), at(2)).await?;
    let mut held = stores.workers.beat(&Scene::worker_row(&scene.worker, at(3), at(9_000))).await?;
    held.sort_by_key(|lease| lease.job);
    let lease = |job: &taskflow_domain::ClaimedJob| HeldLease {
        tenant: job.spec.tenant,
        job: job.spec.id,
        token: job.lease.token,
        cancel: false,
    };
    assert_eq!(held, [lease(&jobs[1]), lease(&with_end[0])]);
    Ok(())
}

/// A worker that pulls is heard of by the leases that it extends. What TaskFlow's own
/// worker holds says nothing of it, and neither does a lease that is not held.
pub async fn a_pulling_worker_is_heard_of(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let puller = Worker {
        tenant: Some(scene.tenant.id),
        kinds: vec![kind("work")?],
        ..Scene::worker_row(&worker("puller")?, at(0), at(1_000))
    };
    stores.workers.beat(&puller).await?;
    scene.put([scene.job(1)?.pulled(), scene.job(2)?]).await?;
    let request = ClaimRequest {
        worker: puller.name.clone(),
        tenant: puller.tenant,
        route: Route::Kinds(puller.kinds.clone()),
        lease_until: Some(at(1_000)),
        ..scene.request(1, at(1))
    };
    let pulled = stores.jobs.claim(&request).await?.jobs.pop().context("a job")?;
    let own = scene.claim_one(at(1)).await?;
    let own_row = stores.workers.list().await?.into_iter().find(|row| row.name == scene.worker);
    let lease = |job: &taskflow_domain::ClaimedJob| (job.spec.tenant, job.spec.id, job.lease.token);
    let (tenant, job, _) = lease(&pulled);
    let false_lease = (tenant, job, crate::builders::false_token());
    stores.workers.heard_of(&[false_lease, lease(&own)], at(700), at(1_700)).await?;
    assert!(stores.workers.list().await?.contains(&puller), "nobody was heard of");
    assert!(own_row.is_some_and(|row| row.lease_until > at(1_700)));
    stores.workers.heard_of(&[lease(&pulled)], at(800), at(1_800)).await?;
    let heard = Worker { beat_at: at(800), lease_until: at(1_800), ..puller.clone() };
    assert!(stores.workers.list().await?.contains(&heard));
    stores.workers.heard_of(&[lease(&pulled)], at(500), at(1_500)).await?;
    assert!(stores.workers.list().await?.contains(&heard), "what comes late takes nothing back");
    stores.workers.heard_of(&[], at(900), at(1_900)).await?;
    Ok(())
}

/// A worker that leaves is forgotten, and what it holds is free at once.
pub async fn a_leaving_worker_frees_what_it_holds(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    scene.put([scene.job(1)?, scene.job(2)?]).await?;
    scene.claim_one(at(1)).await?;
    let own_end = ClaimRequest { lease_until: Some(at(9_000_000)), ..scene.request(1, at(1)) };
    assert_eq!(stores.jobs.claim(&own_end).await?.jobs.len(), 1);
    stores.workers.leave(&scene.worker, at(10)).await?;
    let leases = stores.jobs.expired(at(11), 10).await?;
    let mut ids: Vec<_> = leases.iter().map(|lease| lease.job).collect();
    ids.sort();
    assert_eq!(ids, [job_id(1), job_id(2)]);
    for lease in &leases {
        assert_eq!(lease.worker, scene.worker);
        scene.done(&report(lease, Verdict::Lost, at(11))).await?;
    }
    let attempt = scene.consistent(job_id(1), at(11)).await?.last_attempt.context("an attempt")?;
    assert_eq!(attempt.worker, scene.worker, "the attempt keeps the name");
    scene.healthy(at(11)).await
}

/// A worker that leaves with empty hands is known no more, until it comes back.
pub async fn a_worker_may_leave_and_come_back(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let id = scene.put_one(scene.job(1)?).await?;
    let job = scene.claim_one(at(1)).await?;
    scene.settle(&job, success(), at(2)).await?;
    stores.workers.leave(&scene.worker, at(3)).await?;
    stores.workers.leave(&worker("never-seen")?, at(3)).await?;
    assert_eq!(known(stores).await?, []);
    let attempt = scene.consistent(id, at(3)).await?.last_attempt.context("an attempt")?;
    assert_eq!(attempt.worker, scene.worker, "the attempt keeps the name");
    scene.beat(&scene.worker, at(4), at(1_000)).await?;
    assert_eq!(known(stores).await?, [worker("w-1")?]);
    scene.put_one(scene.job(2)?).await?;
    assert_eq!(scene.claim_one(at(5)).await?.lease.worker, scene.worker);
    assert!(stores.jobs.expired(at(1_000), 10).await?.is_empty());
    Ok(())
}

/// Silent workers are forgotten, but not while they hold leases; what they did
/// keeps their names.
pub async fn silent_workers_are_forgotten(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let holder = Scene { worker: worker("holder")?, ..scene.clone() };
    holder.beat(&holder.worker, at(0), at(1_000)).await?;
    scene.beat(&worker("fresh")?, at(5_000), at(6_000)).await?;
    let id = scene.put_one(scene.job(1)?).await?;
    let held = holder.claim_one(at(1)).await?;
    assert_eq!(stores.workers.forget(at(5_000)).await?, 1);
    assert_eq!(known(stores).await?, [worker("fresh")?, worker("holder")?]);
    scene.settle(&held, success(), at(2)).await?;
    assert_eq!(stores.workers.forget(at(5_000)).await?, 1);
    assert_eq!(known(stores).await?, [worker("fresh")?]);
    let attempt = scene.consistent(id, at(3)).await?.last_attempt.context("an attempt")?;
    assert_eq!(attempt.worker, holder.worker);
    assert_eq!(scene.history(id).await?[1].actor, taskflow_domain::Actor::worker(&holder.worker));
    Ok(())
}

/// Whoever runs jobs is told with their number.
pub async fn busy_workers_are_counted(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    assert_eq!(stores.workers.busy().await?, []);
    scene.put([scene.job(1)?, scene.job(2)?]).await?;
    let jobs = scene.claim(2, at(0)).await?;
    assert_eq!(stores.workers.busy().await?, [(scene.worker.clone(), None, 2)]);
    scene.settle(&jobs[0], success(), at(1)).await?;
    assert_eq!(stores.workers.busy().await?, [(scene.worker.clone(), None, 1)]);
    Ok(())
}

/// A worker's name is its tenant's: nobody ends the leases of the engine's worker,
/// or of another tenant's, by calling itself the same.
pub async fn names_are_each_tenants_own(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let (one, other) = (scene.tenant("one").await?.id, scene.tenant("other").await?.id);
    scene.put_one(scene.job(1)?).await?;
    let engines = scene.claim_one(at(1)).await?;
    let of = |tenant: TenantId, until| Worker {
        tenant: Some(tenant),
        ..Scene::worker_row(&scene.worker, at(2), until)
    };
    let engine = Scene::worker_row(&scene.worker, at(2), at(9_000));
    stores.workers.beat(&engine).await?;
    assert_eq!(stores.workers.beat(&of(one, at(3))).await?, [], "it holds nothing of the engine's");
    assert_eq!(stores.workers.beat(&of(other, at(9_000_000))).await?, []);
    assert_eq!(stores.workers.list().await?, [engine, of(one, at(3)), of(other, at(9_000_000))]);
    assert!(stores.jobs.expired(at(8_999), 10).await?.is_empty(), "the engine's lease governs");
    assert_eq!(stores.jobs.expired(at(9_001), 10).await?, std::slice::from_ref(&engines.lease));
    let pulled = Draft::new(one, 2)?.pulled();
    scene.put_one(pulled).await?;
    let request = |tenant| ClaimRequest {
        tenant: Some(tenant),
        route: Route::Kinds(vec![engines.spec.kind.clone()]),
        lease_until: Some(at(500)),
        ..scene.request(1, at(4))
    };
    assert!(stores.jobs.claim(&request(other)).await?.jobs.is_empty());
    let claimed = stores.jobs.claim(&request(one)).await?.jobs;
    assert_eq!(claimed.len(), 1);
    let name = || scene.worker.clone();
    assert_eq!(stores.workers.busy().await?, [(name(), None, 1), (name(), Some(one), 1)]);
    assert_eq!(stores.workers.beat(&of(one, at(9_000))).await?.len(), 1);
    stores.workers.leave(&scene.worker, at(5)).await?;
    assert!(stores.jobs.expired(at(400), 10).await?.iter().all(|lease| lease.job == engines.spec.id));
    let left: Vec<_> = stores.workers.list().await?.into_iter().map(|worker| worker.tenant).collect();
    assert_eq!(left, [Some(one), Some(other)], "the engine's worker has left, and nobody else");
    Ok(())
}

/// Of a tenant's worker that never had a job nothing is left; one that had is a
/// name, which its attempts keep.
pub async fn who_only_waited_leaves_nothing_behind(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let tenant = scene.tenant.id;
    let row = |name: &WorkerName, now| Worker { tenant: Some(tenant), ..Scene::worker_row(name, now, now) };
    let (idle, busy) = (worker("idle")?, worker("busy")?);
    scene.beat(&scene.worker, at(5_000), at(3_600_000)).await?;
    for name in [&idle, &busy] {
        stores.workers.beat(&row(name, at(0))).await?;
    }
    let id = scene.put_one(scene.job(1)?.pulled()).await?;
    let kind = scene.consistent(id, at(0)).await?.spec.kind;
    let request = ClaimRequest {
        worker: busy.clone(),
        tenant: Some(tenant),
        route: Route::Kinds(vec![kind]),
        lease_until: Some(at(500)),
        ..scene.request(1, at(1))
    };
    let job = stores.jobs.claim(&request).await?.jobs.pop().context("a job")?;
    assert_eq!(stores.workers.forget(at(5_000)).await?, 1, "the one that holds nothing");
    scene.settle(&job, success(), at(2)).await?;
    assert_eq!(stores.workers.forget(at(5_000)).await?, 1);
    assert_eq!(known(stores).await?, [worker("w-1")?]);
    let attempt = scene.consistent(id, at(3)).await?.last_attempt.context("an attempt")?;
    assert_eq!(attempt.worker, busy);
    stores.workers.beat(&row(&idle, at(6_000))).await?;
    assert_eq!(known(stores).await?, [idle, worker("w-1")?], "it may come back");
    Ok(())
}
