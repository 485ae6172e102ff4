//! Statistics as the documents that go into one statement, and as the rows that
//! come out. Both databases read the same document.

use std::collections::BTreeMap;

use serde::Serialize;
use sqlx::{ColumnIndex, Decode, Row, Type};
use taskflow_application::ports::{LoopStatus, RunnerStatus, Span, StoreError, StoreResult};
use taskflow_application::tally::{Batch, Counts};
use taskflow_domain::Timestamp;

/// A row of `stat`, with names in place of ids.
#[derive(Serialize)]
struct StatDocument<'a> {
    span: i32,
    at: i64,
    tenant: i32,
    queue: &'a str,
    kind: &'a str,
    created: u64,
    started: u64,
    succeeded: u64,
    failed: u64,
    dead: u64,
    cancelled: u64,
    retried: u64,
    wait_us: u64,
    run_us: u64,
}

/// A row of `stat_spread`, with a name in place of the id.
#[derive(Serialize)]
struct SpreadDocument<'a> {
    at: i64,
    queue: &'a str,
    measure: i16,
    bin: u16,
    n: u64,
}

fn text(rows: &impl Serialize) -> StoreResult<String> {
    serde_json::to_string(rows).map_err(|fault| StoreError::Rejected(format!("a batch of figures: {fault}")))
}

/// What is added to `stat`, as a JSON array: each subject's minute and hour. No row
/// occurs twice, because PostgreSQL refuses a statement that would change one row
/// a second time, and a batch may hold several minutes of one hour.
pub(crate) fn stat_documents(batch: &Batch) -> StoreResult<String> {
    let mut sums: BTreeMap<_, Counts> = BTreeMap::new();
    for (subject, counts) in &batch.counts {
        for span in [Span::Minute, Span::Hour] {
            let (queue, kind) = (subject.queue.as_str(), subject.kind.as_str());
            let row = (span.seconds(), span.floor(subject.minute).micros(), subject.tenant.0, queue, kind);
            sums.entry(row).or_default().add(counts);
        }
    }
    let rows: Vec<_> = sums.into_iter().map(document).collect();
    text(&rows)
}

fn document<'a>(
    ((span, at, tenant, queue, kind), counts): ((i32, i64, i32, &'a str, &'a str), Counts),
) -> StatDocument<'a> {
    StatDocument {
        span,
        at,
        tenant,
        queue,
        kind,
        created: counts.created,
        started: counts.started,
        succeeded: counts.succeeded,
        failed: counts.failed,
        dead: counts.dead,
        cancelled: counts.cancelled,
        retried: counts.retried,
        wait_us: counts.wait_us,
        run_us: counts.run_us,
    }
}

/// What is added to `stat_spread`, as a JSON array.
pub(crate) fn spread_documents(batch: &Batch) -> StoreResult<String> {
    let mut rows = Vec::new();
    for ((at, queue), durations) in &batch.durations {
        for (measure, spread) in [(0, &durations.wait), (1, &durations.run)] {
            let row = |(bin, n)| SpreadDocument { at: at.micros(), queue: queue.as_str(), measure, bin, n };
            rows.extend(spread.bins().map(row));
        }
    }
    text(&rows)
}

/// The sums of the counts in the rows `s` of `stat`.
pub(crate) const COUNTS: &str = "cast(sum(s.created) as bigint), \
    cast(sum(s.started) as bigint), \
    cast(sum(s.succeeded) as bigint), \
    cast(sum(s.failed) as bigint), \
    cast(sum(s.dead) as bigint), \
    cast(sum(s.cancelled) as bigint), \
    cast(sum(s.retried) as bigint), \
    cast(sum(s.wait_us) as bigint), \
    cast(sum(s.run_us) as bigint)";

/// The sums that [`COUNTS`] names, which begin in column `at`.
pub(crate) fn read_counts<'r, R>(row: &'r R, at: usize) -> sqlx::Result<Counts>
where
    R: Row,
    usize: ColumnIndex<R>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
{
    let count = |nth: usize| Ok::<_, sqlx::Error>(row.try_get::<i64, _>(at + nth)?.unsigned_abs());
    Ok(Counts {
        created: count(0)?,
        started: count(1)?,
        succeeded: count(2)?,
        failed: count(3)?,
        dead: count(4)?,
        cancelled: count(5)?,
        retried: count(6)?,
        wait_us: count(7)?,
        run_us: count(8)?,
    })
}

/// A row of `runner`.
pub(crate) type RunnerRow = (String, i64, i64, String);

/// The loops as they are kept.
pub(crate) fn loops_to_text(loops: &[LoopStatus]) -> StoreResult<String> {
    text(&loops)
}

/// The process of a row.
pub(crate) fn runner((name, started_at, seen_at, loops): RunnerRow) -> StoreResult<RunnerStatus> {
    let loops =
        serde_json::from_str(&loops).map_err(|fault| super::corrupt("runner", "loops", &name, fault))?;
    Ok(RunnerStatus {
        name,
        started_at: Timestamp::from_micros(started_at),
        seen_at: Timestamp::from_micros(seen_at),
        loops,
    })
}
