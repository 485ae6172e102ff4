//! News between processes: they arrive, their own maker hears them once, and
//! they come again after the database was away.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use taskflow_adapters::store::postgres::{PgWakeups, PostgresOptions, PostgresStore};
use taskflow_application::ports::{Topic, Wakeups as _};
use taskflow_tests::postgres::{Cluster, StopMode, create_database, fresh_database};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Longer than any news takes, reconnecting included.
const LONG: Duration = Duration::from_secs(30);

/// One process: its connections and its news.
struct Process {
    store: PostgresStore,
    wakeups: Arc<PgWakeups>,
    stop: CancellationToken,
}

impl Process {
    /// A process that hears the others already.
    async fn start(url: &str) -> Result<Self> {
        let store = PostgresStore::connect(url, PostgresOptions::default()).await?;
        let stop = CancellationToken::new();
        let wakeups = PgWakeups::start(&store, stop.clone());
        // Having begun to listen, it nudges everybody.
        heard(&mut wakeups.listen(Topic::Cancel)).await?;
        Ok(Self { store, wakeups, stop })
    }

    /// How many sessions the database has, beside those of this process's pool.
    async fn other_sessions(&self) -> Result<i64> {
        let all: i64 = sqlx::query_scalar(
            "select count(*) from pg_stat_activity
             where datname = current_database() and backend_type = 'client backend'",
        )
        .fetch_one(self.store.pool())
        .await?;
        Ok(all - i64::from(self.store.pool().size()))
    }
}

async fn heard(news: &mut watch::Receiver<u64>) -> Result<()> {
    timeout(LONG, news.changed()).await.context("no news")??;
    Ok(())
}

#[tokio::test]
async fn news_reach_the_other_processes() -> Result<()> {
    let database = fresh_database().await?;
    let (one, other) = (Process::start(&database.url).await?, Process::start(&database.url).await?);
    for topic in [Topic::Work, Topic::Schedule, Topic::Cancel] {
        let mut there = other.wakeups.listen(topic);
        one.wakeups.nudge(topic);
        heard(&mut there).await?;
        let mut back = one.wakeups.listen(topic);
        other.wakeups.nudge(topic);
        heard(&mut back).await?;
    }
    Ok(())
}

#[tokio::test]
async fn own_news_are_heard_at_once_and_once() -> Result<()> {
    let database = fresh_database().await?;
    let (one, other) = (Process::start(&database.url).await?, Process::start(&database.url).await?);
    let mut here = one.wakeups.listen(Topic::Work);
    one.wakeups.nudge(Topic::Work);
    assert!(here.has_changed()?, "nothing lies between");
    let count = *here.borrow_and_update();
    // What comes from elsewhere comes after one's own, which so had its chance.
    let mut there = other.wakeups.listen(Topic::Cancel);
    one.wakeups.nudge(Topic::Cancel);
    heard(&mut there).await?;
    let mut back = one.wakeups.listen(Topic::Schedule);
    other.wakeups.nudge(Topic::Schedule);
    heard(&mut back).await?;
    assert_eq!(*one.wakeups.listen(Topic::Work).borrow(), count);
    Ok(())
}

#[tokio::test]
async fn many_nudges_are_few_messages() -> Result<()> {
    let database = fresh_database().await?;
    let (one, other) = (Process::start(&database.url).await?, Process::start(&database.url).await?);
    let mut there = other.wakeups.listen(Topic::Work);
    let before = *there.borrow_and_update();
    for _ in 0..10_000 {
        one.wakeups.nudge(Topic::Work);
    }
    heard(&mut there).await?;
    let mut end = other.wakeups.listen(Topic::Cancel);
    one.wakeups.nudge(Topic::Cancel);
    heard(&mut end).await?;
    assert!(*there.borrow() - before <= 50, "{} messages", *there.borrow() - before);
    Ok(())
}

#[tokio::test]
async fn news_come_again_after_an_outage() -> Result<()> {
    let server = Cluster::durable()?;
    let database = create_database(&server.url()).await?;
    let (one, other) = (Process::start(&database.url).await?, Process::start(&database.url).await?);
    // The speaker of one has a connection that will break, too.
    let mut there = other.wakeups.listen(Topic::Work);
    one.wakeups.nudge(Topic::Work);
    heard(&mut there).await?;
    let mut missed = other.wakeups.listen(Topic::Schedule);
    server.stop(StopMode::Immediate)?;
    one.wakeups.nudge(Topic::Work);
    server.start()?;
    // Whoever waits is told to look, because something may have been missed.
    heard(&mut missed).await?;
    heard(&mut there).await?;
    // And what is said now arrives, as soon as the speaker has found back.
    let mut there = other.wakeups.listen(Topic::Cancel);
    timeout(LONG, async {
        loop {
            one.wakeups.nudge(Topic::Cancel);
            if timeout(Duration::from_millis(100), there.changed()).await.is_ok() {
                break;
            }
        }
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn nothing_is_left_after_the_end() -> Result<()> {
    let database = fresh_database().await?;
    let (one, other) = (Process::start(&database.url).await?, Process::start(&database.url).await?);
    let mut there = other.wakeups.listen(Topic::Work);
    one.wakeups.nudge(Topic::Work);
    heard(&mut there).await?;
    one.stop.cancel();
    one.store.close().await;
    timeout(LONG, async {
        // One listener is left: the other process has not said anything yet.
        while other.other_sessions().await? != 1 {
            tokio::task::yield_now().await;
        }
        Ok::<_, anyhow::Error>(())
    })
    .await??;
    Ok(())
}
