//! Leases: looking at them, extending them, telling progress, finding the lost.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use taskflow_application::memory::ManualClock;
use taskflow_application::ports::{ClaimRequest, Committed, Extended, LeaseKey, Stores};
use taskflow_application::work::{Ended, Settled, Work};
use taskflow_domain::{ClaimedJob, JobId, JobState, Progress, Standing, Timestamp, Verdict, event};

use crate::builders::{Scene, at, false_token, job_id, report, success, worker, world};

async fn claim_until(scene: &Scene<'_>, until: Timestamp, now: Timestamp) -> Result<ClaimedJob> {
    let request = ClaimRequest { lease_until: Some(until), ..scene.request(1, now) };
    scene.stores.jobs.claim(&request).await?.jobs.pop().context("a job")
}

/// A job of the builders that was claimed at the beginning.
fn held(cancel: bool) -> Extended {
    Extended::Held { cancel, timeout_at: at(30_000) }
}

async fn expired(scene: &Scene<'_>, now: Timestamp) -> Result<Vec<JobId>> {
    let mut ids: Vec<_> = scene.stores.jobs.expired(now, 100).await?.iter().map(|lease| lease.job).collect();
    ids.sort();
    Ok(ids)
}

/// The leases of running jobs, in the order of the question.
pub async fn leases_are_as_they_were_claimed(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    scene.put([scene.job(1)?, scene.job(2)?, scene.job(3)?.scheduled(at(9_000))]).await?;
    let jobs = scene.claim(2, at(5)).await?;
    let stranger = scene.tenant("stranger").await?;
    let own = |n| (scene.tenant.id, job_id(n));
    let wanted = [own(2), own(3), own(9), (stranger.id, job_id(1)), own(1)];
    let leases = stores.jobs.leases(&wanted).await?;
    let (first, second) = (Some(jobs[0].lease.clone()), Some(jobs[1].lease.clone()));
    assert_eq!(leases, [second, None, None, None, first]);
    scene.settle(&jobs[0], success(), at(6)).await?;
    assert_eq!(stores.jobs.leases(&[own(1)]).await?, [None]);
    assert_eq!(stores.jobs.leases(&[]).await?, []);
    Ok(())
}

/// A lease with an end of its own expires then, unless it is extended.
pub async fn a_lease_expires_unless_extended(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    scene.put([scene.job(1)?, scene.job(2)?]).await?;
    let first = claim_until(&scene, at(1_000), at(0)).await?;
    claim_until(&scene, at(1_000), at(0)).await?;
    assert_eq!(expired(&scene, at(1_000)).await?, []);
    assert_eq!(expired(&scene, at(1_001)).await?, [job_id(1), job_id(2)]);
    let lease = [(scene.tenant.id, job_id(1), first.lease.token)];
    assert_eq!(stores.jobs.extend(&lease, at(2_000)).await?, [held(false)]);
    assert_eq!(expired(&scene, at(1_001)).await?, [job_id(2)]);
    assert_eq!(expired(&scene, at(2_001)).await?, [job_id(1), job_id(2)]);
    assert_eq!(stores.jobs.expired(at(2_001), 1).await?.len(), 1, "no more than were asked for");
    Ok(())
}

/// No lease outlives its attempt's timeout for longer than a worker needs to stop.
pub async fn a_lease_ends_with_its_timeout(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let id = scene.put_one(scene.job(1)?).await?;
    let claimed = claim_until(&scene, at(1_000), at(0)).await?;
    let limit = claimed.lease.limit();
    assert_eq!((claimed.lease.timeout_at(), limit), (at(30_000), at(35_000)));
    let key = [(scene.tenant.id, id, claimed.lease.token)];
    assert_eq!(stores.jobs.extend(&key, at(20_000)).await?, [held(false)]);
    let lease = stores.jobs.expired(at(20_001), 1).await?.pop().context("a lease")?;
    assert_eq!((lease.until, lease.unanswered()), (Some(at(20_000)), Verdict::Lost));
    assert_eq!(stores.jobs.extend(&key, at(99_000)).await?, [held(false)]);
    assert_eq!(expired(&scene, limit).await?, []);
    let lease = stores.jobs.expired(at(35_001), 1).await?.pop().context("a lease")?;
    assert_eq!((lease.until, lease.timeout_ms), (Some(limit), 30_000));
    let timeout = lease.unanswered();
    assert_eq!(timeout, Verdict::TimedOut { after_ms: 30_000 });
    let mut change = report(&lease, timeout, at(35_001));
    change.guard = change.guard.once_lapsed(at(35_001));
    scene.done(&change).await?;
    let shown = scene.consistent(id, at(35_001)).await?;
    let end = shown.last_attempt.and_then(|attempt| attempt.end).context("an end")?;
    assert_eq!(end.outcome, taskflow_domain::Outcome::Timeout);
    scene.healthy(at(35_001)).await
}

/// An expired lease comes with all that ending its attempt needs.
pub async fn an_expired_lease_can_be_settled(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let id = scene.put_one(scene.job(1)?).await?;
    let claimed = claim_until(&scene, at(1_000), at(0)).await?;
    let lease = stores.jobs.expired(at(2_000), 10).await?.pop().context("a lease")?;
    assert_eq!(lease, claimed.lease);
    scene.done(&report(&lease, Verdict::Lost, at(2_000))).await?;
    assert_eq!(expired(&scene, at(9_000)).await?, []);
    assert_eq!(scene.commit(&report(&claimed.lease, success(), at(2_001))).await?, Committed::Refused);
    assert_eq!(scene.consistent(id, at(2_001)).await?.standing.state(), JobState::Pending);
    scene.healthy(at(2_001)).await
}

/// Jobs that lost their worker together come back together once, and the second time
/// one by one: whichever of them took the worker down does not take the others again.
pub async fn lost_again_they_come_back_apart(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let jobs = (1..=4).map(|n| scene.job(n)).collect::<Result<Vec<_>>>()?;
    scene.put(jobs).await?;
    let clock = Arc::new(ManualClock::new(at(0)));
    let work = Work::new(world(stores.clone(), &clock, 1));
    let mut due = Vec::new();
    for round in 0..2 {
        let from = round * 10_000;
        let request = ClaimRequest { lease_until: Some(at(from + 1_000)), ..scene.request(4, at(from)) };
        assert_eq!(stores.jobs.claim(&request).await?.jobs.len(), 4);
        let now = at(from + 2_000);
        clock.set(now);
        let lost = |lease| Ended { lease, verdict: Verdict::Lost, took_us: 0 };
        let ended: Vec<_> = stores.jobs.expired(now, 9).await?.into_iter().map(lost).collect();
        assert_eq!(ended.len(), 4);
        let settled = work.settle_lapsed(&ended).await?;
        assert!(settled.iter().all(|settled| *settled != Settled::LeaseLost), "{settled:?}");
        due.clear();
        for n in 1..=4 {
            let job = scene.consistent(job_id(n), now).await?;
            let (Standing::Scheduled { due: at, .. } | Standing::Pending { due: at }) = job.standing else {
                bail!("it does not come back: {:?}", job.standing)
            };
            due.push(at.micros_since(now) / 1_000);
        }
        due.sort_unstable();
        if round == 0 {
            assert_eq!(due, [0; 4]);
        }
    }
    assert!(due.is_sorted_by(|one, next| next - one >= 125) && due[3] < 1_000, "{due:?}");
    scene.healthy(at(12_000)).await
}

/// Whoever takes leases back comes a little late, and one that was extended
/// meanwhile stays: one with an end of its own, and one that its worker's covers.
pub async fn an_extended_lease_is_not_taken_back(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    scene.put([scene.job(1)?, scene.job(2)?]).await?;
    let own = claim_until(&scene, at(1_000), at(0)).await?;
    scene.beat(&scene.worker, at(0), at(1_000)).await?;
    let covered = scene.claim_one(at(1)).await?;
    assert_eq!(expired(&scene, at(1_001)).await?, [job_id(1), job_id(2)]);
    stores.jobs.extend(&[(scene.tenant.id, own.spec.id, own.lease.token)], at(2_000)).await?;
    scene.beat(&scene.worker, at(1_000), at(2_000)).await?;
    let lapsed = |job: &ClaimedJob, ms| {
        let mut change = report(&job.lease, Verdict::Lost, at(ms));
        change.guard = change.guard.once_lapsed(at(ms));
        change
    };
    for job in [&own, &covered] {
        assert_eq!(scene.commit(&lapsed(job, 1_999)).await?, Committed::Refused);
        assert_eq!(scene.look(job.spec.id, at(1_999)).await?.standing.state(), JobState::Running);
        assert_eq!(scene.commit(&lapsed(job, 2_000)).await?, Committed::Done);
    }
    scene.healthy(at(2_001)).await
}

/// Only who holds a lease can extend it; a cancel is told on the way.
pub async fn only_a_held_lease_is_extended(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    scene.put([scene.job(1)?, scene.job(2)?, scene.job(3)?]).await?;
    let jobs = [
        claim_until(&scene, at(1_000), at(0)).await?,
        claim_until(&scene, at(1_000), at(0)).await?,
        claim_until(&scene, at(1_000), at(0)).await?,
    ];
    let running = scene.look(job_id(2), at(1)).await?;
    let cancel = taskflow_domain::change::cancel(&running, taskflow_domain::Actor::api(), None, at(1))?;
    scene.done(&cancel.context("a change")?).await?;
    scene.settle(&jobs[2], success(), at(2)).await?;
    let stranger = scene.tenant("stranger").await?;
    let token = |n: usize| jobs[n].lease.token;
    let leases: [LeaseKey; 6] = [
        (scene.tenant.id, job_id(1), false_token()),
        (scene.tenant.id, job_id(2), token(1)),
        (stranger.id, job_id(1), token(0)),
        (scene.tenant.id, job_id(3), token(2)),
        (scene.tenant.id, job_id(9), token(0)),
        (scene.tenant.id, job_id(1), token(0)),
    ];
    let lost = Extended::Lost;
    let answers = stores.jobs.extend(&leases, at(5_000)).await?;
    assert_eq!(answers, [lost, held(true), lost, lost, lost, held(false)]);
    assert_eq!(stores.jobs.extend(&[], at(5_000)).await?, []);
    Ok(())
}

/// Leases without an end of their own end with their worker's.
pub async fn a_lease_ends_with_its_workers(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let (lost, alive) = (worker("lost")?, worker("alive")?);
    scene.beat(&lost, at(0), at(1_000)).await?;
    scene.beat(&alive, at(0), at(1_000)).await?;
    scene.put([scene.job(1)?, scene.job(2)?, scene.job(3)?]).await?;
    let of = |name| Scene { worker: name, ..scene.clone() };
    of(lost.clone()).claim_one(at(1)).await?;
    of(alive.clone()).claim_one(at(1)).await?;
    claim_until(&of(lost.clone()), at(9_000), at(1)).await?;
    scene.beat(&alive, at(500), at(1_500)).await?;
    assert_eq!(expired(&scene, at(1_000)).await?, []);
    assert_eq!(expired(&scene, at(1_001)).await?, [job_id(1)]);
    assert_eq!(expired(&scene, at(1_501)).await?, [job_id(1), job_id(2)]);
    scene.beat(&lost, at(1_600), at(3_000)).await?;
    assert_eq!(expired(&scene, at(1_601)).await?, [job_id(2)], "who is heard of again holds its leases");
    assert_eq!(expired(&scene, at(9_001)).await?, [job_id(1), job_id(2), job_id(3)]);
    Ok(())
}

fn progress(percent: u8, message: Option<&str>) -> Progress {
    Progress { percent, message: message.map(Into::into), succeeded: 3, failed: u64::from(percent) }
}

/// What a running attempt tells is shown and stands in the history.
pub async fn progress_is_kept(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let id = scene.put_one(scene.job(1)?).await?;
    let job = scene.claim_one(at(5)).await?;
    let (first, second) = (progress(20, None), progress(70, Some("sieben \"Zehntel\"")));
    let tell = |progress: &Progress| [(scene.tenant.id, id, job.lease.token, progress.clone())];
    assert_eq!(stores.jobs.progress(&tell(&first), at(10)).await?, [true]);
    assert_eq!(scene.consistent(id, at(10)).await?.progress, first);
    assert_eq!(stores.jobs.progress(&tell(&second), at(20)).await?, [true]);
    let shown = scene.consistent(id, at(20)).await?;
    assert_eq!((shown.progress, shown.seq, shown.updated_at), (second.clone(), 4, at(20)));
    scene.settle(&job, success(), at(30)).await?;
    let shown = scene.consistent(id, at(30)).await?;
    assert_eq!((shown.progress, shown.seq), (second.clone(), 5));
    let entries = [
        event::progressed(3, &scene.worker, &first, at(10)),
        event::progressed(4, &scene.worker, &second, at(20)),
    ];
    assert_eq!(scene.history(id).await?[2..4], entries);
    Ok(())
}

/// Progress under a lease that is not held changes nothing.
pub async fn progress_needs_the_lease(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    scene.put([scene.job(1)?, scene.job(2)?, scene.job(3)?]).await?;
    let jobs = scene.claim(3, at(5)).await?;
    scene.settle(&jobs[1], success(), at(6)).await?;
    let before = [scene.look(job_id(1), at(7)).await?, scene.look(job_id(2), at(7)).await?];
    let stranger = scene.tenant("stranger").await?;
    let told = progress(50, None);
    let reports = [
        (scene.tenant.id, job_id(1), false_token(), told.clone()),
        (scene.tenant.id, job_id(2), jobs[1].lease.token, told.clone()),
        (stranger.id, job_id(1), jobs[0].lease.token, told.clone()),
        (scene.tenant.id, job_id(3), jobs[2].lease.token, told.clone()),
        (scene.tenant.id, job_id(9), jobs[0].lease.token, told),
    ];
    assert_eq!(stores.jobs.progress(&reports, at(10)).await?, [false, false, false, true, false]);
    let after = [scene.look(job_id(1), at(10)).await?, scene.look(job_id(2), at(10)).await?];
    assert_eq!(after, before);
    assert_eq!(scene.consistent(job_id(3), at(10)).await?.seq, 3);
    assert!(stores.jobs.progress(&[], at(10)).await?.is_empty());
    Ok(())
}

/// A worker may tell several steps of one job in one call.
pub async fn progress_may_come_in_bundles(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    scene.put([scene.job(1)?, scene.job(2)?]).await?;
    let jobs = scene.claim(2, at(5)).await?;
    let tell =
        |n: usize, percent| (scene.tenant.id, jobs[n].spec.id, jobs[n].lease.token, progress(percent, None));
    let reports = [tell(0, 10), tell(1, 11), tell(0, 20), tell(0, 30)];
    assert_eq!(stores.jobs.progress(&reports, at(10)).await?, [true; 4]);
    let (first, second) =
        (scene.consistent(job_id(1), at(10)).await?, scene.consistent(job_id(2), at(10)).await?);
    assert_eq!((first.progress.percent, first.seq), (30, 5));
    assert_eq!((second.progress.percent, second.seq), (11, 3));
    Ok(())
}
