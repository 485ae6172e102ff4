//! No look at jobs may read a table whole, however many jobs have finished.
//!
//! A plan shows what the planner expects; the server's counters show what was
//! done. So each look runs against a filled database, under both kinds of plan
//! and before the planner has any statistics, and the counters tell how often a
//! table was read whole and how many rows were touched.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use sqlx::{AssertSqlSafe, Row as _};
use taskflow_adapters::store::postgres::{PostgresOptions, PostgresStore};
use taskflow_application::ports::{JobFilter, JobReader, Page};
use taskflow_domain::{
    CorrelationId, JobId, JobState, Kind, Labels, Priority, QueueName, RuleId, TenantId, Timestamp,
};
use taskflow_tests::postgres::{Database, execute, fresh_database};
use uuid::Uuid;

/// Jobs `0..FINISHED` have finished; the rest is ready, parked or running.
const FINISHED: u32 = 200_000;
const ALL: u32 = FINISHED + 40;
const TENANT: TenantId = TenantId(1);
/// The time of job 0; each job came a second after the one before it.
const START_MS: u64 = 1_700_000_000_000;
pub(super) const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000 + ALL as i64 * 1_000_000);
/// A look reads a page of 20: from its index, its job, its place, its attempt
/// and its progress. Before that it may have read 500 entries of each of two labels.
const PAGE: Page = Page { before: None, limit: 20 };
const MOST_ROWS: i64 = 1_200;
/// A count reads an index alone, but for the few pages that a vacuum left out.
const FEW: i64 = ALL as i64 / 100;

/// Of four jobs in a row three belong to [`TENANT`]; of two hundred one has
/// failed; of a thousand two share a cause and a rule; every tenth has a label.
const FILL: &str = "
insert into queue (name) values ('default'), ('rare');
insert into kind (name) values ('work'), ('rare');
insert into worker (name, queues, kinds, slots, known, started_at, beat_at, lease_until)
values ('w-1', '[]', '[]', 1, true, 0, 0, 0);
create temp table n as
select i, case when i % 4 = 3 then 2 else 1 end tenant, lpad(to_hex(1700000000000 + i * 1000), 12, '0') ms
from generate_series(0, 200039) i;
create temp table made as
select i, tenant, (ms || '70008000' || lpad(to_hex(i), 12, '0'))::uuid id,
    (1700000000000 + i * 1000) * 1000 as at from n;
insert into job (tenant_id, id, queue_id, kind_id, lane_id, priority, payload, labels, timeout_ms,
    correlation_id, rule_id, created_by, created_at, run_at)
select tenant, id, 1, 1, 1, 2, '{}', null, 1000,
    case when i % 1000 = 0 or i > 200000 then lpad(to_hex(i / 2000), 32, '0')::uuid end,
    case when i % 1000 = 1 then lpad(to_hex(i / 2000), 32, '0')::uuid end, 'api', at, at
from made;
insert into job_label select tenant, 'tens', 'yes', id from made where i % 10 = 0;
insert into job_label select tenant, 'rare', 'yes', id from made where i % 50000 = 0;
insert into finished (tenant_id, job_id, lane_id, kind_id, state, finished_at, attempt, spent, lost,
    interrupted, snoozed, seq)
select tenant, id, 1, 1, case when i % 200 = 0 then 6 else 5 end, at, 1, 1, 0, 0, 0, 3
from made where i < 200000;
insert into attempt (tenant_id, job_id, number, worker_id, token, started_at, finished_at, outcome,
    then_state, started_seq, ended_seq)
select tenant, id, 1, 1, 1, at, at, 0, 5, 2, 3 from made where i < 200000;
insert into ready (tenant_id, job_id, lane_id, ord, kind_id, priority, due_at, since, attempt, spent, lost,
    interrupted, snoozed, seq)
select tenant, id, 1, at, 1, 2, at, at, 0, 0, 0, 0, 0, 1 from made where i between 200000 and 200019;
insert into parked (tenant_id, job_id, lane_id, kind_id, priority, state, due_at, delay, waiting, since,
    attempt, spent, lost, interrupted, snoozed, seq)
select tenant, id, 1, 1, 2, case when i % 4 = 0 then 4 else 1 end, at + i % 2 * 90000000, 0, false, at,
    0, 0, 0, 0, 0, 1
from made where i between 200020 and 200029;
insert into running (tenant_id, job_id, lane_id, kind_id, priority, due_at, started_at, worker_id, token,
    charged_us, attempt, spent, lost, interrupted, snoozed, seq, started_seq)
select tenant, id, 1, 1, 2, at, at, 1, 1, 0, 1, 1, 0, 0, 0, 2, 2 from made where i > 200029;
";

pub(super) fn job_id(n: u32) -> JobId {
    let ms = u128::from(START_MS + u64::from(n) * 1_000);
    JobId(Uuid::from_u128((ms << 80) | (0x7000 << 64) | (0x8000 << 48) | u128::from(n)))
}

/// What the server counted for one table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counted {
    whole: i64,
    rows: i64,
}

/// A filled database, and its store with one connection, whose work is counted.
pub(super) struct Filled {
    pub(super) store: PostgresStore,
    pub(super) database: Database,
}

impl Filled {
    /// With its history.
    pub(super) async fn new() -> Result<Self> {
        let empty = Self::empty().await?;
        execute(&empty.database.url, FILL).await?;
        Ok(empty)
    }

    /// The same without any rows.
    pub(super) async fn empty() -> Result<Self> {
        let database = fresh_database().await?;
        let options = PostgresOptions { max_connections: 1, ..PostgresOptions::default() };
        let store = PostgresStore::connect(&database.url, options).await?;
        store.migrate().await?;
        // Nothing may happen in the background while the tests count.
        for table in ["job", "job_label", "finished", "attempt", "ready", "parked", "running"] {
            let quiet = format!("alter table {table} set (autovacuum_enabled = off)");
            execute(&database.url, &quiet).await?;
        }
        Ok(Self { store, database })
    }

    pub(super) async fn set(&self, statement: &'static str) -> Result<()> {
        sqlx::raw_sql(statement).execute(self.store.pool()).await?;
        Ok(())
    }

    /// Makes all rows known to be visible, as soon as nothing else that runs on
    /// the server may still see the time before them.
    async fn vacuum(&self) -> Result<()> {
        loop {
            self.set("vacuum analyze job, finished").await?;
            let settled: bool = sqlx::query_scalar(
                "select bool_and(relallvisible > relpages * 0.99) from pg_class
                 where oid in ('job'::regclass, 'finished'::regclass)",
            )
            .fetch_one(self.store.pool())
            .await?;
            if settled {
                return Ok(());
            }
        }
    }

    async fn counted(&self) -> Result<BTreeMap<String, Counted>> {
        self.set("select pg_stat_force_next_flush()").await?;
        let rows = sqlx::query(
            "select relname::text, seq_scan, seq_tup_read + coalesce(idx_tup_fetch, 0)
             from pg_stat_user_tables",
        )
        .fetch_all(self.store.pool())
        .await?;
        rows.iter()
            .map(|row| Ok((row.try_get(0)?, Counted { whole: row.try_get(1)?, rows: row.try_get(2)? })))
            .collect()
    }

    /// What was read of these tables so far.
    pub(super) async fn history(&self, tables: &[&str]) -> Result<Vec<i64>> {
        let counted = self.counted().await?;
        Ok(tables.iter().map(|table| counted.get(*table).copied().unwrap_or_default().rows).collect())
    }

    /// Takes a look and checks what it read.
    pub(super) async fn look<T>(
        &self,
        name: &str,
        most_rows: i64,
        look: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let (seen, rows) = self.measured(name, &[], look).await?;
        assert!(rows <= most_rows, "{name}: {rows} rows were read");
        Ok(seen)
    }

    /// Does something that must not read a table whole, but for those that are
    /// small, and says how many rows it read.
    pub(super) async fn measured<T>(
        &self,
        name: &str,
        small: &[&str],
        look: impl Future<Output = Result<T>>,
    ) -> Result<(T, i64)> {
        let before = self.counted().await?;
        let seen = look.await?;
        let mut rows = 0;
        for (table, after) in self.counted().await? {
            let before = before.get(&table).copied().unwrap_or_default();
            let whole = after.whole - before.whole;
            assert!(whole == 0 || small.contains(&table.as_str()), "{name}: `{table}` was read whole");
            rows += after.rows - before.rows;
        }
        Ok((seen, rows))
    }
}

/// A filter with its name and the numbers of the newest jobs that meet it.
type Case = (&'static str, JobFilter, Vec<u32>);

const ALIVE: [JobState; 4] = [JobState::Pending, JobState::Scheduled, JobState::Running, JobState::Paused];

fn in_states(states: &[JobState]) -> JobFilter {
    JobFilter { states: states.to_vec(), ..JobFilter::default() }
}

/// The first page of the tenant's jobs whose numbers are wanted.
fn newest(wanted: fn(u32) -> bool) -> Vec<u32> {
    let own = |n: &u32| n % 4 != 3;
    (0..ALL).rev().filter(own).filter(|n| wanted(*n)).take(PAGE.limit as usize).collect()
}

fn by_state() -> Vec<Case> {
    let ended = [JobState::Succeeded, JobState::Failed, JobState::Dead];
    vec![
        ("all", JobFilter::default(), newest(|_| true)),
        ("succeeded", in_states(&[JobState::Succeeded]), newest(|n| n < FINISHED && n % 200 != 0)),
        ("failed", in_states(&[JobState::Failed]), newest(|n| n < FINISHED && n % 200 == 0)),
        ("dead", in_states(&[JobState::Dead]), vec![]),
        ("ended", in_states(&ended), newest(|n| n < FINISHED)),
        ("running", in_states(&[JobState::Running]), newest(|n| n >= FINISHED + 30)),
        (
            "pending",
            in_states(&[JobState::Pending]),
            newest(|n| n >= FINISHED && (n < FINISHED + 20 || is_parked(n) && n % 4 == 2)),
        ),
        ("scheduled", in_states(&[JobState::Scheduled]), newest(|n| is_parked(n) && n % 2 == 1)),
        ("paused", in_states(&[JobState::Paused]), newest(|n| is_parked(n) && n % 4 == 0)),
        ("alive", in_states(&ALIVE), newest(|n| n >= FINISHED)),
    ]
}

const fn is_parked(n: u32) -> bool {
    n >= FINISHED + 20 && n < FINISHED + 30
}

fn by_tie() -> Vec<Case> {
    let none = JobFilter::default;
    let rule = RuleId(Uuid::from_u128(9));
    let cause = |id| JobFilter { correlation_id: Some(CorrelationId(id)), ..none() };
    let label = |key: &str| Labels::from([(key.to_owned(), "yes".to_owned())]);
    let both: Labels = label("tens").into_iter().chain(label("rare")).collect();
    let labelled = |labels, states: &[JobState]| JobFilter { labels, ..in_states(states) };
    let rare = vec![200_000, 150_000, 100_000, 50_000, 0];
    vec![
        ("of a cause", cause(Uuid::from_u128(9)), vec![19_000, 18_000]),
        ("of itself", cause(job_id(77_777).0), vec![77_777]),
        ("of a rule", JobFilter { rule_id: Some(rule), ..none() }, vec![19_001, 18_001]),
        ("with a rare label", labelled(label("rare"), &[]), rare.clone()),
        ("with a common label", labelled(label("tens"), &[]), newest(|n| n % 10 == 0)),
        ("with two labels", labelled(both, &[]), rare.clone()),
        ("failed with a rare label", labelled(label("rare"), &[JobState::Failed]), rare[1..].to_vec()),
        (
            "alive with a common label",
            labelled(label("tens"), &ALIVE),
            newest(|n| n >= FINISHED && n % 10 == 0),
        ),
    ]
}

fn by_content() -> Result<Vec<Case>> {
    let second = |n: u32| Timestamp::from_micros((START_MS as i64 + i64::from(n) * 1_000) * 1_000);
    let content = JobFilter {
        queue: Some(QueueName::new("default")?),
        kind: Some(Kind::new("work")?),
        priority: Some(Priority::Medium),
        ..in_states(&[JobState::Succeeded])
    };
    let before = |n| JobFilter { created_before: Some(second(n)), ..in_states(&[JobState::Succeeded]) };
    let between = JobFilter { created_after: Some(second(99_989)), ..before(100_000) };
    Ok(vec![
        ("in a queue of a kind and priority", content, newest(|n| n < FINISHED && n % 200 != 0)),
        (
            "created within seconds",
            JobFilter { states: Vec::new(), ..between },
            vec![99_998, 99_997, 99_996, 99_994, 99_993, 99_992, 99_990],
        ),
        ("succeeded of those created before", before(5), vec![4, 2, 1]),
    ])
}

async fn looks(filled: &Filled, reader: &dyn JobReader, mode: &str) -> Result<()> {
    for (name, filter, expected) in by_state().into_iter().chain(by_tie()).chain(by_content()?) {
        let expected: Vec<JobId> = expected.into_iter().map(job_id).collect();
        let name = format!("{name}, {mode}");
        let ids = filled
            .look(&format!("ids {name}"), MOST_ROWS, async {
                Ok(reader.ids(TENANT, &filter, PAGE, NOW).await?)
            })
            .await?;
        assert_eq!(ids, expected, "{name}");
        let jobs = filled
            .look(&format!("list {name}"), MOST_ROWS, async {
                Ok(reader.list(TENANT, &filter, PAGE, NOW).await?)
            })
            .await?;
        assert_eq!(jobs.iter().map(|job| job.spec.id).collect::<Vec<_>>(), expected, "{name}");
        let deep = Page { before: Some(job_id(60_000)), limit: 5 };
        let older = filled
            .look(&format!("deep {name}"), MOST_ROWS, async {
                Ok(reader.list(TENANT, &filter, deep, NOW).await?)
            })
            .await?;
        assert!(older.iter().all(|job| job.spec.id < job_id(60_000)), "{name}");
    }
    Ok(())
}

async fn past(filled: &Filled, reader: &dyn JobReader) -> Result<()> {
    for n in [1, FINISHED + 1, FINISHED + 21, FINISHED + 33] {
        let id = job_id(n);
        let job = filled.look("get", 20, async { Ok(reader.get(TENANT, id, NOW).await?) }).await?;
        let job = job.context("a job")?;
        let attempts =
            filled.look("attempts", 20, async { Ok(reader.attempts(TENANT, id, 0, 10).await?) }).await?;
        assert_eq!(attempts.context("attempts")?.last(), job.last_attempt.as_ref());
        let events = filled.look("events", 20, async { Ok(reader.events(TENANT, id, 0, 10).await?) }).await?;
        assert_eq!(events.context("events")?.len(), job.seq as usize);
    }
    let many: Vec<_> = (0..100).map(|n| job_id(n * 1_999)).collect();
    let jobs = filled
        .look("many", 5 * many.len() as i64, async { Ok(reader.get_many(TENANT, &many, NOW).await?) })
        .await?;
    assert_eq!(jobs.len(), many.iter().enumerate().filter(|(n, _)| (n * 1_999) % 4 != 3).count());
    Ok(())
}

#[tokio::test]
async fn a_look_reads_no_more_than_it_shows() -> Result<()> {
    let filled = Filled::new().await?;
    let reader = filled.store.stores().reader;
    for analysed in [false, true] {
        for mode in ["force_generic_plan", "force_custom_plan"] {
            if analysed {
                filled.set("vacuum analyze").await?;
            }
            let set = format!("discard plans; set plan_cache_mode = {mode}");
            sqlx::raw_sql(AssertSqlSafe(set)).execute(filled.store.pool()).await?;
            looks(&filled, reader.as_ref(), &format!("{mode}, analysed: {analysed}")).await?;
            past(&filled, reader.as_ref()).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn counting_reads_indexes() -> Result<()> {
    let filled = Filled::new().await?;
    let reader = filled.store.stores().reader;
    filled.vacuum().await?;
    let all = filled
        .look("count", FEW, async { Ok(reader.count(TENANT, &JobFilter::default(), NOW).await?) })
        .await?;
    assert_eq!(all, u64::from(ALL) * 3 / 4);
    let ended = JobFilter { states: vec![JobState::Succeeded, JobState::Failed], ..JobFilter::default() };
    let ended =
        filled.look("count by states", FEW, async { Ok(reader.count(TENANT, &ended, NOW).await?) }).await?;
    assert_eq!(ended, u64::from(FINISHED) * 3 / 4);
    Ok(())
}
