//! Explaining, held against the claim itself: what is called runnable is what
//! the next claim takes, and what is called gated is not.

use anyhow::{Context as _, Result};
use taskflow_application::ports::{ClaimRequest, QueuePut, Route, Stores, Worker};
use taskflow_domain::explain::{Explanation, Gate, GateReport, explain, explain_queue};
use taskflow_domain::queue::{Drain, Pause, QueueSettings, Rate};
use taskflow_domain::tenant::{Tenant, TenantSettings};
use taskflow_domain::{JobId, JobState, TenantId, Timestamp, change};

use crate::builders::{Draft, Scene, at, failure, job_id, kind, policy, queue, success, worker};

async fn why(scene: &Scene<'_>, tenant: TenantId, job: JobId, now: Timestamp) -> Result<Explanation> {
    let facts = scene.stores.explain.facts(tenant, job, now).await?;
    Ok(explain(&facts.context("the job is known")?, now))
}

fn closed(explanation: &Explanation) -> Vec<Gate> {
    explanation.closed().map(|gate| gate.gate).collect()
}

fn report(explanation: &Explanation, gate: Gate) -> Result<&GateReport> {
    explanation.gates.iter().find(|report| report.gate == gate).context("the gate applies")
}

/// What a claim of one job of the queue `q` takes.
async fn next(scene: &Scene<'_>, now: Timestamp) -> Result<Option<JobId>> {
    let request = ClaimRequest { queues: vec![queue("q")?], ..scene.request(1, now) };
    Ok(scene.stores.jobs.claim(&request).await?.jobs.first().map(|job| job.spec.id))
}

/// The job is held by exactly these gates, and a claim agrees.
async fn gated(scene: &Scene<'_>, job: JobId, now: Timestamp, gates: &[Gate]) -> Result<Explanation> {
    let explanation = why(scene, scene.tenant.id, job, now).await?;
    assert_eq!(closed(&explanation), gates);
    assert_eq!(explanation.runnable, gates.is_empty());
    let taken = next(scene, now).await?;
    assert_eq!(taken == Some(job), gates.is_empty(), "the claim takes {taken:?}");
    Ok(explanation)
}

fn draft(scene: &Scene<'_>, n: u32) -> Result<Draft> {
    scene.job(n)?.queue("q")
}

/// A job of nobody, and one of somebody else, have no facts.
pub async fn an_absent_job_is_not_explained(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let stranger = scene.tenant("stranger").await?;
    let id = scene.put_one(draft(&scene, 1)?).await?;
    assert_eq!(stores.explain.facts(scene.tenant.id, job_id(9), at(0)).await?, None);
    assert_eq!(stores.explain.facts(stranger.id, id, at(0)).await?, None);
    assert_eq!(stores.explain.line(&queue("nowhere")?, at(0)).await?, None);
    Ok(())
}

/// The first due job with a worker is runnable, and is claimed; then it runs.
pub async fn the_next_job_is_runnable(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let id = scene.put_one(draft(&scene, 1)?).await?;
    let explanation = gated(&scene, id, at(0), &[]).await?;
    assert_eq!(explanation.state, JobState::Pending);
    let runs = why(&scene, scene.tenant.id, id, at(1)).await?;
    assert_eq!((runs.state, runs.runnable, runs.gates.len()), (JobState::Running, false, 0));
    Ok(())
}

/// What is not due, backs off, waits or is held stands before its own gate.
pub async fn a_job_may_hold_itself_back(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let later = scene.put_one(draft(&scene, 1)?.scheduled(at(1_000))).await?;
    let waits = scene.put_one(draft(&scene, 2)?.waiting()).await?;
    let scheduled = gated(&scene, later, at(0), &[Gate::ScheduledLater]).await?;
    assert_eq!(report(&scheduled, Gate::ScheduledLater)?.opens_at, Some(at(1_000)));
    gated(&scene, waits, at(0), &[Gate::Dependency]).await?;
    // Its time has come, and nobody has promoted it yet.
    let entering = gated(&scene, later, at(1_000), &[Gate::ScheduledLater]).await?;
    assert_eq!(entering.state, JobState::Pending);
    stores.jobs.promote(at(1_000), 10).await?;
    gated(&scene, later, at(1_000), &[]).await?;

    let retried = scene.put_one(draft(&scene, 3)?.policy(policy(3, 5_000))).await?;
    let claimed = scene.claim_one(at(1_000)).await?;
    scene.settle(&claimed, failure(), at(1_000)).await?;
    let backs_off = gated(&scene, retried, at(1_000), &[Gate::RetryBackoff]).await?;
    assert_eq!(report(&backs_off, Gate::RetryBackoff)?.opens_at, Some(at(6_000)));

    let held = scene.put_one(draft(&scene, 4)?).await?;
    let job = scene.look(held, at(1_000)).await?;
    scene.done(&change::pause(&job, taskflow_domain::Actor::api(), at(1_000))?).await?;
    gated(&scene, held, at(1_001), &[Gate::PausedJob]).await?;
    Ok(())
}

async fn settings(scene: &Scene<'_>, settings: QueueSettings) -> Result<()> {
    scene.queue_with("q", &settings).await
}

/// A queue that is paused, full or too fast holds all of its jobs.
pub async fn a_queue_may_hold_its_jobs_back(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let ids = scene.put([draft(&scene, 1)?, draft(&scene, 2)?, draft(&scene, 3)?]).await?;
    let pause = |until| Pause { reason: Some("rain".into()), actor: "api".into(), since: at(0), until };
    settings(&scene, QueueSettings { pause: Some(pause(None)), ..QueueSettings::default() }).await?;
    let paused = gated(&scene, ids[0], at(1), &[Gate::PausedQueue]).await?;
    assert!(report(&paused, Gate::PausedQueue)?.detail.contains("rain"));
    settings(&scene, QueueSettings { pause: Some(pause(Some(at(5)))), ..QueueSettings::default() }).await?;
    let ends = gated(&scene, ids[0], at(4), &[Gate::PausedQueue]).await?;
    assert_eq!(report(&ends, Gate::PausedQueue)?.opens_at, Some(at(5)));
    gated(&scene, ids[0], at(5), &[]).await?;

    settings(&scene, QueueSettings { max_running: Some(1), ..QueueSettings::default() }).await?;
    let full = gated(&scene, ids[1], at(6), &[Gate::QueueLimit]).await?;
    let limit = report(&full, Gate::QueueLimit)?;
    assert_eq!((limit.limit, limit.in_use, limit.held_by.clone()), (Some(1), Some(1), vec![ids[0]]));

    let rate = Some(Rate { limit: 1, period_ms: 1_000 });
    scene
        .stores
        .queues
        .put(QueuePut::new(queue("q")?, QueueSettings { rate, ..QueueSettings::default() }, at(10)))
        .await?;
    gated(&scene, ids[1], at(10), &[]).await?;
    let slow = gated(&scene, ids[2], at(510), &[Gate::RateLimit]).await?;
    assert_eq!(report(&slow, Gate::RateLimit)?.opens_at, Some(at(1_010)));
    gated(&scene, ids[2], at(1_010), &[]).await?;
    Ok(())
}

/// A queue that drains says so, and its jobs start.
pub async fn a_draining_queue_lets_its_jobs_start(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let id = scene.put_one(draft(&scene, 1)?).await?;
    let drain = Some(Drain { reason: None, actor: "api".into(), since: at(0) });
    settings(&scene, QueueSettings { drain, ..QueueSettings::default() }).await?;
    let explanation = gated(&scene, id, at(1), &[]).await?;
    assert!(report(&explanation, Gate::Draining)?.open);
    Ok(())
}

async fn put_tenant(scene: &Scene<'_>, settings: &TenantSettings) -> Result<()> {
    scene.stores.tenants.put(&scene.tenant.slug, settings, at(0), None).await?;
    Ok(())
}

/// A tenant that is paused, or at its limit, over all queues or in one.
pub async fn a_tenant_may_hold_its_jobs_back(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let ids = scene.put([draft(&scene, 1)?, draft(&scene, 2)?, draft(&scene, 3)?]).await?;
    put_tenant(&scene, &TenantSettings { paused: true, ..TenantSettings::default() }).await?;
    gated(&scene, ids[0], at(1), &[Gate::TenantLimit]).await?;
    put_tenant(&scene, &TenantSettings { max_running: Some(1), ..TenantSettings::default() }).await?;
    gated(&scene, ids[0], at(1), &[]).await?;
    let full = gated(&scene, ids[1], at(2), &[Gate::TenantLimit]).await?;
    let limit = report(&full, Gate::TenantLimit)?;
    assert_eq!((limit.limit, limit.in_use, limit.held_by.clone()), (Some(1), Some(1), vec![ids[0]]));
    assert_eq!(limit.since, Some(at(1)), "since the job that filled it began");
    // Every job of the tenant stands before it, also one further back.
    let last = why(&scene, scene.tenant.id, ids[2], at(2)).await?;
    assert_eq!(closed(&last), [Gate::TenantLimit, Gate::FairShare]);

    put_tenant(&scene, &TenantSettings::default()).await?;
    settings(&scene, QueueSettings { max_running_per_tenant: Some(1), ..QueueSettings::default() }).await?;
    let in_queue = gated(&scene, ids[1], at(3), &[Gate::TenantLimit]).await?;
    assert!(report(&in_queue, Gate::TenantLimit)?.detail.contains("in the queue q"));
    Ok(())
}

/// A job of a kind that nobody serves says so; a worker opens it.
pub async fn somebody_must_be_there(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let pulled = scene.put_one(draft(&scene, 1)?.pulled()).await?;
    let own = scene.put_one(draft(&scene, 2)?).await?;
    let gates = |explanation: &Explanation| closed(explanation);
    let nobody = why(&scene, scene.tenant.id, pulled, at(0)).await?;
    assert_eq!(gates(&nobody), [Gate::NoWorker]);
    let mut puller = Scene::worker_row(&worker("puller")?, at(0), at(1_000));
    puller.kinds = vec![kind("other")?];
    for (kinds, queues, tenant, open) in [
        ("other", "q", scene.tenant.id, false),
        ("work", "r", scene.tenant.id, false),
        ("work", "q", scene.tenant("stranger").await?.id, false),
        ("work", "q", scene.tenant.id, true),
    ] {
        puller.kinds = vec![kind(kinds)?];
        puller.queues = vec![queue(queues)?];
        puller.tenant = Some(tenant);
        stores.workers.beat(&puller).await?;
        assert_eq!(why(&scene, scene.tenant.id, pulled, at(0)).await?.runnable, open);
    }
    let lost = why(&scene, scene.tenant.id, pulled, at(5_000)).await?;
    assert_eq!(gates(&lost), [Gate::NoWorker]);
    assert_eq!(report(&lost, Gate::NoWorker)?.since, Some(at(1_000)), "since its lease ended");
    let request = ClaimRequest {
        worker: worker("puller")?,
        tenant: Some(scene.tenant.id),
        route: Route::Kinds(vec![kind("work")?]),
        ..scene.request(1, at(1))
    };
    let claimed = stores.jobs.claim(&request).await?.jobs;
    assert_eq!(claimed.first().map(|job| job.spec.id), Some(pulled));
    stores.workers.leave(&scene.worker, at(1)).await?;
    assert_eq!(gates(&why(&scene, scene.tenant.id, own, at(1)).await?), [Gate::NoWorker]);
    Ok(())
}

/// A worker whose slots are full, or that is leaving, begins nothing: then all that it
/// would run waits for one that does.
pub async fn a_worker_without_room_starts_nothing(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let ids = scene.put([draft(&scene, 1)?, draft(&scene, 2)?, draft(&scene, 3)?]).await?;
    let counted = async |now| {
        let line = stores.explain.line(&queue("q")?, now).await?.context("the queue")?;
        let gates = explain_queue(&line, now);
        anyhow::Ok(gates.iter().map(|gate| (gate.gate.as_str(), gate.jobs)).collect::<Vec<_>>())
    };
    let with = async |slots, now| {
        let row = Worker { slots, ..Scene::worker_row(&scene.worker, now, at(9_000)) };
        stores.workers.beat(&row).await.map(drop)
    };
    with(1, at(0)).await?;
    assert_eq!(counted(at(0)).await?, [("fair_share", 2)], "one is next");
    scene.claim_one(at(5)).await?;
    let full = why(&scene, scene.tenant.id, ids[1], at(6)).await?;
    assert_eq!(closed(&full), [Gate::NoWorker]);
    assert_eq!(report(&full, Gate::NoWorker)?.since, Some(at(5)), "since the job that took the last slot");
    assert_eq!(counted(at(6)).await?, [("no_worker", 2)]);
    with(2, at(7)).await?;
    assert!(why(&scene, scene.tenant.id, ids[1], at(7)).await?.runnable);
    with(0, at(8)).await?;
    assert_eq!(closed(&why(&scene, scene.tenant.id, ids[1], at(8)).await?), [Gate::NoWorker]);
    assert_eq!(counted(at(8)).await?, [("no_worker", 2)]);
    Ok(())
}

/// Who had more than its share stands behind who had less, and says how far.
pub async fn the_fair_order_is_told(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let other = scene.tenant("other").await?;
    let ids = scene.put([draft(&scene, 1)?, draft(&scene, 2)?, draft(&scene, 3)?]).await?;
    scene.put([Draft::new(other.id, 10)?.queue("q")?, Draft::new(other.id, 11)?.queue("q")?]).await?;
    gated(&scene, ids[0], at(0), &[]).await?;
    let behind = gated(&scene, ids[1], at(1), &[Gate::FairShare]).await?;
    assert_eq!(report(&behind, Gate::FairShare)?.in_use, Some(1), "the other tenant's turn");
    let last = why(&scene, scene.tenant.id, ids[2], at(2)).await?;
    assert!(report(&last, Gate::FairShare)?.in_use >= Some(1));
    // A tenant that may not start anything stands in nobody's way.
    let paused = TenantSettings { paused: true, ..TenantSettings::default() };
    stores.tenants.put(&other.slug, &paused, at(2), None).await?;
    gated(&scene, ids[1], at(2), &[]).await?;
    Ok(())
}

/// What has ended stands before no gate.
pub async fn what_has_ended_is_past_all_gates(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let id = scene.put_one(draft(&scene, 1)?).await?;
    let claimed = scene.claim_one(at(0)).await?;
    scene.settle(&claimed, success(), at(1)).await?;
    let ended = why(&scene, scene.tenant.id, id, at(2)).await?;
    assert_eq!((ended.state, ended.runnable, ended.gates.len()), (JobState::Succeeded, false, 0));
    Ok(())
}

/// A queue tells how many of its jobs wait at which gate.
pub async fn a_queue_counts_its_gates(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let held = scene.tenant("held").await?;
    let mut drafts = vec![draft(&scene, 1)?.scheduled(at(9_000)), draft(&scene, 2)?.waiting()];
    for n in 10..15 {
        drafts.push(Draft::new(held.id, n)?.queue("q")?);
    }
    drafts.extend([draft(&scene, 20)?, draft(&scene, 21)?, draft(&scene, 22)?.pulled()]);
    scene.put(drafts).await?;
    let paused = TenantSettings { paused: true, ..TenantSettings::default() };
    stores.tenants.put(&held.slug, &paused, at(0), None).await?;
    let told = |now| async move {
        let line = stores.explain.line(&queue("q")?, now).await?.context("the queue")?;
        let gates = explain_queue(&line, now);
        anyhow::Ok(gates.iter().map(|gate| (gate.gate.as_str(), gate.jobs)).collect::<Vec<_>>())
    };
    let own = [("dependency", 1), ("scheduled_later", 1)];
    // One of the two others is next, and waits for nobody.
    let line = [("tenant_limit", 5), ("no_worker", 1), ("fair_share", 1)];
    assert_eq!(told(at(0)).await?, [own.as_slice(), line.as_slice()].concat());
    settings(&scene, QueueSettings { max_running: Some(0), ..QueueSettings::default() }).await?;
    assert_eq!(told(at(1)).await?, [own.as_slice(), [("queue_limit", 8)].as_slice()].concat());
    Ok(())
}

/// A small source of chance, so that every run is the same run.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn maybe(&mut self, one_in: u64, most: u64) -> Option<u32> {
        (self.throw(one_in) == 0).then(|| self.throw(most) as u32)
    }
}

async fn shake(scene: &Scene<'_>, tenants: &[Tenant], dice: &mut Dice, now: Timestamp) -> Result<()> {
    let pause = Pause { reason: None, actor: "api".into(), since: now, until: Some(now.plus_millis(5)) };
    let queue_settings = QueueSettings {
        max_running: dice.maybe(2, 6),
        max_running_per_tenant: dice.maybe(2, 3),
        rate: dice.maybe(3, 3).map(|limit| Rate { limit: limit + 1, period_ms: 20 }),
        pause: (dice.throw(6) == 0).then_some(pause),
        drain: None,
    };
    scene.stores.queues.put(QueuePut::new(queue("q")?, queue_settings, now)).await?;
    for tenant in tenants {
        let settings = TenantSettings {
            max_running: dice.maybe(3, 4),
            weight: 1 + dice.throw(3) as u32,
            paused: dice.throw(5) == 0,
            ..TenantSettings::default()
        };
        scene.stores.tenants.put(&tenant.slug, &settings, now, None).await?;
    }
    Ok(())
}

/// Under whatever limits and pauses: of all jobs of a queue, exactly the one
/// that the next claim takes is called runnable, or none if it takes none.
pub async fn explain_and_claim_agree_whatever_is_set(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let tenants = [scene.tenant("a").await?, scene.tenant("b").await?, scene.tenant("c").await?];
    let mut dice = Dice(20_261_121);
    let mut jobs = Vec::new();
    for n in 0..24 {
        let owner = &tenants[dice.throw(3) as usize];
        let due = at(dice.throw(30) as i64);
        let draft = Draft::new(owner.id, n)?.queue("q")?;
        let draft = if dice.throw(4) == 0 { draft.scheduled(due) } else { draft };
        jobs.push((owner.id, scene.put_one(draft).await?));
    }
    let (mut running, mut seen) = (Vec::new(), 0);
    for round in 0..40 {
        let now = at(40 + round * 3);
        if round % 4 == 0 {
            shake(&scene, &tenants, &mut dice, now).await?;
        }
        stores.jobs.promote(now, 3).await?;
        let mut runnable = Vec::new();
        for (tenant, job) in &jobs {
            if why(&scene, *tenant, *job, now).await?.runnable {
                runnable.push(*job);
            }
        }
        let request = ClaimRequest { queues: vec![queue("q")?], ..scene.request(1, now) };
        let taken = stores.jobs.claim(&request).await?.jobs;
        let ids: Vec<JobId> = taken.iter().map(|job| job.spec.id).collect();
        assert_eq!(runnable, ids, "in round {round}");
        seen += ids.len();
        running.extend(taken);
        if dice.throw(2) == 0 && !running.is_empty() {
            let ends = running.swap_remove(dice.throw(running.len() as u64) as usize);
            scene.settle(&ends, success(), now).await?;
        }
    }
    assert!(seen > 8, "only {seen} jobs were claimed");
    Ok(())
}
