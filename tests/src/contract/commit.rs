//! Committing the ends of attempts: the fence, and everything that goes with them.

use anyhow::{Context as _, Result};
use taskflow_application::ports::{Committed, Stores};
use taskflow_domain::{
    AttemptError, Counters, Decision, Delay, Job, JobChange, JobId, JobState, Json, LeaseToken, Outcome,
    Standing, TenantId, Verdict, event,
};

use crate::builders::{Scene, at, failure, false_token, job_id, permanent_failure, policy, report, success};

/// Settles the first attempt of a fresh job at 20 ms and compares all that is
/// shown of it with what the domain decided.
async fn settled_as_decided(stores: &Stores, verdict: Verdict) -> Result<(Job, JobChange)> {
    let scene = Scene::new(stores).await?;
    let id = scene.put_one(scene.job(1)?.policy(policy(2, 1_000))).await?;
    let claimed = scene.claim_one(at(10)).await?;
    let change = report(&claimed.lease, verdict, at(20));
    scene.done(&change).await?;
    let job = scene.consistent(id, at(20)).await?;
    let Decision::Move(standing) = &change.decision else { anyhow::bail!("the attempt ended") };
    assert_eq!((&job.standing, job.counters, job.seq), (standing, change.counters, 3));
    assert_eq!(job.last_attempt, change.attempt);
    let attempt = change.attempt.as_ref().context("an attempt")?;
    let end = attempt.end.as_ref().context("its end")?;
    let history = scene.history(id).await?;
    assert_eq!(history[1..], [event::started(2, attempt), event::ended(3, attempt, end)]);
    let again = scene.commit(&change).await?;
    assert_eq!(again, Committed::Refused, "an attempt ends once");
    assert_eq!(scene.consistent(id, at(20)).await?, job);
    scene.healthy(at(20)).await?;
    Ok((job, change))
}

/// A success ends the job and keeps its result, text for text.
pub async fn a_success_ends_the_job(stores: &Stores) -> Result<()> {
    let result = Json::from_valid("{\"status\": 200, \"body\":{\"z\":1.0,\"a\":\"ü\"}}");
    let (job, _) = settled_as_decided(stores, Verdict::Succeeded { result: Some(result.clone()) }).await?;
    assert_eq!(job.standing.state(), JobState::Succeeded);
    let end = job.last_attempt.and_then(|attempt| attempt.end).context("an end")?;
    assert_eq!((end.outcome, end.result), (Outcome::Succeeded, Some(result)));
    Ok(())
}

/// A failure sends the job back until its next attempt.
pub async fn a_failure_is_tried_again(stores: &Stores) -> Result<()> {
    let (job, _) = settled_as_decided(stores, failure()).await?;
    assert_eq!(job.standing, Standing::Scheduled { due: at(1_020), delay: Delay::Retry });
    let scene = Scene::new(stores).await?;
    assert!(scene.claim(1, at(1_019)).await?.is_empty(), "no attempt before its time");
    stores.jobs.promote(at(1_020), 10).await?;
    let claimed = scene.claim_one(at(1_020)).await?;
    assert_eq!((claimed.lease.due, claimed.lease.counters.attempt), (at(1_020), 2));
    Ok(())
}

/// A failure that asks for a time is tried again at that time.
pub async fn a_failure_may_ask_for_a_time(stores: &Stores) -> Result<()> {
    let error = AttemptError { kind: "http_status".into(), message: "429".into() };
    let verdict = Verdict::Failed { error, result: None, permanent: false, retry_after_ms: Some(77) };
    let (job, _) = settled_as_decided(stores, verdict).await?;
    assert_eq!(job.standing, Standing::Scheduled { due: at(97), delay: Delay::Retry });
    Ok(())
}

/// A permanent failure ends the job and says so.
pub async fn a_permanent_failure_ends_the_job(stores: &Stores) -> Result<()> {
    let (job, _) = settled_as_decided(stores, permanent_failure()).await?;
    let reason = Some("permanent_failure".to_owned());
    assert_eq!(job.standing, Standing::Ended { state: JobState::Failed, reason, at: at(20) });
    Ok(())
}

/// A timeout counts as a failure.
pub async fn a_timeout_is_tried_again(stores: &Stores) -> Result<()> {
    let (job, _) = settled_as_decided(stores, Verdict::TimedOut { after_ms: 5 }).await?;
    assert_eq!((job.standing.state(), job.counters.spent), (JobState::Scheduled, 1));
    Ok(())
}

/// A job that its worker hands back is due at once and spends nothing.
pub async fn an_interrupted_job_is_due_at_once(stores: &Stores) -> Result<()> {
    let (job, _) = settled_as_decided(stores, Verdict::Interrupted).await?;
    assert_eq!(job.standing, Standing::Pending { due: at(20) });
    assert_eq!(job.counters, Counters { attempt: 1, interrupted: 1, ..Counters::default() });
    let scene = Scene::new(stores).await?;
    assert_eq!(scene.claim_ids(1, at(20)).await?, [job_id(1)], "claimable when the commit returns");
    Ok(())
}

/// A snoozed job waits as long as it asked for.
pub async fn a_snoozed_job_waits(stores: &Stores) -> Result<()> {
    let (job, _) = settled_as_decided(stores, Verdict::Snoozed { for_ms: 500 }).await?;
    assert_eq!(job.standing, Standing::Scheduled { due: at(520), delay: Delay::Snooze });
    assert_eq!(job.counters, Counters { attempt: 1, snoozed: 1, ..Counters::default() });
    Ok(())
}

/// A job whose worker was lost is due at once.
pub async fn a_lost_job_is_due_at_once(stores: &Stores) -> Result<()> {
    let (job, _) = settled_as_decided(stores, Verdict::Lost).await?;
    assert_eq!(job.standing, Standing::Pending { due: at(20) });
    assert_eq!(job.counters, Counters { attempt: 1, spent: 1, lost: 1, ..Counters::default() });
    Ok(())
}

/// A job that stopped because it was told to is CANCELLED.
pub async fn a_stopped_job_is_cancelled(stores: &Stores) -> Result<()> {
    let (job, _) = settled_as_decided(stores, Verdict::Cancelled).await?;
    let reason = Some("cancelled".to_owned());
    assert_eq!(job.standing, Standing::Ended { state: JobState::Cancelled, reason, at: at(20) });
    Ok(())
}

/// The last failure that the policy allows ends the job.
pub async fn a_spent_budget_ends_the_job(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let id = scene.put_one(scene.job(1)?.policy(policy(1, 1_000))).await?;
    let claimed = scene.claim_one(at(10)).await?;
    scene.settle(&claimed, failure(), at(20)).await?;
    let reason = Some("attempts_exhausted".to_owned());
    let job = scene.consistent(id, at(20)).await?;
    assert_eq!(job.standing, Standing::Ended { state: JobState::Dead, reason, at: at(20) });
    scene.healthy(at(20)).await
}

/// A token that is not that of the lease changes nothing.
pub async fn a_false_token_is_refused(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let id = scene.put_one(scene.job(1)?).await?;
    let claimed = scene.claim_one(at(10)).await?;
    let before = scene.consistent(id, at(10)).await?;
    let mut lease = claimed.lease.clone();
    lease.token = false_token();
    assert_eq!(scene.commit(&report(&lease, success(), at(20))).await?, Committed::Refused);
    assert_eq!(scene.consistent(id, at(20)).await?, before);
    scene.settle(&claimed, success(), at(30)).await?;
    scene.healthy(at(30)).await
}

/// The token of an earlier attempt changes nothing, whatever its worker reports.
pub async fn a_stale_token_is_refused(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let id = scene.put_one(scene.job(1)?).await?;
    let first = scene.claim_one(at(10)).await?;
    scene.settle(&first, Verdict::Lost, at(20)).await?;
    for verdict in [success(), failure(), Verdict::Lost, Verdict::Cancelled] {
        assert_eq!(scene.commit(&report(&first.lease, verdict, at(25))).await?, Committed::Refused);
    }
    let second = scene.claim_one(at(30)).await?;
    let before = scene.consistent(id, at(30)).await?;
    for verdict in [success(), failure(), Verdict::Lost, Verdict::Cancelled] {
        assert_eq!(scene.commit(&report(&first.lease, verdict, at(35))).await?, Committed::Refused);
    }
    assert_eq!(scene.consistent(id, at(30)).await?, before);
    scene.settle(&second, success(), at(40)).await?;
    assert_eq!(scene.commit(&report(&first.lease, failure(), at(45))).await?, Committed::Refused);
    assert_eq!(scene.consistent(id, at(50)).await?.standing.state(), JobState::Succeeded);
    scene.healthy(at(50)).await
}

/// A change of a job that does not exist, or is another tenant's, is refused.
pub async fn an_absent_job_is_refused(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let stranger = scene.tenant("stranger").await?;
    scene.put_one(scene.job(1)?).await?;
    let claimed = scene.claim_one(at(10)).await?;
    let with = |tenant: TenantId, job: JobId, token: LeaseToken| {
        let mut lease = claimed.lease.clone();
        (lease.tenant, lease.job, lease.token) = (tenant, job, token);
        report(&lease, success(), at(20))
    };
    let token = claimed.lease.token;
    let changes = [with(stranger.id, job_id(1), token), with(scene.tenant.id, job_id(2), token)];
    assert_eq!(stores.jobs.commit(&changes).await?, [Committed::Refused; 2]);
    scene.settle(&claimed, success(), at(20)).await
}

/// Each change of a batch stands for itself, and the answers are in their order.
pub async fn a_batch_is_answered_in_order(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let mut drafts = Vec::new();
    for n in 0..100 {
        drafts.push(scene.job(n)?.queue(&format!("q-{}", n % 3))?.kind(&format!("k-{}", n % 4))?);
    }
    scene.put(drafts).await?;
    let mut claimed = scene.claim(100, at(0)).await?;
    while claimed.len() < 100 {
        claimed.extend(scene.claim(100, at(0)).await?);
    }
    let mut changes = Vec::new();
    let mut expected = Vec::new();
    for (index, job) in claimed.iter().enumerate() {
        let mut lease = job.lease.clone();
        let stale = index % 7 == 3;
        if stale {
            lease.token = false_token();
        }
        let verdict = if index % 2 == 0 { success() } else { failure() };
        changes.push(report(&lease, verdict, at(5)));
        expected.push(if stale { Committed::Refused } else { Committed::Done });
    }
    assert_eq!(stores.jobs.commit(&changes).await?, expected);
    for (job, (change, answer)) in claimed.iter().zip(changes.iter().zip(&expected)) {
        let shown = scene.consistent(job.spec.id, at(5)).await?;
        match (&change.decision, answer) {
            (Decision::Move(standing), Committed::Done) => assert_eq!(&shown.standing, standing),
            _ => assert_eq!(shown.standing.state(), JobState::Running),
        }
    }
    assert_eq!(stores.jobs.commit(&[]).await?, []);
    scene.healthy(at(5)).await
}

/// Of two changes of one job in one call the second is refused.
pub async fn the_second_change_of_one_job_is_refused(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    scene.put([scene.job(1)?, scene.job(2)?]).await?;
    let jobs = scene.claim(2, at(0)).await?;
    let changes = [
        report(&jobs[0].lease, Verdict::Interrupted, at(5)),
        report(&jobs[1].lease, success(), at(5)),
        report(&jobs[0].lease, success(), at(5)),
        report(&jobs[1].lease, failure(), at(5)),
    ];
    let (done, refused) = (Committed::Done, Committed::Refused);
    assert_eq!(stores.jobs.commit(&changes).await?, [done, done, refused, refused]);
    assert_eq!(scene.consistent(job_id(1), at(5)).await?.standing.state(), JobState::Pending);
    assert_eq!(scene.consistent(job_id(2), at(5)).await?.standing.state(), JobState::Succeeded);
    scene.healthy(at(5)).await
}

/// A late report in the same call does not stand in the way of the one that
/// counts.
pub async fn a_late_report_hinders_no_other(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    scene.put([scene.job(1)?, scene.job(2)?]).await?;
    let late = scene.claim(2, at(0)).await?;
    for job in &late {
        scene.settle(job, Verdict::Lost, at(5)).await?;
    }
    let jobs = scene.claim(2, at(6)).await?;
    let changes = [
        report(&late[0].lease, success(), at(10)),
        report(&late[1].lease, failure(), at(10)),
        report(&jobs[0].lease, success(), at(10)),
        report(&jobs[1].lease, failure(), at(10)),
        report(&jobs[1].lease, success(), at(10)),
    ];
    let (done, refused) = (Committed::Done, Committed::Refused);
    assert_eq!(stores.jobs.commit(&changes).await?, [refused, refused, done, done, refused]);
    assert_eq!(scene.consistent(job_id(1), at(10)).await?.standing.state(), JobState::Succeeded);
    assert_eq!(scene.consistent(job_id(2), at(10)).await?.standing.state(), JobState::Scheduled);
    scene.healthy(at(10)).await
}

/// Of two changes with the same fence only the first is looked at, also if it is
/// refused.
pub async fn the_first_of_two_with_one_fence_counts(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let id = scene.put_one(scene.job(1)?).await?;
    let job = scene.claim_one(at(0)).await?;
    let running = scene.look(id, at(1)).await?;
    let cancel = taskflow_domain::change::cancel(&running, taskflow_domain::Actor::api(), None, at(1))?;
    scene.done(&cancel.context("a change")?).await?;
    let changes = [report(&job.lease, failure(), at(5)), report(&job.lease, success(), at(5))];
    assert_eq!(stores.jobs.commit(&changes).await?, [Committed::Refused; 2]);
    scene.settle(&job, success(), at(6)).await?;
    scene.healthy(at(6)).await
}

/// What the domain decided is what the store keeps, over many attempts.
pub async fn a_long_life_is_told_whole(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let id = scene.put_one(scene.job(1)?.policy(policy(4, 100))).await?;
    let verdicts = [
        failure(),
        Verdict::Interrupted,
        Verdict::Snoozed { for_ms: 50 },
        Verdict::Lost,
        failure(),
        failure(),
    ];
    let mut now = at(0);
    let mut expected = scene.history(id).await?;
    for (verdict, number) in verdicts.into_iter().zip(1u32..) {
        now = now.plus_millis(1_000);
        stores.jobs.promote(now, 10).await?;
        let claimed = scene.claim_one(now).await?;
        let change = report(&claimed.lease, verdict, now.plus_millis(1));
        scene.done(&change).await?;
        let attempt = change.attempt.context("an attempt")?;
        let end = attempt.end.clone().context("its end")?;
        expected.push(event::started(number * 2, &attempt));
        expected.push(event::ended(number * 2 + 1, &attempt, &end));
        scene.consistent(id, now).await?;
    }
    assert_eq!(scene.history(id).await?, expected);
    let job = scene.look(id, now).await?;
    assert_eq!((job.standing.state(), job.counters.attempt, job.counters.spent), (JobState::Dead, 6, 4));
    scene.healthy(now).await
}
