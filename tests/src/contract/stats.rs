//! Statistics: sums by minute and hour, and what runners tell.

use anyhow::Result;
use taskflow_application::ports::{Bucket, LoopStatus, RunnerStatus, SeriesWish, Span, Stores};
use taskflow_application::tally::{Batch, Counts, Tally};
use taskflow_domain::{JobState, TenantId};

use crate::builders::{Draft, Scene, at, kind, queue};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

/// What is counted of a few jobs that were claimed and ended at `ms`.
async fn counted(scene: &Scene<'_>, tenant: TenantId, first: u32, ms: i64) -> Result<Batch> {
    let tally = Tally::default();
    let drafts = (first..first + 3).map(|n| Draft::new(tenant, n)?.queue("q")).collect::<Result<Vec<_>>>()?;
    scene.put(drafts).await?;
    let jobs = scene.claim(3, at(ms)).await?;
    let states = [JobState::Succeeded, JobState::Dead, JobState::Scheduled];
    tally.started(jobs.iter().map(|job| &job.lease));
    let ends = jobs.iter().zip(states);
    tally.ended(ends.map(|(job, state)| (&job.lease, at(ms + 10), 10_000, state)));
    Ok(tally.take())
}

fn wish(span: Span) -> SeriesWish {
    SeriesWish {
        span,
        since: at(0),
        until: at(10 * HOUR),
        tenant: None,
        queue: None,
        kind: None,
        by_tenant: false,
        by_queue: false,
        by_kind: false,
        limit: 100,
    }
}

fn three(wait_us: u64) -> Counts {
    Counts {
        started: 3,
        succeeded: 1,
        dead: 1,
        retried: 1,
        wait_us: 3 * wait_us,
        run_us: 30_000,
        ..Counts::default()
    }
}

/// Batches add up, by minute and by hour.
pub async fn figures_add_up(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    stores.stats.add(&Batch::default()).await?;
    let first = counted(&scene, scene.tenant.id, 0, 0).await?;
    stores.stats.add(&first).await?;
    let mut double = three(0);
    double.add(&three(0));
    stores.stats.add(&first).await?;
    stores.stats.add(&counted(&scene, scene.tenant.id, 10, MINUTE).await?).await?;
    let told = |buckets: Vec<Bucket>| -> Vec<_> {
        buckets.into_iter().map(|bucket| (bucket.at, bucket.counts)).collect()
    };
    let minutes = told(stores.stats.series(&wish(Span::Minute)).await?);
    let later = three(60_000_000);
    assert_eq!(minutes, [(at(MINUTE), later), (at(0), double)]);
    double.add(&later);
    assert_eq!(told(stores.stats.series(&wish(Span::Hour)).await?), [(at(0), double)]);
    let earlier = SeriesWish { until: at(MINUTE), ..wish(Span::Minute) };
    assert_eq!(stores.stats.series(&earlier).await?.len(), 1);
    let last = SeriesWish { limit: 1, ..wish(Span::Minute) };
    assert_eq!(told(stores.stats.series(&last).await?), [(at(MINUTE), later)]);
    Ok(())
}

/// One batch may hold several minutes of one hour, and minutes of two hours.
pub async fn a_batch_may_hold_several_minutes(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let mut batch = Batch::default();
    for (first, ms) in [(0, HOUR - 2 * MINUTE), (10, HOUR - MINUTE), (20, HOUR)] {
        let Batch { counts, durations } = counted(&scene, scene.tenant.id, first, ms).await?;
        batch.counts.extend(counts);
        batch.durations.extend(durations);
    }
    assert_eq!((batch.counts.len(), batch.durations.len()), (3, 3));
    stores.stats.add(&batch).await?;
    assert_eq!(stores.stats.series(&wish(Span::Minute)).await?.len(), 3);
    let started = |bucket: &Bucket| (bucket.at, bucket.counts.started);
    let hours: Vec<_> = stores.stats.series(&wish(Span::Hour)).await?.iter().map(started).collect();
    assert_eq!(hours, [(at(HOUR), 3), (at(0), 6)]);
    Ok(())
}

/// Tenants, queues and kinds are told apart, or not, as it is wished.
pub async fn figures_are_told_apart(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let other = scene.tenant("other").await?;
    stores.stats.add(&counted(&scene, scene.tenant.id, 0, 0).await?).await?;
    stores.stats.add(&counted(&scene, other.id, 10, 0).await?).await?;
    let all = SeriesWish { by_tenant: true, by_queue: true, by_kind: true, ..wish(Span::Minute) };
    let buckets = stores.stats.series(&all).await?;
    let names: Vec<_> = buckets.iter().map(|bucket| (bucket.tenant.clone(), bucket.queue.clone())).collect();
    let q = Some(queue("q")?);
    assert_eq!(names, [(Some(scene.tenant.slug.clone()), q.clone()), (Some(other.slug.clone()), q.clone())]);
    assert!(buckets.iter().all(|bucket| bucket.kind.as_ref().is_some_and(|kind| kind.as_str() == "work")));
    assert_eq!(stores.stats.series(&wish(Span::Minute)).await?.len(), 1, "together");
    let own =
        SeriesWish { tenant: Some(other.id), queue: q, kind: Some(kind("work")?), ..wish(Span::Minute) };
    assert_eq!(stores.stats.series(&own).await?[0].counts, three(0));
    let nowhere = SeriesWish { queue: Some(queue("nowhere")?), ..wish(Span::Minute) };
    assert_eq!(stores.stats.series(&nowhere).await?, []);
    Ok(())
}

/// What a queue did lately, with the spread of its waits and runs.
pub async fn the_latest_minutes_are_told(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    stores.stats.add(&counted(&scene, scene.tenant.id, 0, 0).await?).await?;
    stores.stats.add(&counted(&scene, scene.tenant.id, 10, 5 * MINUTE).await?).await?;
    let recent = stores.stats.recent(at(MINUTE)).await?;
    assert_eq!(recent.len(), 1);
    let (name, recent) = &recent[0];
    assert_eq!((name.as_str(), recent.counts), ("q", three(300_000_000)));
    assert_eq!((recent.durations.wait.count(), recent.durations.run.count()), (3, 3));
    let run = recent.durations.run.percentile(0.5).unwrap_or_default();
    assert!((9_000..=11_000).contains(&run), "{run}");
    Ok(())
}

/// What is old is forgotten, minutes sooner than hours.
pub async fn old_figures_go(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    stores.stats.add(&counted(&scene, scene.tenant.id, 0, 0).await?).await?;
    assert_eq!(stores.stats.forget(at(MINUTE), at(0), at(0)).await?, 1);
    assert_eq!(stores.stats.series(&wish(Span::Minute)).await?, []);
    assert_eq!(stores.stats.recent(at(0)).await?, []);
    assert_eq!(stores.stats.series(&wish(Span::Hour)).await?.len(), 1);
    assert_eq!(stores.stats.forget(at(HOUR), at(HOUR), at(0)).await?, 1);
    assert_eq!(stores.stats.series(&wish(Span::Hour)).await?, []);
    Ok(())
}

/// Runners come back as they told last, until they leave or are not heard of.
pub async fn runners_tell_of_their_loops(stores: &Stores) -> Result<()> {
    let sweep = LoopStatus {
        name: "sweep".into(),
        runs: 3,
        failures: 1,
        last_started_us: Some(at(5).micros()),
        last_took_us: Some(1_500),
        error: Some("the database is away".into()),
    };
    let mut runner = RunnerStatus { name: "b".into(), started_at: at(0), seen_at: at(1), loops: vec![] };
    stores.stats.tell(&runner).await?;
    runner.loops = vec![sweep];
    runner.seen_at = at(2);
    stores.stats.tell(&runner).await?;
    let first = RunnerStatus { name: "a".into(), ..runner.clone() };
    stores.stats.tell(&first).await?;
    assert_eq!(stores.stats.runners().await?, [first, runner.clone()]);
    stores.stats.leave("a").await?;
    assert_eq!(stores.stats.runners().await?, [runner]);
    stores.stats.forget(at(0), at(0), at(3)).await?;
    assert_eq!(stores.stats.runners().await?, []);
    Ok(())
}
