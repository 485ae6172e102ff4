//! Inserting jobs: one transaction, idempotency keys, backlogs.

use anyhow::{Context as _, Result};
use taskflow_application::ports::{Inserted, JobFilter, NewJob, Stores};
use taskflow_domain::target::{HttpTarget, Method, Target};
use taskflow_domain::tenant::TenantSettings;
use taskflow_domain::{
    CorrelationId, FiringId, JobState, Json, Priority, RuleId, Standing, Timestamp, event,
};

use crate::builders::{Draft, Scene, at, job_id, policy};

async fn exists(scene: &Scene<'_>, n: u32) -> Result<bool> {
    Ok(scene.stores.reader.get(scene.tenant.id, job_id(n), at(0)).await?.is_some())
}

fn jobs(drafts: impl IntoIterator<Item = Draft>) -> Vec<NewJob> {
    drafts.into_iter().map(|draft| draft.0).collect()
}

fn full(draft: Draft, n: u32) -> Draft {
    let mut draft = draft.label("team", "growth").label("ort", "Zürich \"1\"").key("order-1", 7);
    let spec = &mut draft.0.spec;
    spec.priority = Priority::High;
    spec.payload = Json::from_valid("{\"b\": 1e400,  \"a\":[1, 2.50,\"ü\\u0041\"], \"a\":null}");
    spec.target = Some(Target::Http(HttpTarget {
        sealed_headers: [("Authorization".into(), "AAAA".into())].into(),
        url: "http://127.0.0.1:9000/send?x=1".into(),
        method: Method::Put,
        headers: [("X-One".to_owned(), "a, b".to_owned())].into(),
        permanent_statuses: vec![503],
        retryable_statuses: vec![404, 409],
    }));
    spec.retry_policy = policy(7, 1_234);
    spec.retry_policy.factor = 1.1;
    spec.timeout_ms = 86_400_000;
    spec.correlation_id = CorrelationId(job_id(n + 1_000).0);
    spec.parent_job_id = Some(job_id(n + 1_000));
    spec.rule_id = Some(RuleId(job_id(n + 2_000).0));
    spec.firing_id = Some(FiringId(job_id(n + 3_000).0));
    spec.traceparent = Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into());
    spec.created_at = Timestamp::from_micros(at(0).micros() + 1);
    draft
}

/// An accepted job is shown exactly as it was asked for.
pub async fn a_job_comes_back_as_it_was_sent(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let draft = full(scene.job(1)?, 1);
    let spec = draft.0.spec.clone();
    let id = scene.put_one(draft).await?;
    let job = scene.consistent(id, at(0)).await?;
    assert_eq!(job.spec, spec);
    assert_eq!(job.slug, scene.tenant.slug);
    assert_eq!(job.standing, Standing::Pending { due: at(0) });
    assert_eq!((job.seq, job.counters.attempt, job.counters.spent), (1, 0, 0));
    assert_eq!((job.last_attempt, job.progress), (None, taskflow_domain::Progress::default()));
    let created = event::created(spec.created_at, spec.created_by);
    assert_eq!(scene.history(id).await?, [created]);
    Ok(())
}

/// A job stands where the insert put it.
pub async fn a_job_may_begin_waiting_scheduled_or_pending(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let drafts = [scene.job(1)?.waiting(), scene.job(2)?.scheduled(at(500)), scene.job(3)?.due(at(-5))];
    let standings: Vec<_> = drafts.iter().map(|draft| draft.0.standing.clone()).collect();
    for (id, standing) in scene.put(drafts).await?.into_iter().zip(standings) {
        assert_eq!(scene.look(id, at(0)).await?.standing, standing);
    }
    assert_eq!(scene.claim_ids(10, at(0)).await?, [job_id(3)], "only the due one can be claimed");
    scene.healthy(at(0)).await
}

/// The answers stand in the order of the jobs, of many jobs in many queues.
pub async fn many_jobs_go_in_at_once(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let other = scene.tenant("other").await?;
    let mut drafts = Vec::new();
    for n in 0..300 {
        let owner = if n % 3 == 0 { other.id } else { scene.tenant.id };
        drafts.push(Draft::new(owner, n)?.queue(&format!("q-{}", n % 7))?.kind(&format!("k-{}", n % 5))?);
    }
    scene.put(drafts).await?;
    let count = |tenant| stores.reader.count(tenant, &NONE, at(0));
    assert_eq!((count(scene.tenant.id).await?, count(other.id).await?), (200, 100));
    assert_eq!(scene.claim(1_000, at(0)).await?.len(), 300);
    Ok(())
}

static NONE: JobFilter = JobFilter {
    states: Vec::new(),
    queue: None,
    kind: None,
    priority: None,
    correlation_id: None,
    rule_id: None,
    labels: std::collections::BTreeMap::new(),
    created_after: None,
    created_before: None,
};

/// An insert of nothing is nothing.
pub async fn no_jobs_are_no_fault(stores: &Stores) -> Result<()> {
    assert_eq!(stores.jobs.insert(Vec::new(), true).await?, []);
    assert_eq!(stores.jobs.insert(Vec::new(), false).await?, []);
    Ok(())
}

/// The same key for the same request names the first job.
pub async fn a_repeated_request_finds_its_job(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    scene.put_one(scene.job(1)?.key("k", 1)).await?;
    for atomic in [false, true] {
        let answers = stores.jobs.insert(jobs([scene.job(2)?.key("k", 1)]), atomic).await?;
        assert_eq!(answers, [Inserted::Existing(job_id(1))]);
    }
    assert!(!exists(&scene, 2).await?);
    Ok(())
}

/// The same key for another request is told apart.
pub async fn a_key_of_another_request_is_refused(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    scene.put_one(scene.job(1)?.key("k", 1)).await?;
    for atomic in [false, true] {
        let answers = stores.jobs.insert(jobs([scene.job(2)?.key("k", 2)]), atomic).await?;
        assert_eq!(answers, [Inserted::KeyReused(job_id(1))]);
    }
    assert!(!exists(&scene, 2).await?);
    Ok(())
}

/// A key is remembered when its job has long ended.
pub async fn a_key_outlives_the_end_of_its_job(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    scene.put_one(scene.job(1)?.key("k", 1)).await?;
    let job = scene.claim_one(at(1)).await?;
    scene.settle(&job, crate::builders::success(), at(2)).await?;
    let answers = stores.jobs.insert(jobs([scene.job(2)?.key("k", 1)]), false).await?;
    assert_eq!(answers, [Inserted::Existing(job_id(1))]);
    Ok(())
}

/// A key that occurs twice in one call counts as used by the first.
pub async fn a_key_may_occur_twice_in_one_call(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let drafts = [
        scene.job(1)?.key("k", 1),
        scene.job(2)?.key("k", 1),
        scene.job(3)?.key("k", 2),
        scene.job(4)?.key("l", 2),
        scene.job(5)?,
    ];
    let answers = stores.jobs.insert(jobs(drafts), false).await?;
    let first = job_id(1);
    assert_eq!(
        answers,
        [Inserted::New, Inserted::Existing(first), Inserted::KeyReused(first), Inserted::New, Inserted::New]
    );
    assert!(!exists(&scene, 2).await? && !exists(&scene, 3).await? && exists(&scene, 5).await?);
    Ok(())
}

/// Keys of two tenants have nothing to do with each other.
pub async fn keys_belong_to_their_tenant(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let other = scene.tenant("other").await?;
    scene.put([scene.job(1)?.key("k", 1), Draft::new(other.id, 2)?.key("k", 2)]).await?;
    let answers = stores.jobs.insert(jobs([Draft::new(other.id, 3)?.key("k", 2)]), false).await?;
    assert_eq!(answers, [Inserted::Existing(job_id(2))]);
    Ok(())
}

/// An atomic insert with a known key inserts the rest.
pub async fn an_atomic_insert_takes_known_keys(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    scene.put_one(scene.job(1)?.key("k", 1)).await?;
    let answers = stores.jobs.insert(jobs([scene.job(2)?, scene.job(3)?.key("k", 1)]), true).await?;
    assert_eq!(answers, [Inserted::New, Inserted::Existing(job_id(1))]);
    assert!(exists(&scene, 2).await?);
    Ok(())
}

/// An atomic insert with a refused job inserts nothing, and uses no key.
pub async fn an_atomic_insert_is_all_or_nothing(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    scene.put_one(scene.job(1)?.key("k", 1)).await?;
    let drafts = [scene.job(2)?.key("fresh", 1).label("a", "b"), scene.job(3)?.key("k", 2)];
    let answers = stores.jobs.insert(jobs(drafts), true).await?;
    assert_eq!(answers[1], Inserted::KeyReused(job_id(1)));
    assert!(!exists(&scene, 2).await? && !exists(&scene, 3).await?);
    scene.put_one(scene.job(4)?.key("fresh", 2)).await?;
    assert_eq!(scene.claim_ids(10, at(0)).await?, [job_id(1), job_id(4)]);
    scene.healthy(at(0)).await
}

/// A refused job does not hinder the others of its call.
pub async fn jobs_stand_for_themselves_where_not_atomic(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    scene.put_one(scene.job(1)?.key("k", 1)).await?;
    let drafts = [scene.job(2)?, scene.job(3)?.key("k", 2), scene.job(4)?];
    let answers = stores.jobs.insert(jobs(drafts), false).await?;
    assert_eq!(answers, [Inserted::New, Inserted::KeyReused(job_id(1)), Inserted::New]);
    assert!(exists(&scene, 2).await? && !exists(&scene, 3).await? && exists(&scene, 4).await?);
    Ok(())
}

/// A tenant has no more waiting jobs than it may, in one call and in several.
pub async fn a_backlog_has_an_end(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let settings = TenantSettings { max_backlog: Some(3), ..TenantSettings::default() };
    let small = scene.tenant_with("small", &settings).await?;
    let of = |n| Draft::new(small.id, n);
    let drafts = [of(1)?, of(2)?.scheduled(at(9_000)), scene.job(100)?, of(3)?.waiting(), of(4)?];
    let answers = stores.jobs.insert(jobs(drafts), false).await?;
    let new = Inserted::New;
    assert_eq!(answers, [new, new, new, new, Inserted::BacklogFull(3)]);
    let answers = stores.jobs.insert(jobs([of(5)?, scene.job(101)?]), false).await?;
    assert_eq!(answers, [Inserted::BacklogFull(3), new]);
    assert_eq!(stores.reader.count(small.id, &NONE, at(0)).await?, 3);
    let answers = stores.jobs.insert(jobs([of(6)?, scene.job(102)?]), true).await?;
    assert_eq!(answers[0], Inserted::BacklogFull(3));
    assert!(!exists(&scene, 102).await?, "an atomic insert is all or nothing");
    scene.healthy(at(0)).await
}

/// Running and ended jobs are not backlog.
pub async fn a_started_job_makes_room_in_the_backlog(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let settings = TenantSettings { max_backlog: Some(1), ..TenantSettings::default() };
    let small = scene.tenant_with("small", &settings).await?;
    let of = |n| Draft::new(small.id, n);
    scene.put_one(of(1)?).await?;
    let job = scene.claim_one(at(0)).await?;
    scene.put_one(of(2)?).await?;
    scene.settle(&job, crate::builders::success(), at(1)).await?;
    let answers = stores.jobs.insert(jobs([of(3)?]), false).await?;
    assert_eq!(answers, [Inserted::BacklogFull(1)]);
    Ok(())
}

/// A known key is answered as known although the backlog is full.
pub async fn a_full_backlog_knows_its_keys(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let settings = TenantSettings { max_backlog: Some(1), ..TenantSettings::default() };
    let small = scene.tenant_with("small", &settings).await?;
    let of = |n| Draft::new(small.id, n);
    scene.put_one(of(1)?.key("k", 1)).await?;
    let drafts = [of(2)?.key("k", 1), of(3)?.key("k", 2), of(4)?.key("l", 1), of(5)?.key("l", 1)];
    let answers = stores.jobs.insert(jobs(drafts), false).await?;
    let (first, full) = (job_id(1), Inserted::BacklogFull(1));
    assert_eq!(answers, [Inserted::Existing(first), Inserted::KeyReused(first), full, full]);
    Ok(())
}

/// Queues that a job names come into being with default settings.
pub async fn queues_come_into_being(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let name = crate::builders::queue("fresh")?;
    assert_eq!(stores.queues.get(&name).await?, None);
    scene.put_one(scene.job(1)?.queue("fresh")?).await?;
    let queue = stores.queues.get(&name).await?.context("the queue")?;
    assert_eq!(queue.settings, taskflow_domain::queue::QueueSettings::default());
    Ok(())
}

/// Jobs that are due far in the past or the future are kept exactly.
pub async fn times_are_kept_to_the_microsecond(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let due = Timestamp::from_micros(at(0).micros() + 123_457);
    let id = scene.put_one(scene.job(1)?.scheduled(due)).await?;
    let last = scene.put_one(scene.job(2)?.scheduled(Timestamp::MAX)).await?;
    let job = scene.look(id, at(0)).await?;
    assert_eq!((job.standing.state(), job.spec.run_at), (JobState::Scheduled, due));
    assert_eq!(scene.look(last, at(0)).await?.spec.run_at, Timestamp::MAX);
    Ok(())
}
