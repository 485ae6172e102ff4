//! What operators look at costs the same however many jobs have ended: the steps that the
//! database takes for each look are counted, over a history of a thousand jobs and over
//! one of fifty thousand.
//!
//! A bare `count(*)` of a table is one step of SQLite however long the table is. So the
//! tables of the history stand behind views while the looks are counted: through a view
//! each row takes its steps.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result};
use sqlx::AssertSqlSafe;
use taskflow_adapters::store::sqlite::{SqliteOptions, SqliteStore};
use taskflow_application::ports::{AuditFilter, EventFilter, KeyPage, RulePage, SeriesWish, Span, Stores};
use taskflow_domain::{JobId, QueueName, TenantId, Timestamp};
use uuid::Uuid;

const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);
const START: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

/// What waits and runs, the same over either history.
const STANDING: &str = "
insert into queue (id, name) values (1, 'default');
insert into kind (id, name) values (1, 'work');
insert into worker (id, name, queues, kinds, slots, known, started_at, beat_at, lease_until)
values (1, 'w-1', '[]', '[]', 1, 1, 0, 0, 1800000001000000);
insert into lane (id, tenant_id, queue_id, route, weight, cost_us, active) values (1, 1, 1, 0, 1, 10000, 1);
insert into stat (span, at, queue_id, tenant_id, kind_id, created, started, succeeded, failed, dead, cancelled,
    retried, wait_us, run_us)
select 3600, 1700000000000000 + value * 3600000000, 1, 1, 1, 9, 9, 9, 0, 0, 0, 0, 9, 9
from (with recursive n(value) as (select 0 union all select value + 1 from n where value < 23) select value from n);
";

/// Jobs from `{first}` to `{last}`: most have succeeded, one of two hundred has failed.
const HISTORY: &str = r#"
create temp table made as
with recursive n(value) as (select {first} union all select value + 1 from n where value < {last})
select value i, unhex(printf('%012x70008000%012x', 1700000000000 + value, value)) id,
    (1700000000000 + value) * 1000 at
from n;
insert into job (tenant_id, id, queue_id, kind_id, lane_id, priority, payload, timeout_ms, created_by, created_at,
    run_at, target)
select 1, id, 1, 1, 1, 2, 'null', 1000, 'api', at, at, '{"type":"builtin","name":"noop"}' from made;
insert into job_label select 1, 'team', 'growth', id from made;
insert into finished (tenant_id, job_id, lane_id, kind_id, state, finished_at, attempt, spent, lost, interrupted,
    snoozed, seq)
select 1, id, 1, 1, case when i % 200 = 0 then 6 else 5 end, at, 1, 1, 0, 0, 0, 4 from made;
insert into attempt (tenant_id, job_id, number, worker_id, token, started_at, finished_at, outcome, then_state,
    started_seq, ended_seq)
select 1, id, 1, 1, 1, at, at, 1, 1, 2, 3 from made;
insert into job_event (tenant_id, job_id, seq, kind, at, actor, data) select 1, id, 1, 0, at, 'api', 'null' from made;
drop table made;
"#;

/// The tables of the history, and what a look may find there.
const BEHIND: [(&str, &str); 5] = [
    ("job", "tenant_id > 0"),
    ("finished", "tenant_id > 0"),
    ("attempt", "tenant_id > 0"),
    ("job_event", "tenant_id > 0"),
    ("job_label", "tenant_id > 0"),
];

/// A store of one connection, whose steps are counted.
struct Counted {
    store: SqliteStore,
    steps: Arc<AtomicU64>,
}

impl Counted {
    async fn new() -> Result<Self> {
        let store = SqliteStore::connect("sqlite::memory:", SqliteOptions::default()).await?;
        store.migrate().await?;
        let steps = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&steps);
        let mut connection = store.pool().acquire().await?;
        connection.lock_handle().await?.set_progress_handler(1, move || {
            counter.fetch_add(1, Ordering::Relaxed);
            true
        });
        drop(connection);
        let counted = Self { store, steps };
        counted.set(STANDING).await?;
        Ok(counted)
    }

    async fn set(&self, statements: &str) -> Result<()> {
        sqlx::raw_sql(AssertSqlSafe(statements.to_owned())).execute(self.store.pool()).await?;
        Ok(())
    }

    /// Adds jobs to the history.
    async fn end_jobs(&self, first: u32, last: u32) -> Result<()> {
        let text = HISTORY.replace("{first}", &first.to_string()).replace("{last}", &last.to_string());
        let (ok, dead) = (last - last / 200, last / 200);
        let depth = format!("insert or replace into depth values (1, 5, {ok}), (1, 6, {dead}); analyze;");
        self.set(&format!("{text}{depth}")).await
    }

    /// Puts the history behind views, or takes it out again.
    async fn hide(&self, hidden: bool) -> Result<()> {
        for (table, condition) in BEHIND {
            self.set(&if hidden {
                format!(
                    "alter table {table} rename to kept_{table}; \
                     create view {table} as select * from kept_{table} where {condition};"
                )
            } else {
                format!("drop view {table}; alter table kept_{table} rename to {table};")
            })
            .await?;
        }
        Ok(())
    }

    /// The steps of a look whose statements are known to the connection.
    async fn steps_of<T>(&self, look: impl AsyncFn() -> Result<T>) -> Result<u64> {
        look().await?;
        let before = self.steps.load(Ordering::Relaxed);
        look().await?;
        Ok(self.steps.load(Ordering::Relaxed) - before)
    }
}

fn job_id(n: u32) -> JobId {
    let n = u128::from(n);
    JobId(Uuid::from_u128(((1_700_000_000_000 + n) << 80) | (0x7000 << 64) | (0x8000 << 48) | n))
}

/// Every look of `/v1/admin/…`, and what `/metrics` samples: what each costs.
async fn looks(counted: &Counted, stores: &Stores) -> Result<Vec<(&'static str, u64)>> {
    let queue = QueueName::new("default")?;
    let day = SeriesWish {
        span: Span::Hour,
        since: START,
        until: START.plus_millis(86_400_000),
        tenant: None,
        queue: None,
        kind: None,
        by_tenant: true,
        by_queue: true,
        by_kind: true,
        limit: 100,
    };
    let (own, page) = (TenantId(1), RulePage { after: None, limit: 50 });
    let mut costs = Vec::new();
    macro_rules! look {
        ($name:literal, $look:expr) => {
            costs.push(($name, counted.steps_of(async || Ok($look.await?)).await?));
        };
    }
    look!("depths, ages and lags, which /metrics shows", stores.queues.depths());
    look!("queues", stores.queues.list());
    look!("queue", stores.queues.get(&queue));
    look!("draining", stores.queues.draining());
    look!("rates of queues", stores.stats.recent(START));
    look!("figures over time", stores.stats.series(&day));
    look!("runners", stores.stats.runners());
    look!("workers", stores.workers.list());
    look!("busy workers", stores.workers.busy());
    look!("tenants", stores.tenants.list(None, 50));
    look!("gates of a queue", stores.explain.line(&queue, NOW));
    look!("automations", stores.rules.lines(None, page));
    look!("automations of one", stores.rules.lines(Some(own), page));
    look!("rules", stores.rules.list(own, page));
    look!("events", stores.events.recent(own, &EventFilter::default(), 50));
    look!("keys", stores.keys.list(KeyPage { limit: 50, ..KeyPage::default() }));
    look!("audit", stores.audit.list(&AuditFilter::default(), None, 50));
    look!("leases that ended", stores.jobs.expired(START, 100));
    look!("explain", stores.explain.facts(own, job_id(500), NOW));
    // What this test would not see if it counted no more than the steps of bare tables.
    look!("a count of the history", async {
        let count = sqlx::query_scalar::<_, i64>("select count(*) from finished");
        count.fetch_one(counted.store.pool()).await
    });
    Ok(costs)
}

#[tokio::test]
async fn operators_do_not_read_the_history() -> Result<()> {
    let counted = Counted::new().await?;
    let stores = counted.store.stores();
    counted.end_jobs(1, 1_000).await?;
    counted.hide(true).await?;
    let short = looks(&counted, &stores).await?;
    counted.hide(false).await?;
    counted.end_jobs(1_001, 50_000).await?;
    counted.hide(true).await?;
    let mut long = looks(&counted, &stores).await?;
    let (_, planted) = long.pop().context("the planted look")?;
    assert!(planted > 50_000, "a look at the history is noticed: {planted} steps");
    for ((name, few), (_, many)) in short.iter().zip(&long) {
        // What the planner knows of the tables differs, and with it a step here and there.
        let told = format!("{name}: {few} steps over a short history, {many} over a long one");
        assert!(*few > 0 && *many <= few + few / 10, "{told}");
    }
    println!("{} looks cost the same over 1,000 and 50,000 ended jobs", long.len());
    Ok(())
}
