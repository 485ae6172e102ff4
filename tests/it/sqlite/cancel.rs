//! Callers who go away: a future that is dropped in the middle of a write must
//! leave no transaction open, lose no later write, and do nothing by halves.

use std::future::poll_fn;
use std::task::Poll;

use taskflow_adapters::store::sqlite::SqliteOptions;
use taskflow_application::ports::{JobFilter, Page};
use taskflow_domain::JobState;
use taskflow_tests::builders::{Scene, at, job_id, report, success};

/// Polls a future up to `times` times, giving way to others in between, and
/// drops it; answers what it had answered by then.
async fn give_up<T>(future: impl Future<Output = T>, times: u32) -> Option<T> {
    let mut future = Box::pin(future);
    for _ in 0..times {
        let polled = poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await;
        if let Poll::Ready(answer) = polled {
            return Some(answer);
        }
        tokio::task::yield_now().await;
    }
    None
}

/// Writes that were answered are there, writes that were given up are there as a
/// whole or not at all, and the connection serves whoever comes next.
async fn given_up_writes_harm_nobody() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let store = super::open(folder.path(), SqliteOptions::default()).await?;
    let stores = store.stores();
    let scene = Scene::new(&stores).await?;
    let mut answered = Vec::new();
    for n in 0..400u32 {
        let pair = [scene.job(2 * n)?.label("n", &n.to_string()), scene.job(2 * n + 1)?];
        if give_up(scene.put(pair), n % 23).await.transpose()?.is_some() {
            answered.push(n);
        }
        if n % 5 == 0 {
            give_up(scene.claim(3, at(1)), n % 31).await.transpose()?;
        }
        if n % 20 == 19 {
            scene.put_one(scene.job(10_000 + n)?).await?;
        }
    }
    // A write that was given up last may still be on its way: it is there or not
    // there in both counts once it has ended.
    let mut counts = (0, 1);
    for _ in 0..1_000 {
        counts.0 = scene.stores.reader.count(scene.tenant.id, &JobFilter::default(), at(1)).await?;
        counts.1 = 20;
        for n in 0..400 {
            let pair = [job_id(2 * n), job_id(2 * n + 1)];
            let there = stores.reader.get_many(scene.tenant.id, &pair, at(1)).await?.len();
            assert!(there == 2 || (there == 0 && !answered.contains(&n)), "{there} jobs of call {n}");
            counts.1 += there as u64;
        }
        if counts.0 == counts.1 {
            break;
        }
    }
    assert_eq!(counts.0, counts.1, "and every write between them");
    drain(&scene).await
}

/// Everything that is left can be claimed and ended, also what nobody heard of.
async fn drain(scene: &Scene<'_>) -> anyhow::Result<()> {
    let lost = scene.stores.jobs.expired(at(9_000_000), 10_000).await?;
    let changes: Vec<_> = lost.iter().map(|lease| report(lease, success(), at(2))).collect();
    for changes in changes.chunks(7) {
        give_up(scene.stores.jobs.commit(changes), 3).await.transpose()?;
    }
    scene.stores.jobs.commit(&changes).await?;
    loop {
        let jobs = scene.claim(50, at(3)).await?;
        if jobs.is_empty() {
            break;
        }
        let changes: Vec<_> = jobs.iter().map(|job| report(&job.lease, success(), at(4))).collect();
        scene.stores.jobs.commit(&changes).await?;
    }
    let page = Page { before: None, limit: 10_000 };
    for id in scene.stores.reader.ids(scene.tenant.id, &JobFilter::default(), page, at(4)).await? {
        assert_eq!(scene.consistent(id, at(4)).await?.standing.state(), JobState::Succeeded);
    }
    scene.healthy(at(4)).await
}

#[tokio::test]
async fn on_one_thread() -> anyhow::Result<()> {
    given_up_writes_harm_nobody().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_two_threads() -> anyhow::Result<()> {
    given_up_writes_harm_nobody().await
}
