//! Callers who go away: a future that is dropped in the middle of a write must
//! not leave its connection inside a transaction, or the next one to use it
//! would write for nothing. One connection serves all here, so that the next
//! borrower always gets the one that was in use.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use taskflow_adapters::store::postgres::{PostgresOptions, PostgresStore};
use taskflow_application::ports::{ClaimRequest, JobFilter};
use taskflow_tests::builders::{Scene, at, job_id, report, success};
use taskflow_tests::postgres::{Database, execute};

/// Lets a future go on for `share` fiftieths of a millisecond, and drops it;
/// answers what it had answered by then.
async fn give_up<T>(future: impl Future<Output = T>, share: u32) -> Option<T> {
    tokio::time::timeout(Duration::from_micros(20) * share, future).await.ok()
}

/// Polls a future `times` times without waiting in between, and drops it.
async fn poll_some<T>(future: impl Future<Output = T>, times: u32) {
    let mut future = Box::pin(future);
    for _ in 0..times {
        if poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_ready())).await {
            return;
        }
        tokio::task::yield_now().await;
    }
}

async fn open() -> anyhow::Result<(PostgresStore, Database)> {
    super::open(PostgresOptions { max_connections: 1, ..PostgresOptions::default() }).await
}

/// Sees the database as somebody else does.
async fn committed_jobs(database: &Database, count: u32) -> anyhow::Result<()> {
    let sql = format!(
        "do $$ begin if (select count(*) from job where idempotency_key = 'kept') <> {count} \
         then raise exception '% jobs', (select count(*) from job); end if; end $$"
    );
    execute(&database.url, &sql).await
}

async fn writes_after_given_up_ones_survive() -> anyhow::Result<()> {
    let (store, database) = open().await?;
    let stores = store.stores();
    let scene = Scene::new(&stores).await?;
    for n in 0..300u32 {
        let (first, second) = (scene.job(10 * n)?, scene.job(10 * n + 1)?.scheduled(at(1)));
        give_up(scene.put([first, second]), n % 60).await.transpose()?;
        poll_some(scene.put([scene.job(10 * n + 2)?]), n % 7).await;
        let request = ClaimRequest { nonce: u64::from(n), ..scene.request(3, at(2)) };
        if let Some(claim) = give_up(stores.jobs.claim(&request), n % 70).await.transpose()? {
            let changes: Vec<_> = claim.jobs.iter().map(|job| report(&job.lease, success(), at(3))).collect();
            give_up(stores.jobs.commit(&changes), n % 50).await.transpose()?;
        }
        poll_some(stores.jobs.promote(at(4), 10), n % 5).await;
        if n % 10 == 9 {
            let tenant = scene.tenant(&format!("t-{n}")).await?;
            let kept = taskflow_tests::builders::Draft::new(tenant.id, 10 * n + 5)?.key("kept", 1);
            scene.put_one(kept).await?;
            committed_jobs(&database, n / 10 + 1).await?;
        }
    }
    // Whoever gave up may still be served: his work comes before this.
    let settled = stores.reader.count(scene.tenant.id, &JobFilter::default(), at(5)).await?;
    assert!(settled > 0);
    drain(&scene).await
}

/// Everything that is left can be claimed and ended, also what nobody heard of.
async fn drain(scene: &Scene<'_>) -> anyhow::Result<()> {
    scene.stores.jobs.promote(at(5), 10_000).await?;
    let lost = scene.stores.jobs.expired(at(9_000_000), 10_000).await?;
    let changes: Vec<_> = lost.iter().map(|lease| report(lease, success(), at(6))).collect();
    scene.stores.jobs.commit(&changes).await?;
    loop {
        let jobs = scene.claim(100, at(6)).await?;
        if jobs.is_empty() {
            break;
        }
        let changes: Vec<_> = jobs.iter().map(|job| report(&job.lease, success(), at(7))).collect();
        scene.stores.jobs.commit(&changes).await?;
    }
    assert!(scene.stores.reader.get(scene.tenant.id, job_id(0), at(7)).await?.is_none_or(|job| job.seq == 3));
    scene.healthy(at(7)).await
}

#[tokio::test]
async fn on_one_thread() -> anyhow::Result<()> {
    writes_after_given_up_ones_survive().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_two_threads() -> anyhow::Result<()> {
    writes_after_given_up_ones_survive().await
}

/// The driver begins a transaction although nobody waits for the answer any
/// more. Such a connection must come back to the pool outside of it.
#[tokio::test]
async fn a_given_up_begin_is_rolled_back() -> anyhow::Result<()> {
    let (store, database) = open().await?;
    execute(&database.url, "create table kept (n integer)").await?;
    for n in 0..200 {
        poll_some(store.pool().begin(), n % 6).await;
        give_up(store.pool().begin(), n % 10).await.transpose()?;
        sqlx::query("insert into kept values ($1)").bind(i64::from(n)).execute(store.pool()).await?;
    }
    let sql = "do $$ begin if (select count(*) from kept) <> 200 then \
         raise exception '% rows', (select count(*) from kept); end if; end $$";
    execute(&database.url, sql).await
}
