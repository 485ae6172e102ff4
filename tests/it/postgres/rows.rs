//! F23, F24: millions of rows, statistics that nobody has gathered, and an old
//! transaction that keeps the server from tidying up. The ordinary test command
//! runs small forms; `scripts/faults rows` and `held-xmin` the real ones.

use std::time::Duration;

use anyhow::{Result, ensure};
use taskflow_adapters::store::postgres::PostgresOptions;
use taskflow_application::ports::Stores;
use taskflow_domain::{ClaimedJob, JobState};
use taskflow_tests::builders::{Scene, at, report, success};
use taskflow_tests::process::variable;
use tokio::time::Instant;

/// Rows of each sort in the ordinary test command.
const ROWS: u32 = 3_000;
/// Seconds under the old transaction in the ordinary test command.
const SECONDS: u64 = 2;
/// Jobs of one call.
const BATCH: u32 = 1_000;
/// Claims that are measured.
const LOOKS: usize = 200;

/// Five hundred jobs a second, a hundred at a time.
const PACE: Duration = Duration::from_millis(200);

fn number<T: std::str::FromStr>(name: &str, otherwise: T) -> Result<T>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    Ok(variable(name).map_or(Ok(otherwise), |text| text.parse())?)
}

/// Puts jobs with these numbers; in the far future if `later`.
async fn fill(scene: &Scene<'_>, from: u32, count: u32, later: bool) -> Result<()> {
    let mut next = from;
    while next < from + count {
        let upto = (next + BATCH).min(from + count);
        let jobs: Result<Vec<_>> = (next..upto)
            .map(|number| {
                let draft = scene.job(number)?;
                Ok(if later { draft.scheduled(at(i64::from(number) * 1_000 + 1_000_000_000)) } else { draft }
                    .0)
            })
            .collect();
        scene.stores.jobs.insert(jobs?, false).await?;
        next = upto;
    }
    Ok(())
}

async fn finish(stores: &Stores, jobs: &[ClaimedJob], ms: i64) -> Result<()> {
    let changes: Vec<_> = jobs.iter().map(|job| report(&job.lease, success(), at(ms))).collect();
    stores.jobs.commit(&changes).await?;
    Ok(())
}

/// How long claims of ten jobs took: half of them, and 99 of 100.
async fn measure(scene: &Scene<'_>, stores: &Stores) -> Result<(Duration, Duration)> {
    let mut took = Vec::with_capacity(LOOKS);
    for look in 0..LOOKS {
        let ms = 1_000 + look as i64;
        let began = Instant::now();
        let jobs = scene.claim(10, at(ms)).await?;
        took.push(began.elapsed());
        ensure!(jobs.len() == 10, "{} jobs where there are many", jobs.len());
        finish(stores, &jobs, ms).await?;
    }
    took.sort_unstable();
    Ok((took[LOOKS / 2], took[LOOKS * 99 / 100]))
}

#[tokio::test]
async fn many_rows_are_no_burden() -> Result<()> {
    let rows: u32 = number("TASKFLOW_ROWS", ROWS)?;
    let (store, _database) = super::open(PostgresOptions::default()).await?;
    let stores = store.stores();
    let scene = Scene::new(&stores).await?;
    let measured = LOOKS as u32 * 10;
    fill(&scene, 0, measured, false).await?;
    let (half, most) = measure(&scene, &stores).await?;
    let mut first = measured;
    fill(&scene, first, rows, false).await?;
    loop {
        let jobs = scene.claim(500, at(1_500)).await?;
        if jobs.is_empty() {
            break;
        }
        finish(&stores, &jobs, 1_501).await?;
    }
    first += rows;
    fill(&scene, first, rows, true).await?;
    first += rows;
    fill(&scene, first, rows + measured, false).await?;
    let (full_half, full_most) = measure(&scene, &stores).await?;
    let depths = stores.queues.depths().await?;
    let pending: u64 = depths.iter().map(|depth| depth.by_state[JobState::Pending as usize]).sum();
    ensure!(pending == u64::from(rows), "{pending} jobs wait instead of {rows}");
    println!(
        "report: claims of 10 with {rows} ended, {rows} scheduled and {rows} waiting jobs | \
         median {full_half:.1?} (empty: {half:.1?}), 99 of 100 within {full_most:.1?} (empty: {most:.1?})"
    );
    Ok(())
}

/// Inserts, claims and ends jobs for so long, a hundred in each turn; how many a second, and
/// how long the slowest hundred took. With `each`, so much time is between two turns.
async fn drive(
    scene: &Scene<'_>,
    stores: &Stores,
    from: &mut u32,
    time: Duration,
    each: Option<Duration>,
) -> Result<(f64, Duration)> {
    let (began, mut done, mut slowest) = (Instant::now(), 0, Duration::ZERO);
    let mut turns = each.map(tokio::time::interval);
    while began.elapsed() < time {
        if let Some(turns) = &mut turns {
            turns.tick().await;
        }
        let turn = Instant::now();
        fill(scene, *from, 100, false).await?;
        *from += 100;
        let jobs = scene.claim(100, at(i64::from(*from))).await?;
        done += jobs.len();
        finish(stores, &jobs, i64::from(*from) + 1).await?;
        slowest = slowest.max(turn.elapsed());
    }
    Ok((done as f64 / began.elapsed().as_secs_f64(), slowest))
}

#[tokio::test]
async fn an_old_transaction_stops_nothing() -> Result<()> {
    let time = Duration::from_secs(number("TASKFLOW_XMIN_SECONDS", SECONDS)?);
    let most = time.min(Duration::from_secs(20));
    let (store, database) = super::open(PostgresOptions::default()).await?;
    let stores = store.stores();
    let scene = Scene::new(&stores).await?;
    let mut next = 0;
    let (free, _) = drive(&scene, &stores, &mut next, most, None).await?;
    let (before, _) = drive(&scene, &stores, &mut next, most, Some(PACE)).await?;
    let (mut old, connection) = tokio_postgres::connect(&database.url, tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    let held = old.build_transaction().isolation_level(tokio_postgres::IsolationLevel::RepeatableRead);
    let held = held.start().await?;
    held.query("select count(*) from job", &[]).await?;
    let (under, slowest) = drive(&scene, &stores, &mut next, time, Some(PACE)).await?;
    let (at_last, _) = drive(&scene, &stores, &mut next, most, None).await?;
    held.rollback().await?;
    let seconds = time.as_secs();
    println!(
        "report: jobs a second of 500 under a transaction of {seconds} s | {under:.0} (before: {before:.0}), a \
         hundred within {slowest:.1?}"
    );
    println!(
        "report: as many as the machine can, at the end of a transaction of {seconds} s | {at_last:.0} a second \
         (before: {free:.0})"
    );
    scene.healthy(at(i64::from(next) + 10)).await
}
