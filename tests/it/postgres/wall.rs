//! The second wall: what the database itself shows when a statement of the
//! request path has lost its tenant.
//!
//! The loss is brought about on the wire: between the store and the server
//! stands a proxy that takes the tenant's condition out of every statement. The
//! store under test is the one that is shipped, and no part of it knows.

mod proxy;
mod rules;

use anyhow::{Context as _, Result};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};
use taskflow_adapters::store::postgres::{PostgresOptions, PostgresStore};
use taskflow_application::ports::{JobFilter, Page, Stores};
use taskflow_domain::{CorrelationId, JobState, TenantId};
use taskflow_tests::builders::{Scene, at, job_id, kind, queue, success};
use taskflow_tests::postgres::execute;

use super::open;
use proxy::Proxy;

const PAGE: Page = Page { before: None, limit: 10 };

/// Tables that belong to no tenant, or that only the engine looks at.
const GLOBAL: &[&str] = &["lane", "limit_slot", "api_key", "worker", "event_pending"];

/// Every look of a tenant that owns nothing, and whether it was shown something.
async fn looks(stores: &Stores, tenant: TenantId) -> Result<Vec<(String, bool)>> {
    let (reader, now) = (&stores.reader, at(5));
    let mut shown = Vec::new();
    let ids = [1, 2, 3].map(job_id);
    for id in ids {
        shown.push((format!("get {id}"), reader.get(tenant, id, now).await?.is_some()));
        let attempts = reader.attempts(tenant, id, 0, 10).await?;
        shown.push((format!("attempts {id}"), attempts.is_some()));
        shown.push((format!("events {id}"), reader.events(tenant, id, 0, 10).await?.is_some()));
    }
    shown.push(("get_many".to_owned(), !reader.get_many(tenant, &ids, now).await?.is_empty()));
    let none = JobFilter::default;
    let filters = [
        none(),
        JobFilter { states: vec![JobState::Pending, JobState::Succeeded], ..none() },
        JobFilter { states: vec![JobState::Running], ..none() },
        JobFilter { labels: [("team".into(), "a".into())].into(), ..none() },
        JobFilter { correlation_id: Some(CorrelationId(job_id(1).0)), ..none() },
        JobFilter { queue: Some(queue("default")?), kind: Some(kind("work")?), ..none() },
        JobFilter { labels: [("team".into(), "a".into())].into(), states: vec![JobState::Pending], ..none() },
    ];
    for filter in filters {
        let name = format!("{filter:?}");
        shown.push((format!("list {name}"), !reader.list(tenant, &filter, PAGE, now).await?.is_empty()));
        shown.push((format!("ids {name}"), !reader.ids(tenant, &filter, PAGE, now).await?.is_empty()));
        shown.push((format!("count {name}"), reader.count(tenant, &filter, now).await? > 0));
    }
    Ok(shown)
}

#[tokio::test]
async fn a_statement_without_its_tenant_shows_nothing() -> Result<()> {
    let (store, database) = open(PostgresOptions::default()).await?;
    let stores = store.stores();
    let scene = Scene::new(&stores).await?;
    let stranger = scene.tenant("stranger").await?.id;
    scene
        .put(
            [1, 2, 3]
                .map(|n| scene.job(n).map(|job| job.label("team", "a")))
                .into_iter()
                .collect::<Result<Vec<_>>>()?,
        )
        .await?;
    let jobs = scene.claim(2, at(1)).await?;
    scene.settle(&jobs[0], success(), at(2)).await?;
    let proxy = Proxy::start(&database.url).await?;
    let faulty = PostgresStore::connect(&proxy.url, PostgresOptions::default()).await?;
    faulty.migrate().await?;
    let behind = looks(&faulty.stores(), stranger).await?;
    let leaks: Vec<_> = behind.iter().filter(|(_, shown)| *shown).collect();
    assert!(leaks.is_empty(), "behind the wall: {leaks:?}");
    // The same without the wall, to see that the fault is one.
    for table in walled(&database.url).await? {
        execute(&database.url, &format!("alter table {table} disable row level security")).await?;
    }
    let before = looks(&faulty.stores(), stranger).await?;
    let shown = before.iter().filter(|(_, shown)| *shown).count();
    let lost = proxy.lost();
    println!(
        "{} statements lost their tenant; {} looks: {shown} are shown something, behind the wall 0",
        lost.len(),
        before.len()
    );
    for verb in ["get ", "get_many", "attempts", "events", "list", "ids", "count"] {
        assert!(before.iter().any(|(name, shown)| *shown && name.starts_with(verb)), "{verb} lost nothing");
    }
    assert!(lost.len() >= 10, "{lost:#?}");
    Ok(())
}

pub(super) async fn walled(url: &str) -> Result<Vec<String>> {
    let mut connection = PgConnection::connect(url).await?;
    let rows = sqlx::query_scalar(
        "select c.relname::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
         where n.nspname = current_schema() and c.relrowsecurity order by 1",
    );
    Ok(rows.fetch_all(&mut connection).await?)
}

/// Each table of tenants is keyed by the tenant, stands behind the wall, and has
/// no foreign key that leaves the tenant out.
#[tokio::test]
async fn every_table_of_tenants_is_keyed_by_them() -> Result<()> {
    let (_store, database) = open(PostgresOptions::default()).await?;
    let mut connection = PgConnection::connect(&database.url).await?;
    let tables = sqlx::query(
        "select c.relname::text, a.attnotnull, c.relrowsecurity,
            exists (select from pg_index i where i.indrelid = c.oid and i.indisprimary
                and a.attnum = any(i.indkey)),
            (select count(*) from pg_constraint f where f.conrelid = c.oid and f.contype = 'f'
                and not a.attnum = any(f.conkey))
         from pg_class c join pg_namespace n on n.oid = c.relnamespace
         join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant_id' and not a.attisdropped
         where n.nspname = current_schema() and c.relkind in ('r', 'p') order by 1",
    );
    let mut checked = 0;
    for row in tables.fetch_all(&mut connection).await? {
        let name: String = row.try_get(0)?;
        let (owned, walled, keyed): (bool, bool, bool) = (row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
        let loose: i64 = row.try_get(4)?;
        assert_eq!(loose, 0, "{name} has a foreign key without the tenant");
        assert!(walled == owned, "{name} stands behind the wall if it is a tenant's");
        assert!(keyed || GLOBAL.contains(&name.as_str()), "{name} is not keyed by the tenant");
        checked += 1;
    }
    assert!(checked >= 12, "{checked}");
    println!("{checked} tables with tenants");
    Ok(())
}

/// The role of the wall reads its tenant's rows, and does nothing else.
#[tokio::test]
async fn behind_the_wall_there_is_nothing_but_reading_ones_own() -> Result<()> {
    let (store, database) = open(PostgresOptions::default()).await?;
    let stores = store.stores();
    let scene = Scene::new(&stores).await?;
    let stranger = scene.tenant("stranger").await?.id;
    scene.put([scene.job(1)?.label("a", "b"), scene.job(2)?, scene.job(3)?]).await?;
    let jobs = scene.claim(2, at(1)).await?;
    scene.settle(&jobs[0], success(), at(2)).await?;
    let mut connection = PgConnection::connect(&database.url).await?;
    let mut cases = 0;
    for table in walled(&database.url).await? {
        for setting in [
            "",
            "set local taskflow.tenant_id = ''",
            &format!("set local taskflow.tenant_id = '{}'", stranger.0),
        ] {
            let mut transaction = connection.begin().await?;
            let role = format!("set local role taskflow_request; {setting}");
            sqlx::raw_sql(AssertSqlSafe(role)).execute(&mut *transaction).await?;
            let count = AssertSqlSafe(format!("select count(*) from {table}"));
            let seen: i64 = sqlx::query_scalar(count).fetch_one(&mut *transaction).await?;
            assert_eq!(seen, 0, "{table} with {setting:?}");
            transaction.rollback().await?;
            for write in [
                format!("delete from {table}"),
                format!("update {table} set tenant_id = 1"),
                format!("insert into {table} default values"),
            ] {
                let mut transaction = connection.begin().await?;
                let role = format!("set local role taskflow_request; {setting}");
                sqlx::raw_sql(AssertSqlSafe(role)).execute(&mut *transaction).await?;
                let refused = sqlx::raw_sql(AssertSqlSafe(write.clone())).execute(&mut *transaction).await;
                let refused = refused.err().with_context(|| write.clone())?;
                let code =
                    refused.as_database_error().and_then(|fault| fault.code().map(|code| code.to_string()));
                assert_eq!(code.as_deref(), Some("42501"), "{write}");
                transaction.rollback().await?;
                cases += 1;
            }
            cases += 1;
        }
    }
    println!("{cases} cases behind the wall");
    for table in ["api_key", "audit", "audit_head", "sealing_key", "tenant"] {
        let mut transaction = connection.begin().await?;
        let look = AssertSqlSafe(format!("set local role taskflow_request; select * from {table}"));
        assert!(sqlx::raw_sql(look).execute(&mut *transaction).await.is_err(), "{table} is nobody's to see");
        transaction.rollback().await?;
    }
    Ok(())
}
