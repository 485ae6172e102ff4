//! Looking at one job's past: attempts and entries, page by page.

use anyhow::{Context as _, Result};
use taskflow_application::ports::Stores;
use taskflow_domain::event::{History, NumberedAttempt};
use taskflow_domain::{Actor, JobEvent, Priority, Progress, Verdict, change};

use crate::builders::{Scene, at, failure, job_id, policy, report, success};

/// An absent job has no past.
pub async fn an_absent_job_has_no_past(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    assert_eq!(stores.reader.get(scene.tenant.id, job_id(1), at(0)).await?, None);
    assert_eq!(stores.reader.attempts(scene.tenant.id, job_id(1), 0, 10).await?, None);
    assert_eq!(stores.reader.events(scene.tenant.id, job_id(1), 0, 10).await?, None);
    Ok(())
}

/// A job that never ran has no attempts, which is not the same.
pub async fn a_fresh_job_has_no_attempts(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let id = scene.put_one(scene.job(1)?).await?;
    assert_eq!(stores.reader.attempts(scene.tenant.id, id, 0, 10).await?, Some(Vec::new()));
    assert_eq!(stores.reader.events(scene.tenant.id, id, 1, 10).await?, Some(Vec::new()));
    Ok(())
}

/// The history is what the domain puts together from attempts and the rest.
pub async fn the_history_is_the_domains(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let draft = scene.job(1)?.policy(policy(9, 0)).created(at(-5));
    let id = scene.put_one(draft).await?;
    let mut history =
        History { created_at: at(-5), created_by: Actor::api(), attempts: Vec::new(), recorded: Vec::new() };
    let mut seq = 1;
    for (verdict, ms) in [(failure(), 10), (Verdict::Interrupted, 20), (Verdict::Lost, 30), (success(), 40)] {
        let operator = Actor::worker(&scene.worker);
        let held = change::pause(&scene.look(id, at(ms)).await?, operator.clone(), at(ms))?;
        scene.done(&held).await?;
        let freed = change::resume(&scene.look(id, at(ms)).await?, operator, at(ms))?;
        scene.done(&freed).await?;
        let job = scene.claim_one(at(ms)).await?;
        let told = Progress { percent: 50, ..Progress::default() };
        stores.jobs.progress(&[(scene.tenant.id, id, job.lease.token, told.clone())], at(ms + 1)).await?;
        let end = report(&job.lease, verdict, at(ms + 2));
        scene.done(&end).await?;
        for (offset, made) in [(1, &held), (2, &freed)] {
            let (kind, actor, data) = made.event.clone().context("an entry")?;
            history.recorded.push(JobEvent { seq: seq + offset, kind, at: made.at, actor, data });
        }
        history.recorded.push(taskflow_domain::event::progressed(seq + 4, &scene.worker, &told, at(ms + 1)));
        let attempt = end.attempt.context("an attempt")?;
        history.attempts.push(NumberedAttempt { attempt, started_seq: seq + 3, ended_seq: Some(seq + 5) });
        seq += 5;
    }
    let expected = history.events();
    assert_eq!(scene.history(id).await?, expected);
    assert_eq!(scene.consistent(id, at(50)).await?.seq as usize, expected.len());
    Ok(())
}

/// Pages of attempts and of entries follow each other without gap or overlap,
/// the running attempt last.
pub async fn the_past_comes_in_pages(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let id = scene.put_one(scene.job(1)?.policy(policy(9, 0))).await?;
    for n in 0..5 {
        let job = scene.claim_one(at(n)).await?;
        scene.settle(&job, failure(), at(n)).await?;
    }
    scene.claim_one(at(9)).await?;
    let reader = &stores.reader;
    let whole = reader.attempts(scene.tenant.id, id, 0, 100).await?.context("attempts")?;
    assert_eq!(whole.len(), 6);
    assert!(whole[5].end.is_none() && whole[..5].iter().all(|attempt| attempt.end.is_some()));
    let mut parts = Vec::new();
    for after in [0, 2, 4, 6] {
        let part = reader.attempts(scene.tenant.id, id, after, 2).await?.context("attempts")?;
        assert!(part.len() <= 2);
        parts.extend(part);
    }
    assert_eq!(parts, whole);
    let whole = scene.history(id).await?;
    assert_eq!(whole.len(), 12);
    let mut parts = Vec::new();
    for after in [0, 5, 10, 15] {
        parts.extend(reader.events(scene.tenant.id, id, after, 5).await?.context("entries")?);
    }
    assert_eq!(parts, whole);
    Ok(())
}

/// The time of the last change is that of the last step.
pub async fn a_job_tells_when_it_changed(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let id = scene.put_one(scene.job(1)?.policy(policy(9, 100)).created(at(1))).await?;
    assert_eq!(scene.look(id, at(2)).await?.updated_at, at(1));
    let job = scene.claim_one(at(5)).await?;
    assert_eq!(scene.look(id, at(6)).await?.updated_at, at(5));
    scene.settle(&job, failure(), at(7)).await?;
    assert_eq!(scene.look(id, at(8)).await?.updated_at, at(7));
    let job = scene.look(id, at(9)).await?;
    let ended = change::cancel(&job, Actor::api(), None, at(9))?.context("a change")?;
    scene.done(&ended).await?;
    assert_eq!(scene.look(id, at(10)).await?.updated_at, at(9));
    Ok(())
}

/// Changes of a running job count too, though it goes on running.
pub async fn a_running_job_tells_when_it_changed(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let id = scene.put_one(scene.job(1)?.created(at(1))).await?;
    scene.claim_one(at(5)).await?;
    let running = scene.look(id, at(6)).await?;
    let edit = change::Edit { priority: Some(Priority::High), ..change::Edit::default() };
    scene.done(&change::edit(&running, edit, Actor::api(), at(7))?).await?;
    assert_eq!(scene.consistent(id, at(8)).await?.updated_at, at(7));
    let running = scene.look(id, at(8)).await?;
    scene.done(&change::cancel(&running, Actor::api(), None, at(9))?.context("a change")?).await?;
    assert_eq!(scene.consistent(id, at(10)).await?.updated_at, at(9));
    Ok(())
}

/// The last failure does not disappear when the next attempt begins.
pub async fn the_last_error_outlasts_the_next_start(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let id = scene.put_one(scene.job(1)?.policy(policy(9, 0))).await?;
    let job = scene.claim_one(at(5)).await?;
    assert_eq!(scene.consistent(id, at(6)).await?.last_error, None);
    scene.settle(&job, failure(), at(7)).await?;
    let failed = scene.consistent(id, at(8)).await?.last_error;
    assert!(failed.is_some());
    let job = scene.claim_one(at(9)).await?;
    assert_eq!(scene.consistent(id, at(9)).await?.last_error, failed);
    scene.settle(&job, success(), at(10)).await?;
    assert_eq!(scene.consistent(id, at(11)).await?.last_error, None);
    Ok(())
}
