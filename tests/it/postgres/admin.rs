//! What operators look at costs the same however many jobs have ended: the rows that
//! each look reads are counted over a history of two hundred thousand jobs.
//! `scripts/bench history` is the long form, with ten million.

use anyhow::Result;
use sqlx::AssertSqlSafe;
use taskflow_application::ports::{AuditFilter, EventFilter, KeyPage, RulePage, SeriesWish, Span, Stores};
use taskflow_domain::{QueueName, TenantId, Timestamp};

use super::crowd::SMALL;
use super::plans::{Filled, NOW, job_id};

/// Two lanes for all jobs, kept depths as the engine would have them, and figures
/// of a day.
const KEPT: &str = "
insert into tenant (slug, attributes, weight, paused, created_at, updated_at) values ('other', '{}', 1, false, 0, 0);
insert into lane (tenant_id, queue_id, route, weight, cost_us, paused, active)
values (1, 1, 0, 1, 10000, false, true), (2, 1, 0, 1, 10000, false, false);
insert into depth values (1, 1, 7), (1, 2, 20), (1, 3, 10), (1, 4, 3), (1, 5, 199000), (1, 6, 1000);
insert into stat (span, at, queue_id, tenant_id, kind_id, created, started, succeeded, failed, dead, cancelled,
    retried, wait_us, run_us)
select 3600, 1700000000000000 + i * 3600000000, 1, 1 + i % 2, 1, 9, 9, 9, 0, 0, 0, 0, 9, 9
from generate_series(0, 23) i";

/// The tables of the history, of which a look may read nothing at all.
const HISTORY: [&str; 4] = ["finished", "attempt", "job_event", "job_label"];

/// Rows of a look: of all small tables, and of what is due and runs.
const MOST: i64 = 300;

/// Every look of `/v1/admin/…`, and what `/metrics` samples every ten seconds.
async fn looks(filled: &Filled, stores: &Stores, mode: &str) -> Result<()> {
    let queue = QueueName::new("default")?;
    let start = Timestamp::from_micros(1_700_000_000_000_000);
    let day = SeriesWish {
        span: Span::Hour,
        since: start,
        until: start.plus_millis(86_400_000),
        tenant: None,
        queue: None,
        kind: None,
        by_tenant: true,
        by_queue: true,
        by_kind: true,
        limit: 100,
    };
    let keys = KeyPage { limit: 50, ..KeyPage::default() };
    let own = TenantId(1);
    macro_rules! look {
        ($name:literal, $look:expr) => {{
            let before = filled.history(&HISTORY).await?;
            let (_, rows) =
                filled.measured($name, SMALL, async { Ok::<_, anyhow::Error>($look.await?) }).await?;
            assert!(rows <= MOST, "{}, {mode}: {rows} rows were read", $name);
            assert_eq!(filled.history(&HISTORY).await?, before, "{}, {mode}: read the history", $name);
        }};
    }
    look!("depths, ages and lags, which /metrics shows", stores.queues.depths());
    look!("queues", stores.queues.list());
    look!("queue", stores.queues.get(&queue));
    look!("draining", stores.queues.draining());
    look!("rates of queues", stores.stats.recent(start));
    look!("figures over time", stores.stats.series(&day));
    look!("runners", stores.stats.runners());
    look!("workers", stores.workers.list());
    look!("busy workers", stores.workers.busy());
    look!("tenants", stores.tenants.list(None, 50));
    look!("gates of a queue", stores.explain.line(&queue, NOW));
    look!("rules", stores.rules.list(own, RulePage { after: None, limit: 50 }));
    look!("automations", stores.rules.lines(None, RulePage { after: None, limit: 50 }));
    look!("automations of one", stores.rules.lines(Some(own), RulePage { after: None, limit: 50 }));
    look!("events", stores.events.recent(own, &EventFilter::default(), 50));
    look!("keys", stores.keys.list(keys));
    look!("audit", stores.audit.list(&AuditFilter::default(), None, 50));
    look!("leases that ended", stores.jobs.expired(start, 100));
    look!("jobs that become due", stores.jobs.promote(start, 100));
    look!("sweep", stores.jobs.sweep(start));
    for n in [200_000, 200_021, 200_033] {
        let job = job_id(n);
        look!("explain", stores.explain.facts(own, job, NOW));
    }
    Ok(())
}

#[tokio::test]
async fn operators_do_not_read_the_history() -> Result<()> {
    let filled = Filled::new().await?;
    filled.set(KEPT).await?;
    let stores = filled.store.stores();
    for statistics in [None, Some("vacuum analyze")] {
        if let Some(statement) = statistics {
            filled.set(statement).await?;
        }
        for mode in ["force_generic_plan", "force_custom_plan"] {
            let set = format!("discard plans; set plan_cache_mode = {mode}");
            sqlx::raw_sql(AssertSqlSafe(set)).execute(filled.store.pool()).await?;
            looks(&filled, &stores, &format!("{mode}, statistics {statistics:?}")).await?;
        }
    }
    Ok(())
}
