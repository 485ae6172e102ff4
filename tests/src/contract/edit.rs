//! What operators change of a job: its labels, its priority, its time.

use anyhow::Result;
use taskflow_application::ports::{Committed, Extended, JobFilter, Page, Stores};
use taskflow_domain::{Edit, EventKind, JobId, Labels, Priority, Verdict, change};

use super::control::{edited, operator, standing_jobs};
use crate::builders::{Scene, at, job_id};

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

async fn with_label(scene: &Scene<'_>, key: &str, value: &str) -> Result<Vec<JobId>> {
    let filter = JobFilter { labels: labels(&[(key, value)]), ..JobFilter::default() };
    let page = Page { before: None, limit: 10 };
    Ok(scene.stores.reader.ids(scene.tenant.id, &filter, page, at(0)).await?)
}

/// Labels, priority and time change in every state before RUNNING.
pub async fn a_standing_job_is_edited(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    for id in standing_jobs(&scene).await? {
        let edit = Edit {
            priority: Some(Priority::Critical),
            labels: Some(labels(&[("a", "1"), ("b", "2")])),
            run_at: Some(at(9_000)),
        };
        let job = edited(&scene, id, edit.clone(), at(10)).await?;
        assert_eq!((job.spec.priority, job.spec.run_at), (Priority::Critical, at(9_000)));
        assert_eq!(Some(&job.spec.labels), edit.labels.as_ref());
        let job = edited(&scene, id, Edit { labels: Some(labels(&[("b", "3")])), ..Edit::default() }, at(20))
            .await?;
        assert_eq!((job.spec.priority, job.spec.run_at), (Priority::Critical, at(9_000)));
        assert_eq!(job.spec.labels, labels(&[("b", "3")]));
    }
    assert_eq!(with_label(&scene, "a", "1").await?, []);
    assert_eq!(with_label(&scene, "b", "2").await?, []);
    assert_eq!(with_label(&scene, "b", "3").await?, [4, 3, 2, 1].map(job_id));
    assert!(scene.claim(10, at(20)).await?.is_empty(), "all of them were put off");
    scene.healthy(at(20)).await
}

/// A new priority and a new time take effect at once.
pub async fn an_edit_changes_the_order(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    scene.put([scene.job(1)?, scene.job(2)?, scene.job(3)?, scene.job(4)?.scheduled(at(5_000))]).await?;
    let urgent = Edit { priority: Some(Priority::Critical), ..Edit::default() };
    edited(&scene, job_id(3), urgent, at(1)).await?;
    edited(&scene, job_id(1), Edit { run_at: Some(at(100)), ..Edit::default() }, at(1)).await?;
    edited(&scene, job_id(4), Edit { run_at: Some(at(-10)), ..Edit::default() }, at(1)).await?;
    assert_eq!(scene.claim_ids(10, at(2)).await?, [3, 4, 2].map(job_id));
    stores.jobs.promote(at(100), 10).await?;
    assert_eq!(scene.claim_ids(10, at(100)).await?, [job_id(1)]);
    scene.healthy(at(100)).await
}

/// Labels and priority of a running job change without disturbing it.
pub async fn a_running_job_keeps_running_when_edited(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let id = scene.put_one(scene.job(1)?.label("a", "1")).await?;
    let claimed = scene.claim_one(at(5)).await?;
    let before = scene.look(id, at(5)).await?;
    assert!(
        change::edit(&before, Edit { run_at: Some(at(9)), ..Edit::default() }, operator()?, at(6)).is_err()
    );
    let edit = Edit { priority: Some(Priority::Low), labels: Some(labels(&[("b", "2")])), ..Edit::default() };
    let change = change::edit(&before, edit, operator()?, at(6))?;
    scene.done(&change).await?;
    let job = scene.consistent(id, at(6)).await?;
    assert_eq!((&job.standing, job.counters, job.seq), (&before.standing, before.counters, 3));
    assert_eq!((job.spec.priority, &job.spec.labels), (Priority::Low, &labels(&[("b", "2")])));
    assert_eq!(with_label(&scene, "a", "1").await?, []);
    assert_eq!(with_label(&scene, "b", "2").await?, [id]);
    let extended = stores.jobs.extend(&[(scene.tenant.id, id, claimed.lease.token)], at(99_000)).await?;
    assert_eq!(
        extended,
        [Extended::Held { cancel: false, timeout_at: at(30_005) }],
        "its lease is untouched"
    );
    scene.settle(&claimed, Verdict::Interrupted, at(10)).await?;
    scene.put([scene.job(2)?]).await?;
    assert_eq!(scene.claim_ids(2, at(10)).await?, [job_id(2), id], "its new priority counts from now on");
    let history: Vec<_> = scene.history(id).await?.into_iter().map(|event| event.kind).collect();
    let expected = [
        EventKind::Created,
        EventKind::Started,
        EventKind::Rescheduled,
        EventKind::Interrupted,
        EventKind::Started,
    ];
    assert_eq!(history, expected);
    scene.healthy(at(10)).await
}

/// An edit of a running job whose lease is gone is refused.
pub async fn an_edit_of_a_lost_lease_is_refused(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let id = scene.put_one(scene.job(1)?).await?;
    let claimed = scene.claim_one(at(5)).await?;
    let running = scene.look(id, at(5)).await?;
    let edit = Edit { labels: Some(labels(&[("a", "1")])), ..Edit::default() };
    let change = change::edit(&running, edit, operator()?, at(20))?;
    scene.settle(&claimed, Verdict::Interrupted, at(10)).await?;
    let before = scene.consistent(id, at(10)).await?;
    assert_eq!(scene.commit(&change).await?, Committed::Refused);
    assert_eq!(scene.consistent(id, at(10)).await?, before);
    assert_eq!(with_label(&scene, "a", "1").await?, []);
    Ok(())
}
