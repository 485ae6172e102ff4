//! Looking at many jobs: filters, pages, counts.

use anyhow::Result;
use taskflow_application::ports::{JobFilter, Page, Stores};
use taskflow_domain::{Actor, CorrelationId, JobId, JobState, Labels, Priority, RuleId, Timestamp, change};

use crate::builders::{Draft, Scene, at, failure, job_id, kind, permanent_failure, policy, queue, success};

const ALL: Page = Page { before: None, limit: 1_000 };

/// The numbers of the jobs that meet `filter`; list, ids and count must agree.
async fn found(scene: &Scene<'_>, filter: &JobFilter, now: Timestamp) -> Result<Vec<JobId>> {
    let reader = &scene.stores.reader;
    let ids = reader.ids(scene.tenant.id, filter, ALL, now).await?;
    let jobs = reader.list(scene.tenant.id, filter, ALL, now).await?;
    assert_eq!(jobs.iter().map(|job| job.spec.id).collect::<Vec<_>>(), ids);
    assert_eq!(reader.get_many(scene.tenant.id, &ids, now).await?, jobs, "a list shows what a look shows");
    assert_eq!(reader.count(scene.tenant.id, filter, now).await?, ids.len() as u64);
    assert!(ids.is_sorted_by(|left, right| left > right), "newest first");
    Ok(ids)
}

fn ids<const N: usize>(numbers: [u32; N]) -> [JobId; N] {
    numbers.map(job_id)
}

/// No filter finds every job of the tenant.
pub async fn no_filter_finds_all(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let none = JobFilter::default();
    assert_eq!(found(&scene, &none, at(0)).await?, []);
    scene.put([scene.job(2)?, scene.job(1)?, scene.job(3)?.scheduled(at(9))]).await?;
    assert_eq!(found(&scene, &none, at(0)).await?, ids([3, 2, 1]));
    Ok(())
}

/// Pages follow each other without gap or overlap, while new jobs come in.
pub async fn pages_are_stable(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    for n in 0..25 {
        scene.put_one(scene.job(n)?.queue(&format!("q-{}", n % 3))?).await?;
    }
    scene.claim(7, at(1)).await?;
    let filter = JobFilter::default();
    let (mut seen, mut before) = (Vec::new(), None);
    for round in 0.. {
        let page = Page { before, limit: 4 };
        let part = stores.reader.ids(scene.tenant.id, &filter, page, at(1)).await?;
        let listed = stores.reader.list(scene.tenant.id, &filter, page, at(1)).await?;
        assert_eq!(listed.iter().map(|job| job.spec.id).collect::<Vec<_>>(), part);
        assert!(part.len() <= 4);
        let Some(last) = part.last() else { break };
        before = Some(*last);
        seen.extend(part);
        scene.put_one(scene.job(100 + round)?).await?;
    }
    assert_eq!(seen, (0..25).rev().map(job_id).collect::<Vec<_>>());
    Ok(())
}

/// Several jobs at once, in the order of the ids, without the absent ones.
pub async fn many_jobs_in_the_order_of_the_ids(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    scene.put([scene.job(1)?, scene.job(2)?.scheduled(at(9)), scene.job(3)?]).await?;
    scene.claim(1, at(0)).await?;
    let jobs = stores.reader.get_many(scene.tenant.id, &ids([3, 9, 1, 2]), at(0)).await?;
    assert_eq!(jobs.iter().map(|job| job.spec.id).collect::<Vec<_>>(), ids([3, 1, 2]));
    for job in jobs {
        assert_eq!(scene.look(job.spec.id, at(0)).await?, job);
    }
    assert_eq!(stores.reader.get_many(scene.tenant.id, &[], at(0)).await?, []);
    Ok(())
}

/// One job in each state: the number of the job is that of the state.
async fn one_of_each(scene: &Scene<'_>) -> Result<()> {
    let one = |n| -> Result<Draft> { Ok(scene.job(n)?.policy(policy(1, 0))) };
    scene.put([one(0)?.waiting(), one(1)?.scheduled(at(500)), one(4)?.scheduled(at(500))]).await?;
    let held = change::pause(&scene.look(job_id(4), at(1)).await?, Actor::api(), at(1))?;
    scene.done(&held).await?;
    for (n, verdict) in
        [(5, success()), (6, permanent_failure()), (7, failure()), (8, taskflow_domain::Verdict::Cancelled)]
    {
        scene.put_one(one(n)?).await?;
        let job = scene.claim_one(at(2)).await?;
        scene.settle(&job, verdict, at(3)).await?;
    }
    scene.put_one(one(3)?).await?;
    scene.claim_one(at(4)).await?;
    scene.put_one(one(2)?).await?;
    Ok(())
}

/// Each state can be asked for, alone and with others.
pub async fn states_filter(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    one_of_each(&scene).await?;
    for state in JobState::ALL {
        let filter = JobFilter { states: vec![state], ..JobFilter::default() };
        assert_eq!(found(&scene, &filter, at(10)).await?, ids([state as u32]), "{state}");
    }
    let states = vec![JobState::Running, JobState::Dead, JobState::Waiting, JobState::Pending];
    let filter = JobFilter { states, ..JobFilter::default() };
    assert_eq!(found(&scene, &filter, at(10)).await?, ids([7, 3, 2, 0]));
    let filter = JobFilter { states: JobState::ALL.to_vec(), ..JobFilter::default() };
    assert_eq!(found(&scene, &filter, at(10)).await?.len(), 9);
    Ok(())
}

/// A scheduled job whose time has come shows as PENDING, also before it is
/// promoted.
pub async fn a_due_job_shows_as_pending(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    scene.put([scene.job(1)?.scheduled(at(500)), scene.job(2)?, scene.job(3)?.scheduled(at(900))]).await?;
    let of = |state| JobFilter { states: vec![state], ..JobFilter::default() };
    let both = JobFilter { states: vec![JobState::Scheduled, JobState::Pending], ..JobFilter::default() };
    assert_eq!(found(&scene, &of(JobState::Scheduled), at(499)).await?, ids([3, 1]));
    assert_eq!(found(&scene, &of(JobState::Pending), at(499)).await?, ids([2]));
    for _ in 0..2 {
        assert_eq!(found(&scene, &of(JobState::Scheduled), at(500)).await?, ids([3]));
        assert_eq!(found(&scene, &of(JobState::Pending), at(500)).await?, ids([2, 1]));
        assert_eq!(found(&scene, &both, at(500)).await?, ids([3, 2, 1]));
        stores.jobs.promote(at(500), 10).await?;
    }
    Ok(())
}

/// Every other filter, alone.
pub async fn each_filter_filters(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let cause = CorrelationId(job_id(77).0);
    let rule = RuleId(job_id(88).0);
    let mut drafts = vec![
        scene.job(1)?,
        scene.job(2)?.queue("other")?,
        scene.job(3)?.kind("mail")?,
        scene.job(4)?.priority(Priority::Critical),
        scene.job(5)?.created(at(50)),
        scene.job(6)?.label("a", "1").label("b", "2"),
        scene.job(7)?.label("a", "1"),
        scene.job(8)?.label("a", "2"),
        scene.job(9)?,
        scene.job(10)?,
    ];
    drafts[8].0.spec.correlation_id = cause;
    drafts[9].0.spec.rule_id = Some(rule);
    drafts[9].0.spec.correlation_id = cause;
    scene.put(drafts).await?;
    scene.claim(4, at(0)).await?;
    let none = JobFilter::default;
    let labels = |pairs: &[(&str, &str)]| -> Labels {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    let cases: [(JobFilter, &[u32]); 15] = [
        (JobFilter { queue: Some(queue("other")?), ..none() }, &[2]),
        (JobFilter { queue: Some(queue("no-such")?), ..none() }, &[]),
        (JobFilter { kind: Some(kind("mail")?), ..none() }, &[3]),
        (JobFilter { kind: Some(kind("no-such")?), ..none() }, &[]),
        (JobFilter { priority: Some(Priority::Critical), ..none() }, &[4]),
        (JobFilter { correlation_id: Some(cause), ..none() }, &[10, 9]),
        (JobFilter { correlation_id: Some(CorrelationId(job_id(1).0)), ..none() }, &[1]),
        (JobFilter { rule_id: Some(rule), ..none() }, &[10]),
        (JobFilter { labels: labels(&[("a", "1")]), ..none() }, &[7, 6]),
        (JobFilter { labels: labels(&[("a", "1"), ("b", "2")]), ..none() }, &[6]),
        (JobFilter { labels: labels(&[("a", "3")]), ..none() }, &[]),
        (JobFilter { created_after: Some(at(0)), ..none() }, &[5]),
        (JobFilter { created_after: Some(at(49)), created_before: Some(at(51)), ..none() }, &[5]),
        (JobFilter { created_before: Some(at(0)), ..none() }, &[]),
        (JobFilter { created_before: Some(at(50)), created_after: Some(at(50)), ..none() }, &[]),
    ];
    for (filter, expected) in cases {
        let expected: Vec<_> = expected.iter().map(|n| job_id(*n)).collect();
        assert_eq!(found(&scene, &filter, at(0)).await?, expected, "{filter:?}");
    }
    let old = JobFilter { created_before: Some(at(50)), ..none() };
    assert_eq!(found(&scene, &old, at(0)).await?.len(), 9);
    Ok(())
}

/// Everything that is given must hold, on every page.
pub async fn filters_combine(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    for n in 0..40 {
        let draft = scene.job(n)?.queue(if n % 2 == 0 { "even" } else { "odd" })?;
        let draft = draft.kind(if n % 3 == 0 { "mail" } else { "scan" })?.label("mod", &(n % 4).to_string());
        let priority = if n % 7 == 0 { Priority::High } else { Priority::Low };
        scene.put_one(draft.priority(priority).created(at(i64::from(n)))).await?;
    }
    scene.claim(10, at(100)).await?;
    let filter = JobFilter {
        states: vec![JobState::Pending, JobState::Running],
        queue: Some(queue("even")?),
        kind: Some(kind("mail")?),
        priority: Some(Priority::Low),
        labels: [("mod".into(), "2".into())].into(),
        created_after: Some(at(2)),
        created_before: Some(at(36)),
        ..JobFilter::default()
    };
    assert_eq!(found(&scene, &filter, at(100)).await?, ids([30, 18, 6]));
    let page = Page { before: Some(job_id(30)), limit: 10 };
    assert_eq!(stores.reader.ids(scene.tenant.id, &filter, page, at(100)).await?, ids([18, 6]));
    let page = Page { before: None, limit: 1 };
    assert_eq!(stores.reader.ids(scene.tenant.id, &filter, page, at(100)).await?, ids([30]));
    Ok(())
}
