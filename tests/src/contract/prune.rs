//! Pruning: ended jobs go, with all that belongs to them.

use anyhow::{Context as _, Result};
use taskflow_application::ports::{Inserted, JobFilter, Page, Stores};
use taskflow_domain::{JobId, JobState, Progress, Timestamp, Verdict, event};

use crate::builders::{Draft, Scene, at, failure, job_id, policy, queue, success};

/// Inserts a job and ends it at `end` with `verdict`.
async fn ended(scene: &Scene<'_>, draft: Draft, verdict: Verdict, end: Timestamp) -> Result<JobId> {
    let id = scene.put_one(draft).await?;
    let job = scene.claim_one(at(0)).await?;
    assert_eq!(job.spec.id, id);
    scene.settle(&job, verdict, end).await?;
    Ok(id)
}

async fn left(scene: &Scene<'_>) -> Result<Vec<JobId>> {
    let page = Page { before: None, limit: 100 };
    Ok(scene.stores.reader.ids(scene.tenant.id, &JobFilter::default(), page, at(0)).await?)
}

/// Only jobs of the state and of the age go, and no more than asked for.
pub async fn old_jobs_of_one_state_go(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    ended(&scene, scene.job(1)?, success(), at(100)).await?;
    ended(&scene, scene.job(2)?, success(), at(200)).await?;
    ended(&scene, scene.job(3)?, success(), at(300)).await?;
    ended(&scene, scene.job(4)?.policy(policy(1, 0)), failure(), at(100)).await?;
    scene.put([scene.job(5)?, scene.job(6)?.scheduled(at(50)), scene.job(7)?.waiting()]).await?;
    let prune = |state, before, limit| stores.jobs.prune(state, before, at(900), limit);
    assert_eq!(prune(JobState::Succeeded, at(100), 10).await?, 0, "ended at that time is not before it");
    assert_eq!(prune(JobState::Succeeded, at(250), 1).await?, 1);
    assert_eq!(prune(JobState::Succeeded, at(250), 10).await?, 1);
    assert_eq!(left(&scene).await?, [7, 6, 5, 4, 3].map(job_id));
    assert_eq!(prune(JobState::Cancelled, at(900), 10).await?, 0);
    assert_eq!(prune(JobState::Dead, at(900), 10).await?, 1);
    assert_eq!(left(&scene).await?, [7, 6, 5, 3].map(job_id));
    scene.healthy(at(900)).await
}

/// Nothing remains of a pruned job: a new one of its id has no past.
pub async fn nothing_remains_of_a_pruned_job(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let id = scene.put_one(scene.job(1)?.label("a", "1").key("k", 1)).await?;
    let job = scene.claim_one(at(0)).await?;
    let told = Progress { percent: 5, message: Some("begun".into()), succeeded: 1, failed: 0 };
    stores.jobs.progress(&[(scene.tenant.id, id, job.lease.token, told)], at(5)).await?;
    scene.settle(&job, success(), at(10)).await?;
    assert_eq!(stores.jobs.prune(JobState::Succeeded, at(20), at(20), 10).await?, 1);
    let tenant = scene.tenant.id;
    assert_eq!(stores.reader.get(tenant, id, at(20)).await?, None);
    assert_eq!(stores.reader.get_many(tenant, &[id], at(20)).await?, []);
    assert_eq!(stores.reader.attempts(tenant, id, 0, 10).await?, None);
    assert_eq!(stores.reader.events(tenant, id, 0, 10).await?, None);
    let answers = stores.jobs.insert(vec![scene.job(1)?.key("k", 2).0], false).await?;
    assert_eq!(answers, [Inserted::New], "neither its id nor its key is taken");
    let job = scene.consistent(id, at(20)).await?;
    assert_eq!((job.seq, job.last_attempt, job.progress.percent), (1, None, 0));
    assert_eq!(scene.history(id).await?, [event::created(at(0), taskflow_domain::Actor::api())]);
    let labelled = JobFilter { labels: [("a".into(), "1".into())].into(), ..JobFilter::default() };
    assert_eq!(stores.reader.count(tenant, &labelled, at(20)).await?, 0);
    scene.healthy(at(20)).await
}

/// A job whose key may still be repeated stays.
pub async fn a_young_key_keeps_its_job(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    ended(&scene, scene.job(1)?.key("old", 1).created(at(100)), success(), at(500)).await?;
    ended(&scene, scene.job(2)?.key("young", 1).created(at(300)), success(), at(500)).await?;
    ended(&scene, scene.job(3)?.created(at(300)), success(), at(500)).await?;
    let prune = |keys_before| stores.jobs.prune(JobState::Succeeded, at(900), keys_before, 10);
    assert_eq!(prune(at(200)).await?, 2);
    assert_eq!(left(&scene).await?, [job_id(2)]);
    let answers = stores.jobs.insert(vec![scene.job(9)?.key("young", 1).0], false).await?;
    assert_eq!(answers, [Inserted::Existing(job_id(2))]);
    assert_eq!(prune(at(400)).await?, 1);
    assert_eq!(left(&scene).await?, []);
    Ok(())
}

/// Jobs that stay because of their keys do not hide others from a limited prune.
pub async fn young_keys_do_not_stop_a_prune(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    for n in 0..5 {
        ended(&scene, scene.job(n)?.key(&format!("k-{n}"), 1).created(at(300)), success(), at(400)).await?;
    }
    ended(&scene, scene.job(9)?, success(), at(500)).await?;
    assert_eq!(stores.jobs.prune(JobState::Succeeded, at(900), at(200), 2).await?, 1);
    assert_eq!(left(&scene).await?.len(), 5);
    Ok(())
}

/// A pruned job is no longer counted.
pub async fn pruned_jobs_are_not_counted(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    ended(&scene, scene.job(1)?.queue("q")?, success(), at(100)).await?;
    ended(&scene, scene.job(2)?.queue("q")?, success(), at(900)).await?;
    let name = queue("q")?;
    for expected in [2, 1, 1] {
        let depths = stores.queues.depths().await?;
        let depth = depths.into_iter().find(|depth| depth.name == name).context("the queue")?;
        assert_eq!(depth.by_state[JobState::Succeeded as usize], expected);
        stores.jobs.prune(JobState::Succeeded, at(500), at(500), 10).await?;
    }
    scene.healthy(at(900)).await
}
