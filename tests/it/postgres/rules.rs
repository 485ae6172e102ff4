//! What a tick costs grows with what is due, not with how many rules there are.

use anyhow::{Result, ensure};
use sqlx::{AssertSqlSafe, PgPool};
use taskflow_domain::Actor;
use taskflow_tests::builders::{Scene, at};
use taskflow_tests::rules::{Draft, Stage};

use super::plans::Filled;

/// Rules whose time does not come.
const IDLE: &str = "
alter table rule set (autovacuum_enabled = off);
insert into rule (tenant_id, id, name, enabled, mode, revision, body, trigger_kind, next_at, created_at, updated_at)
select r.tenant_id, gen_random_uuid(), r.name, true, r.mode, 1, r.body, r.trigger_kind,
    r.next_at + 86400000000 + n, r.created_at, r.updated_at
from (select * from rule limit 1) r, generate_series(1, 100000) n";

/// Rules that are due in each tick.
const DUE: u32 = 20;

/// How often the table was read whole, and how many rows and entries were read.
async fn counted(pool: &PgPool) -> Result<(i64, i64)> {
    sqlx::raw_sql("select pg_stat_force_next_flush()").execute(pool).await?;
    let read = "select t.seq_scan, t.seq_tup_read + sum(i.idx_tup_read + i.idx_tup_fetch)::int8
        from pg_stat_user_tables t join pg_stat_user_indexes i using (relid)
        where t.relname = 'rule' group by 1, t.seq_tup_read";
    Ok(sqlx::query_as(read).fetch_one(pool).await?)
}

#[tokio::test]
async fn a_tick_reads_what_is_due() -> Result<()> {
    let Filled { store, database: _database } = Filled::empty().await?;
    let (stores, pool) = (store.stores(), store.pool());
    let scene = Scene::new(&stores).await?;
    let stage = Stage::new(&stores)?;
    for n in 0..DUE {
        let rule = Draft::cron(scene.tenant.id, n, "* * * * *").next(at(60_000)).0;
        stores.rules.put(&rule, None, &Actor::api(), None).await?;
    }
    sqlx::raw_sql(IDLE).execute(pool).await?;
    for (statistics, mode) in [
        ("select 1", "force_custom_plan"),
        ("select 1", "force_generic_plan"),
        ("vacuum analyze rule", "force_custom_plan"),
        ("vacuum analyze rule", "force_generic_plan"),
    ] {
        sqlx::raw_sql(statistics).execute(pool).await?;
        sqlx::raw_sql(AssertSqlSafe(format!("set plan_cache_mode = {mode}"))).execute(pool).await?;
        stage.clock.advance(60_000);
        let mut read = Vec::new();
        for due in [DUE, 0] {
            let before = counted(pool).await?;
            let step = stage.rules.tick().await?;
            ensure!(step.jobs == due, "{step:?}");
            let after = counted(pool).await?;
            read.push((after.0 - before.0, after.1 - before.1));
        }
        // Until a vacuum comes, the index holds the places that cursors have left.
        ensure!(read[0].0 == 0 && read[1].0 == 0, "{mode}: the rules were read whole: {read:?}");
        ensure!(
            read[0].1 <= i64::from(50 * DUE) && read[1].1 <= i64::from(10 * DUE),
            "{mode}: too many were read: {read:?}"
        );
    }
    Ok(())
}
