//! Looking at jobs while they move, while callers go away, and after the server
//! was away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures_util::future::{join_all, try_join_all};
use taskflow_adapters::store::postgres::{PostgresOptions, PostgresStore};
use taskflow_application::ports::{JobFilter, Page};
use taskflow_domain::{JobId, JobState};
use taskflow_tests::builders::{Scene, at, failure, job_id, policy};
use taskflow_tests::postgres::{Cluster, StopMode, create_database};
use tokio::time::timeout;

use super::open;

const JOBS: u32 = 40;
const PAGE: Page = Page { before: None, limit: 100 };

async fn put_jobs(scene: &Scene<'_>) -> Result<()> {
    let jobs: Result<Vec<_>> = (0..JOBS).map(|n| Ok(scene.job(n)?.policy(policy(1_000, 0)))).collect();
    scene.put(jobs?).await?;
    Ok(())
}

fn newest_first() -> Vec<JobId> {
    (0..JOBS).rev().map(job_id).collect()
}

/// Every look shows each job once, whatever table it stands in at that moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_moving_job_is_seen_once() -> Result<()> {
    let (store, _database) = open(PostgresOptions::default()).await?;
    let stores = store.stores();
    let scene = Scene::new(&stores).await?;
    put_jobs(&scene).await?;
    let done = Arc::new(AtomicBool::new(false));
    let moving = async {
        for round in 0..40 {
            for job in scene.claim(JOBS, at(round)).await? {
                scene.settle(&job, failure(), at(round)).await?;
            }
        }
        done.store(true, Ordering::Relaxed);
        Ok::<_, anyhow::Error>(())
    };
    let looking = |states: &'static [JobState]| {
        let (stores, done, tenant) = (stores.clone(), Arc::clone(&done), scene.tenant.id);
        async move {
            let filter = JobFilter { states: states.to_vec(), ..JobFilter::default() };
            while !done.load(Ordering::Relaxed) {
                let jobs = stores.reader.list(tenant, &filter, PAGE, at(0)).await?;
                assert_eq!(jobs.iter().map(|job| job.spec.id).collect::<Vec<_>>(), newest_first());
                let ids = stores.reader.ids(tenant, &filter, PAGE, at(0)).await?;
                assert_eq!(ids, newest_first());
                assert_eq!(stores.reader.count(tenant, &filter, at(0)).await?, u64::from(JOBS));
                let one = stores.reader.get(tenant, job_id(7), at(0)).await?.context("the job")?;
                let past = stores.reader.events(tenant, job_id(7), 0, 1_000).await?.context("a history")?;
                assert!(past.len() >= one.seq as usize, "a history that goes back");
            }
            Ok::<_, anyhow::Error>(())
        }
    };
    let alive = &[JobState::Pending, JobState::Scheduled, JobState::Running];
    tokio::try_join!(moving, looking(&[]), looking(alive), looking(alive))?;
    Ok(())
}

/// A caller that goes away leaves a connection that the next one can use.
#[tokio::test]
async fn a_look_may_be_given_up() -> Result<()> {
    let (store, _database) =
        open(PostgresOptions { max_connections: 2, ..PostgresOptions::default() }).await?;
    let stores = store.stores();
    let scene = Scene::new(&stores).await?;
    put_jobs(&scene).await?;
    let filter = JobFilter::default();
    for round in 0..300 {
        let patience = Duration::from_micros(round * 20);
        let looks =
            (0..4).map(|_| timeout(patience, stores.reader.list(scene.tenant.id, &filter, PAGE, at(0))));
        join_all(looks).await;
    }
    let jobs = stores.reader.list(scene.tenant.id, &filter, PAGE, at(0)).await?;
    assert_eq!(jobs.iter().map(|job| job.spec.id).collect::<Vec<_>>(), newest_first());
    assert!(store.pool_status().size <= 2);
    Ok(())
}

/// The first look after a restart of the server finds that the connections are
/// gone, and makes new ones.
#[tokio::test]
async fn a_look_survives_a_restart() -> Result<()> {
    let server = Cluster::durable()?;
    let database = create_database(&server.url()).await?;
    let store = PostgresStore::connect(&database.url, PostgresOptions::default()).await?;
    store.migrate().await?;
    let stores = store.stores();
    let scene = Scene::new(&stores).await?;
    put_jobs(&scene).await?;
    for mode in [StopMode::Immediate, StopMode::Fast] {
        let filter = JobFilter::default();
        let looks = || stores.reader.list(scene.tenant.id, &filter, PAGE, at(0));
        try_join_all((0..8).map(|_| looks())).await?;
        server.stop(mode)?;
        server.start()?;
        assert_eq!(looks().await?.len(), JOBS as usize);
    }
    Ok(())
}
