//! No write of the hot path may read a table whole, or walk an index from end to
//! end, whatever the planner believes of the sizes of the tables.
//!
//! Statements are prepared once and kept, so a plan may have been made for
//! tables that were empty. The beliefs here: none at all, that of empty tables
//! which have grown since, and the right ones; each under both kinds of plan.
//! What was done is told by the server's counters of rows and of pages.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use sqlx::{AssertSqlSafe, Connection as _, Row as _};
use taskflow_adapters::store::postgres::{PostgresOptions, PostgresStore};
use taskflow_application::ports::{Committed, Stores};
use taskflow_domain::{ClaimedJob, TenantId};
use taskflow_tests::builders::{Draft, Scene, at, report, success};
use taskflow_tests::postgres::{Database, execute, fresh_database};

const TENANTS: u32 = 1_000;
/// Jobs that run besides those that are looked at.
const RUNNING: u32 = 2_000;
/// Jobs of one call.
const CALL: u32 = 100;
/// Rows and pages that a call of a hundred jobs may touch. Six beliefs share the
/// tables, so what earlier calls left behind is walked over too.
const MOST_ROWS: i64 = 1_500;
const MOST_PAGES: i64 = 6_000;

const TABLES: [&str; 9] =
    ["job", "ready", "running", "finished", "attempt", "lane", "kind_cost", "parked", "depth_delta"];

#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    whole: i64,
    rows: i64,
    pages: i64,
}

/// A store with one connection, whose work is counted.
struct Watched {
    store: PostgresStore,
    stores: Stores,
    database: Database,
}

impl Watched {
    async fn new() -> Result<Self> {
        let database = fresh_database().await?;
        let options = PostgresOptions { max_connections: 1, ..PostgresOptions::default() };
        let store = PostgresStore::connect(&database.url, options).await?;
        store.migrate().await?;
        for table in TABLES {
            // Nothing may happen in the background while the tests count.
            let quiet = format!("alter table {table} set (autovacuum_enabled = off)");
            execute(&database.url, &quiet).await?;
        }
        Ok(Self { stores: store.stores(), store, database })
    }

    async fn counted(&self) -> Result<BTreeMap<String, Counted>> {
        sqlx::raw_sql("select pg_stat_force_next_flush()").execute(self.store.pool()).await?;
        let rows = sqlx::query(
            "select t.relname::text, seq_scan, seq_tup_read + coalesce(idx_tup_fetch, 0),
                heap_blks_hit + heap_blks_read + coalesce(idx_blks_hit + idx_blks_read, 0)
             from pg_stat_user_tables t join pg_statio_user_tables o using (relid)",
        )
        .fetch_all(self.store.pool())
        .await?;
        let row = |row: &sqlx::postgres::PgRow| {
            Ok((
                row.try_get(0)?,
                Counted { whole: row.try_get(1)?, rows: row.try_get(2)?, pages: row.try_get(3)? },
            ))
        };
        rows.iter().map(row).collect()
    }

    /// Makes a call and checks what it touched.
    async fn call<T>(&self, name: &str, call: impl Future<Output = Result<T>>) -> Result<T> {
        let before = self.counted().await?;
        let answer = call.await?;
        let (mut rows, mut pages) = (0, 0);
        for (table, after) in self.counted().await? {
            let before = before.get(&table).copied().unwrap_or_default();
            if TABLES.contains(&table.as_str()) {
                assert_eq!(after.whole, before.whole, "{name}: `{table}` was read whole");
            }
            rows += after.rows - before.rows;
            pages += after.pages - before.pages;
        }
        assert!(rows <= MOST_ROWS, "{name}: {rows} rows were read");
        assert!(pages <= MOST_PAGES, "{name}: {pages} pages were read");
        Ok(answer)
    }

    async fn believe(&self, statistics: &str) -> Result<()> {
        execute(&self.database.url, statistics).await
    }
}

/// Jobs of every tenant in turn, numbered from `first`.
fn drafts(tenants: &[TenantId], first: u32, count: u32) -> Result<Vec<Draft>> {
    (first..first + count).map(|n| Draft::new(tenants[n as usize % tenants.len()], n)).collect()
}

/// Inserts, claims and settles once, and looks after the leases in between.
async fn turn(watched: &Watched, scene: &Scene<'_>, new: Vec<Draft>, name: &str) -> Result<()> {
    let jobs = &watched.stores.jobs;
    watched.call(&format!("insert, {name}"), scene.put(new)).await?;
    let claimed: Vec<ClaimedJob> = watched.call(&format!("claim, {name}"), scene.claim(CALL, at(10))).await?;
    assert_eq!(claimed.len(), CALL as usize, "{name}");
    let keys: Vec<_> = claimed.iter().map(|job| (job.lease.tenant, job.lease.job, job.lease.token)).collect();
    let extend = async { Ok(jobs.extend(&keys, at(60_000)).await?) };
    watched.call(&format!("extend, {name}"), extend).await?;
    let ends: Vec<_> = claimed.iter().map(|job| report(&job.lease, success(), at(20))).collect();
    let settle = async { Ok(jobs.commit(&ends).await?) };
    let settled = watched.call(&format!("settle, {name}"), settle).await?;
    assert_eq!(settled, vec![Committed::Done; ends.len()], "{name}");
    Ok(())
}

const FORGET: &str = "delete from pg_statistic where starelid in (select oid from pg_class where relname in \
     ('job', 'ready', 'running', 'finished', 'attempt', 'lane'))";

/// What the planner is made to believe of the sizes, in this order.
const BELIEFS: [(&str, Option<&str>); 3] =
    [("of empty tables", None), ("none", Some(FORGET)), ("true", Some("vacuum analyze"))];

const MODES: [&str; 2] = ["force_generic_plan", "force_custom_plan"];

/// Makes the planner choose anew, in this way.
async fn plan(watched: &Watched, mode: &str) -> Result<()> {
    let set = format!("discard plans; set plan_cache_mode = {mode}");
    sqlx::raw_sql(AssertSqlSafe(set)).execute(watched.store.pool()).await?;
    Ok(())
}

/// How often the statement ran that takes all of an only lane.
async fn only_lanes(watched: &Watched) -> Result<i64> {
    let ran = "select coalesce(sum(generic_plans + custom_plans), 0)::int8 from pg_prepared_statements
        where strpos(statement, $1) > 0";
    Ok(sqlx::query_scalar(ran).bind("sole as materialized").fetch_one(watched.store.pool()).await?)
}

#[tokio::test]
async fn the_only_lane_of_many_is_taken_by_one_statement() -> Result<()> {
    let watched = Watched::new().await?;
    let scene = Scene::new(&watched.stores).await?;
    let mut tenants = Vec::new();
    for n in 0..TENANTS {
        tenants.push(scene.tenant(&format!("t-{n}")).await?.id);
    }
    watched.believe("analyze").await?;
    scene.put(drafts(&tenants, 0, 3 * TENANTS)?).await?;
    while !scene.claim(500, at(1)).await?.is_empty() {}
    let mut first = 3 * TENANTS;
    for (belief, make) in BELIEFS {
        if let Some(make) = make {
            watched.believe(make).await?;
        }
        for mode in MODES {
            plan(&watched, mode).await?;
            let ran = only_lanes(&watched).await?;
            let name = format!("an only lane, statistics {belief}, {mode}");
            turn(&watched, &scene, drafts(&tenants[..1], first, CALL)?, &name).await?;
            assert_eq!(only_lanes(&watched).await?, ran + 1, "{name}: another way was taken");
            first += CALL;
        }
    }
    Ok(())
}

/// Whoever changes settings keeps claims that ask for no lock of settings from what they
/// have not seen yet.
#[tokio::test]
async fn an_only_lane_is_taken_under_the_settings_of_the_moment() -> Result<()> {
    let (store, database) = super::open(PostgresOptions::default()).await?;
    let stores = store.stores();
    let scene = Scene::new(&stores).await?;
    assert!(scene.claim(1, at(1)).await?.is_empty());
    scene.put([scene.job(1)?, scene.job(2)?]).await?;
    let mut changing = sqlx::PgConnection::connect(&database.url).await?;
    sqlx::raw_sql(
        "begin; select pg_advisory_xact_lock(7598263486); lock table limit_slot in share row exclusive mode;
         update queue set max_running = 0",
    )
    .execute(&mut changing)
    .await?;
    let waits =
        "select exists (select 1 from pg_locks where not granted and relation = 'limit_slot'::regclass)";
    let commit = async {
        while !sqlx::query_scalar::<_, bool>(waits).fetch_one(&mut changing).await? {}
        sqlx::raw_sql("commit").execute(&mut changing).await?;
        anyhow::Ok(())
    };
    let (claimed, committed) = tokio::join!(scene.claim(10, at(2)), commit);
    committed?;
    assert!(claimed?.is_empty(), "the limit was there before the claim went on");
    execute(&database.url, "update queue set max_running = null").await?;
    assert_eq!(scene.claim(10, at(3)).await?.len(), 2);
    Ok(())
}

#[tokio::test]
async fn a_write_touches_no_more_than_it_changes() -> Result<()> {
    let watched = Watched::new().await?;
    let scene = Scene::new(&watched.stores).await?;
    let mut tenants = Vec::new();
    for n in 0..TENANTS {
        tenants.push(scene.tenant(&format!("t-{n}")).await?.id);
    }
    // The planner has seen empty tables.
    watched.believe("analyze").await?;
    scene.put(drafts(&tenants, 0, 10 * TENANTS)?).await?;
    let mut running = 0;
    while running < RUNNING {
        let claimed = scene.claim(500, at(1)).await?;
        running += u32::try_from(claimed.len()).context("a count")?;
        assert!(!claimed.is_empty());
    }
    let mut first = 10 * TENANTS;
    for (belief, make) in BELIEFS {
        if let Some(make) = make {
            watched.believe(make).await?;
        }
        for mode in MODES {
            plan(&watched, mode).await?;
            // Of the tenants that come last, whose lanes are asleep by and by.
            for _ in 0..3 {
                let new = drafts(&tenants, first, CALL)?;
                turn(&watched, &scene, new, &format!("statistics {belief}, {mode}")).await?;
                first += CALL;
            }
        }
    }
    Ok(())
}
