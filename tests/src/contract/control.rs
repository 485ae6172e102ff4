//! What operators do to jobs: cancel, pause, resume, redrive, edit.

use anyhow::{Context as _, Result};
use taskflow_application::ports::{Committed, Inserted, Stores};
use taskflow_domain::tenant::TenantSettings;
use taskflow_domain::{
    Actor, CancelRequest, Counters, Delay, Edit, EventKind, Job, JobChange, JobEvent, JobId, JobState,
    Priority, Standing, Timestamp, Verdict, change, event,
};

use crate::builders::{Scene, at, failure, job_id, policy, report, success, worker};

pub(super) fn operator() -> Result<Actor> {
    Ok(Actor::worker(&worker("an-operator")?))
}

/// Commits `change` and compares what is shown with what it says.
pub(super) async fn acts(scene: &Scene<'_>, change: &JobChange) -> Result<Job> {
    let before = scene.look(change.job, change.at).await?;
    scene.done(change).await?;
    let job = scene.consistent(change.job, change.at).await?;
    assert_eq!(job.seq, before.seq + 1, "one entry for each change");
    assert_eq!(job.counters, change.counters);
    if let change::Decision::Move(standing) = &change.decision {
        assert_eq!(&job.standing, standing);
    }
    let (kind, actor, data) = change.event.clone().context("an entry")?;
    let entry = JobEvent { seq: job.seq, kind, at: change.at, actor, data };
    assert_eq!(scene.history(change.job).await?.last(), Some(&entry));
    assert_eq!(scene.commit(change).await?, Committed::Refused, "a change is made once");
    assert_eq!(scene.consistent(change.job, change.at).await?, job);
    Ok(job)
}

async fn cancelled(scene: &Scene<'_>, id: JobId, now: Timestamp) -> Result<Job> {
    let job = scene.look(id, now).await?;
    let change = change::cancel(&job, operator()?, Some("a typo"), now)?.context("a change")?;
    acts(scene, &change).await
}

async fn paused(scene: &Scene<'_>, id: JobId, now: Timestamp) -> Result<Job> {
    acts(scene, &change::pause(&scene.look(id, now).await?, operator()?, now)?).await
}

async fn resumed(scene: &Scene<'_>, id: JobId, now: Timestamp) -> Result<Job> {
    acts(scene, &change::resume(&scene.look(id, now).await?, operator()?, now)?).await
}

pub(super) async fn edited(scene: &Scene<'_>, id: JobId, edit: Edit, now: Timestamp) -> Result<Job> {
    acts(scene, &change::edit(&scene.look(id, now).await?, edit, operator()?, now)?).await
}

/// A job in each state in which it neither runs nor has ended: 1 WAITING,
/// 2 SCHEDULED, 3 PENDING, 4 PAUSED.
pub(super) async fn standing_jobs(scene: &Scene<'_>) -> Result<[JobId; 4]> {
    scene
        .put([
            scene.job(1)?.waiting(),
            scene.job(2)?.scheduled(at(500)),
            scene.job(3)?,
            scene.job(4)?.scheduled(at(500)),
        ])
        .await?;
    let ids = [1, 2, 3, 4].map(job_id);
    paused(scene, ids[3], at(1)).await?;
    Ok(ids)
}

/// A job that does not run is cancelled at once, and never runs.
pub async fn a_standing_job_is_cancelled_at_once(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    for id in standing_jobs(&scene).await? {
        let job = cancelled(&scene, id, at(10)).await?;
        let reason = Some("cancelled".to_owned());
        assert_eq!(job.standing, Standing::Ended { state: JobState::Cancelled, reason, at: at(10) });
    }
    stores.jobs.promote(at(1_000), 10).await?;
    assert!(scene.claim(10, at(1_000)).await?.is_empty());
    scene.healthy(at(1_000)).await
}

/// The worker of a running job hears that it is to stop, and the job ends when
/// it does.
pub async fn a_running_job_is_asked_to_stop(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let id = scene.put_one(scene.job(1)?).await?;
    let claimed = scene.claim_one(at(5)).await?;
    let job = cancelled(&scene, id, at(10)).await?;
    let request = CancelRequest { at: at(10), actor: operator()? };
    let Standing::Running { cancel, .. } = &job.standing else { anyhow::bail!("it still runs") };
    assert_eq!(cancel.as_ref(), Some(&request));
    let again = change::cancel(&job, operator()?, None, at(11))?;
    assert_eq!(again, None, "it is asked once");
    let held = stores.workers.beat(&Scene::worker_row(&scene.worker, at(12), at(900_000))).await?;
    assert_eq!(held.iter().map(|lease| (lease.job, lease.cancel)).collect::<Vec<_>>(), [(id, true)]);
    let leases = stores.jobs.leases(&[(scene.tenant.id, id)]).await?;
    let lease = leases[0].clone().context("the lease")?;
    assert_eq!(lease.cancel, Some(request));
    scene.done(&report(&lease, Verdict::Cancelled, at(20))).await?;
    assert_eq!(scene.consistent(id, at(20)).await?.standing.state(), JobState::Cancelled);
    assert_eq!(scene.commit(&report(&claimed.lease, success(), at(30))).await?, Committed::Refused);
    scene.healthy(at(30)).await
}

/// A retry that was decided before the request was seen is refused; decided
/// again it ends the job.
pub async fn a_request_to_stop_prevents_a_retry(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    for (n, verdict) in [(1, failure()), (2, Verdict::Interrupted), (3, Verdict::Lost)] {
        let id = scene.put_one(scene.job(n)?).await?;
        let claimed = scene.claim_one(at(5)).await?;
        let asked = cancelled(&scene, id, at(10)).await?;
        let unaware = report(&claimed.lease, verdict.clone(), at(20));
        assert_eq!(scene.commit(&unaware).await?, Committed::Refused);
        assert_eq!(scene.consistent(id, at(20)).await?, asked);
        let lease = stores.jobs.leases(&[(scene.tenant.id, id)]).await?.remove(0).context("the lease")?;
        scene.done(&report(&lease, verdict, at(20))).await?;
        assert_eq!(scene.consistent(id, at(20)).await?.standing.state(), JobState::Cancelled);
    }
    scene.healthy(at(30)).await
}

/// A success is stronger than a request to stop, also if its worker has not
/// heard of the request.
pub async fn a_success_is_stronger_than_a_request_to_stop(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let id = scene.put_one(scene.job(1)?).await?;
    let claimed = scene.claim_one(at(5)).await?;
    cancelled(&scene, id, at(10)).await?;
    scene.settle(&claimed, success(), at(20)).await?;
    let job = scene.consistent(id, at(20)).await?;
    assert_eq!((job.standing.state(), job.seq), (JobState::Succeeded, 4));
    let history: Vec<_> = scene.history(id).await?.into_iter().map(|event| event.kind).collect();
    let expected = [EventKind::Created, EventKind::Started, EventKind::CancelRequested, EventKind::Succeeded];
    assert_eq!(history, expected);
    Ok(())
}

/// Of two requests to stop a job the second is refused.
pub async fn a_job_is_asked_to_stop_once(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let id = scene.put_one(scene.job(1)?).await?;
    scene.claim_one(at(5)).await?;
    let job = scene.look(id, at(5)).await?;
    let first = change::cancel(&job, operator()?, None, at(10))?.context("a change")?;
    let second = change::cancel(&job, Actor::api(), None, at(11))?.context("a change")?;
    assert_eq!(stores.jobs.commit(&[first, second.clone()]).await?, [Committed::Done, Committed::Refused]);
    assert_eq!(scene.commit(&second).await?, Committed::Refused);
    assert_eq!(scene.consistent(id, at(12)).await?.seq, 3);
    Ok(())
}

/// A paused job does not run; resumed it stands where it stood.
pub async fn a_paused_job_is_held(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    scene.put([scene.job(1)?.waiting(), scene.job(2)?.scheduled(at(500)), scene.job(3)?]).await?;
    let ids = [1, 2, 3].map(job_id);
    let held = [
        Standing::Paused { due: at(0), waiting: true },
        Standing::Paused { due: at(500), waiting: false },
        Standing::Paused { due: at(0), waiting: false },
    ];
    for (id, standing) in ids.into_iter().zip(held) {
        assert_eq!(paused(&scene, id, at(10)).await?.standing, standing);
    }
    stores.jobs.promote(at(1_000), 10).await?;
    assert!(scene.claim(10, at(1_000)).await?.is_empty());
    scene.healthy(at(1_000)).await?;
    let free = [
        Standing::Waiting { due: at(0) },
        Standing::Scheduled { due: at(500), delay: Delay::Requested },
        Standing::Pending { due: at(0) },
    ];
    for (id, standing) in ids.into_iter().zip(free) {
        assert_eq!(resumed(&scene, id, at(20)).await?.standing, standing);
    }
    assert_eq!(scene.claim_ids(10, at(20)).await?, [job_id(3)], "claimable when the commit returns");
    scene.healthy(at(20)).await
}

/// A job whose time came while it was held is due when it is resumed.
pub async fn a_resumed_job_may_be_due(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let id = scene.put_one(scene.job(1)?.scheduled(at(500))).await?;
    paused(&scene, id, at(10)).await?;
    assert_eq!(resumed(&scene, id, at(600)).await?.standing, Standing::Pending { due: at(500) });
    assert_eq!(scene.claim_ids(10, at(600)).await?, [id]);
    Ok(())
}

/// An ended job that is redriven has a new budget, and its numbers go on.
pub async fn a_redriven_job_begins_anew(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let id = scene.put_one(scene.job(1)?.policy(policy(1, 0))).await?;
    let first = scene.claim_one(at(5)).await?;
    scene.settle(&first, failure(), at(10)).await?;
    let dead = scene.look(id, at(10)).await?;
    assert_eq!(dead.standing.state(), JobState::Dead);
    let job = acts(&scene, &change::redrive(&dead, operator()?, at(20))?).await?;
    assert_eq!(job.standing, Standing::Pending { due: at(20) });
    assert_eq!(job.counters, Counters { attempt: 1, ..Counters::default() });
    let second = scene.claim_one(at(20)).await?;
    assert_eq!(second.lease.counters, Counters { attempt: 2, spent: 1, ..Counters::default() });
    assert!(second.lease.token > first.lease.token);
    scene.settle(&second, success(), at(30)).await?;
    assert_eq!(scene.consistent(id, at(30)).await?.seq, 6);
    scene.healthy(at(30)).await
}

/// CANCELLED and FAILED jobs can be redriven too.
pub async fn each_unsuccessful_end_can_be_redriven(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    for (n, verdict) in [(1, Verdict::Cancelled), (2, crate::builders::permanent_failure())] {
        let id = scene.put_one(scene.job(n)?).await?;
        let claimed = scene.claim_one(at(5)).await?;
        scene.settle(&claimed, verdict, at(10)).await?;
        acts(&scene, &change::redrive(&scene.look(id, at(10)).await?, operator()?, at(20))?).await?;
        assert_eq!(scene.claim_ids(1, at(20)).await?, [id]);
    }
    Ok(())
}

/// A job that moved on since it was looked at is left alone.
pub async fn a_change_of_a_job_that_moved_on_is_refused(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let ids = standing_jobs(&scene).await?;
    let mut stale = Vec::new();
    for id in ids {
        let job = scene.look(id, at(2)).await?;
        stale.push(change::cancel(&job, operator()?, None, at(20))?.context("a change")?);
    }
    edited(&scene, ids[0], Edit { priority: Some(Priority::Low), ..Edit::default() }, at(10)).await?;
    edited(&scene, ids[1], Edit { run_at: Some(at(700)), ..Edit::default() }, at(10)).await?;
    scene.claim_one(at(10)).await?;
    resumed(&scene, ids[3], at(10)).await?;
    assert_eq!(stores.jobs.commit(&stale).await?, [Committed::Refused; 4]);
    for id in ids {
        assert!(!scene.consistent(id, at(20)).await?.standing.state().is_terminal());
    }
    scene.healthy(at(20)).await
}

/// A claim in between refuses a change, and a change in between hides the job
/// from the claim.
pub async fn two_redrives_make_one(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let id = scene.put_one(scene.job(1)?).await?;
    cancelled(&scene, id, at(1)).await?;
    let ended = scene.look(id, at(1)).await?;
    let first = change::redrive(&ended, operator()?, at(2))?;
    let second = change::redrive(&ended, Actor::api(), at(3))?;
    assert_eq!(stores.jobs.commit(&[first, second.clone()]).await?, [Committed::Done, Committed::Refused]);
    assert_eq!(scene.commit(&second).await?, Committed::Refused);
    assert_eq!(scene.claim_ids(5, at(3)).await?, [id]);
    assert_eq!(scene.commit(&second).await?, Committed::Refused);
    Ok(())
}

/// Sends the job of that number through again, whatever becomes of it.
async fn retried(scene: &Scene<'_>, id: JobId) -> Result<Committed> {
    let ended = scene.look(id, at(2)).await?;
    scene.commit(&change::redrive(&ended, operator()?, at(2))?).await
}

/// Jobs that are sent through again wait again, and no more than may.
pub async fn retries_keep_to_the_backlog(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let drafts = (1..=6).map(|n| scene.job(n)).collect::<Result<Vec<_>>>()?;
    let ids = scene.put(drafts).await?;
    let mut changes = Vec::new();
    for id in &ids[..5] {
        cancelled(&scene, *id, at(1)).await?;
        changes.push(change::redrive(&scene.look(*id, at(1)).await?, operator()?, at(2))?);
    }
    // One of them is no longer as it was seen, and takes no room.
    assert_eq!(retried(&scene, ids[0]).await?, Committed::Done);
    let settings = TenantSettings { max_backlog: Some(4), ..TenantSettings::default() };
    stores.tenants.put(&scene.tenant.slug, &settings, at(2), None).await?;
    let (done, full) = (Committed::Done, Committed::BacklogFull(4));
    let answers = stores.jobs.commit(&changes).await?;
    assert_eq!(answers, [Committed::Refused, done, done, full, full], "in the order of the call");
    let paused = change::pause(&scene.look(ids[5], at(2)).await?, operator()?, at(2))?;
    assert_eq!(scene.commit(&paused).await?, done, "what waits already may change");
    assert_eq!(retried(&scene, ids[3]).await?, full);
    let suspended = TenantSettings { suspended: true, paused: true, ..TenantSettings::default() };
    stores.tenants.put(&scene.tenant.slug, &suspended, at(2), None).await?;
    assert_eq!(retried(&scene, ids[3]).await?, Committed::BacklogFull(0));
    stores.tenants.put(&scene.tenant.slug, &TenantSettings::default(), at(2), None).await?;
    assert_eq!(retried(&scene, ids[3]).await?, done);
    scene.healthy(at(2)).await
}

/// Retries and inserts at the same moment keep to the backlog together.
pub async fn retries_at_once_keep_to_the_backlog(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let ids = scene.put((1..=12).map(|n| scene.job(n)).collect::<Result<Vec<_>>>()?).await?;
    for id in &ids {
        cancelled(&scene, *id, at(1)).await?;
    }
    let settings = TenantSettings { max_backlog: Some(5), ..TenantSettings::default() };
    stores.tenants.put(&scene.tenant.slug, &settings, at(2), None).await?;
    let retries = futures_util::future::try_join_all(ids.iter().map(|id| retried(&scene, *id)));
    let more = (101..=112).map(|n| Ok(stores.jobs.insert(vec![scene.job(n)?.0], false)));
    let inserts = futures_util::future::try_join_all(more.collect::<Result<Vec<_>>>()?);
    let (retried, inserted) = tokio::join!(retries, inserts);
    let (retried, inserted) = (retried?, inserted?.concat());
    let came = retried.iter().filter(|answer| **answer == Committed::Done).count()
        + inserted.iter().filter(|answer| **answer == Inserted::New).count();
    assert_eq!(came, 5, "{retried:?}, {inserted:?}");
    assert!(retried.iter().all(|answer| *answer != Committed::Refused));
    scene.healthy(at(2)).await
}

/// A SCHEDULED job whose time has come changes like a PENDING one, whether or
/// not it was promoted, and whichever of the two it was seen as.
pub async fn a_due_job_changes_whether_promoted_or_not(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let ids = [1, 2, 3].map(job_id);
    scene
        .put([
            scene.job(1)?.scheduled(at(500)),
            scene.job(2)?.scheduled(at(500)),
            scene.job(3)?.scheduled(at(500)),
        ])
        .await?;
    let early = scene.look(ids[0], at(400)).await?;
    assert_eq!(early.standing.state(), JobState::Scheduled);
    let late = scene.look(ids[1], at(600)).await?;
    assert_eq!(late.standing, Standing::Pending { due: at(500) });
    let change = change::pause(&late, operator()?, at(600))?;
    assert_eq!(acts(&scene, &change).await?.standing.state(), JobState::Paused);
    assert_eq!(stores.jobs.promote(at(600), 10).await?.jobs, 2);
    let change = change::pause(&early, operator()?, at(600))?;
    assert_eq!(acts(&scene, &change).await?.standing.state(), JobState::Paused);
    assert_eq!(scene.claim_ids(10, at(600)).await?, [ids[2]]);
    scene.healthy(at(600)).await
}

/// The history tells all that was done to a job, by whom and why.
pub async fn the_history_names_who_did_what(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let id = scene.put_one(scene.job(1)?).await?;
    paused(&scene, id, at(1)).await?;
    resumed(&scene, id, at(2)).await?;
    edited(&scene, id, Edit { priority: Some(Priority::High), ..Edit::default() }, at(3)).await?;
    cancelled(&scene, id, at(4)).await?;
    let operator = operator()?;
    let entry = |seq, kind, data: &str| -> Result<JobEvent> {
        let ms = i64::from(seq) - 1;
        Ok(JobEvent { seq, kind, at: at(ms), actor: operator.clone(), data: serde_json::from_str(data)? })
    };
    let expected = [
        event::created(at(0), Actor::api()),
        entry(2, EventKind::Paused, "{}")?,
        entry(3, EventKind::Resumed, "{}")?,
        entry(4, EventKind::Rescheduled, r#"{"priority":"high"}"#)?,
        entry(5, EventKind::Cancelled, r#"{"reason":"a typo"}"#)?,
    ];
    assert_eq!(scene.history(id).await?, expected);
    Ok(())
}
