//! The ports over PostgreSQL.
//!
//! The hot statements move sets of rows: each takes arrays and touches every row
//! through an index, whatever the planner thinks of the size of a table. The
//! session settings of [`connect`] see to that, because a generic plan made for
//! an empty table would otherwise scan it when it is full. Tables that only
//! administrators write go through SeaORM, over the same pool.
//!
//! Locks are taken in one order: the settings lock, queue rows, lane rows, limit
//! slots, each kind by rising id. Claimers skip lanes that somebody else holds.

mod allowance;
mod audit;
mod claim;
mod commit;
mod connect;
mod depth;
mod events;
mod explain;
mod fire;
mod insert;
mod jobs;
mod keys;
mod lanes;
mod leases;
mod lookup;
mod notify;
mod promote;
mod proof;
mod prune;
mod purge;
mod queues;
mod reader;
mod rules;
mod sealing;
mod stats;
mod sweep;
mod tenants;
mod unit;
mod wall;
mod warm;
mod workers;

use std::sync::Arc;

use sea_orm::{DatabaseConnection, SqlxPostgresConnector};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection, PgPool};
use taskflow_application::ports::{StoreError, StoreResult, Stores};
use taskflow_domain::Timestamp;
use taskflow_migrations::Migrator;

pub use connect::PostgresOptions;
pub use notify::PgWakeups;

use super::error::from_sqlx;
use super::names::Catalog;

/// What all parts of the store share.
pub(crate) struct Inner {
    pool: PgPool,
    /// The same pool, for the hot path.
    warm: warm::Warm,
    orm: DatabaseConnection,
    catalog: Catalog,
    turn: std::sync::atomic::AtomicUsize,
    waking: lanes::Waking,
    /// Whether requests look from behind the second wall.
    wall: std::sync::atomic::AtomicBool,
    /// There may be work that nobody was told of: a limit got room, a lane woke late.
    room: Arc<tokio::sync::Notify>,
}

/// The stores over one PostgreSQL database.
#[derive(Clone)]
pub struct PostgresStore {
    inner: Arc<Inner>,
    connect: PgConnectOptions,
    schema: Option<String>,
}

/// How busy the connections are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolStatus {
    /// Open connections.
    pub size: u32,
    /// Of these, those that nobody uses.
    pub idle: usize,
}

impl PostgresStore {
    /// Connects to the database at `url`. The schema is not touched: see [`Self::migrate`].
    pub async fn connect(url: &str, options: PostgresOptions) -> StoreResult<Self> {
        let connect = connect::options(url, &options)?;
        let pool = connect::pool(&connect, &options).await.map_err(|fault| from_sqlx(&fault))?;
        let orm = SqlxPostgresConnector::from_sqlx_postgres_pool(pool.clone());
        let inner = Inner {
            warm: warm::Warm::new(pool.clone()),
            pool,
            orm,
            catalog: Catalog::default(),
            turn: 0.into(),
            waking: lanes::Waking::default(),
            wall: false.into(),
            room: Arc::default(),
        };
        Ok(Self { inner: Arc::new(inner), connect, schema: options.schema })
    }

    /// The ports.
    pub fn stores(&self) -> Stores {
        Stores {
            jobs: Arc::new(jobs::PgJobs(Arc::clone(&self.inner))),
            reader: Arc::new(reader::PgReader(Arc::clone(&self.inner))),
            queues: Arc::new(queues::PgQueues(Arc::clone(&self.inner))),
            tenants: Arc::new(tenants::PgTenants(Arc::clone(&self.inner))),
            workers: Arc::new(workers::PgWorkers(Arc::clone(&self.inner))),
            keys: Arc::new(keys::PgKeys(Arc::clone(&self.inner))),
            audit: Arc::new(audit::PgAudit(Arc::clone(&self.inner))),
            rules: Arc::new(rules::PgRules(Arc::clone(&self.inner))),
            events: Arc::new(events::PgEvents(Arc::clone(&self.inner))),
            explain: Arc::new(explain::PgExplain(Arc::clone(&self.inner))),
            stats: Arc::new(stats::PgStats(Arc::clone(&self.inner))),
            allowances: Arc::new(allowance::PgAllowances(Arc::clone(&self.inner))),
        }
    }

    /// Whether the engine's tables are in the schema.
    pub async fn is_made(&self) -> StoreResult<bool> {
        sqlx::query_scalar("select to_regclass('audit') is not null")
            .fetch_one(&self.inner.pool)
            .await
            .map_err(|fault| from_sqlx(&fault))
    }

    /// Brings the schema up to date. Several processes may do so at once: they take turns.
    pub async fn migrate(&self) -> StoreResult<()> {
        connect::migrate::<Migrator>(&self.connect, self.schema.as_deref(), &self.inner.orm).await?;
        let stands = wall::stands(&self.inner.pool).await.map_err(|fault| from_sqlx(&fault))?;
        if !stands {
            tracing::warn!(
                "row-level security is not in force: the database's user may not make the role \
                 taskflow_request"
            );
        }
        self.inner.wall.store(stands, std::sync::atomic::Ordering::Relaxed);
        Ok(())
    }

    /// What time it is by the clock of the database.
    pub async fn now(&self) -> StoreResult<Timestamp> {
        let asked = || {
            sqlx::query_scalar("select (extract(epoch from clock_timestamp()) * 1000000)::int8")
                .fetch_one(&self.inner.pool)
        };
        let micros: i64 = unit::repeat(asked).await?;
        Ok(Timestamp::from_micros(micros))
    }

    /// How long the oldest transaction of the database has been open, as far as the
    /// server shows it to this user.
    pub async fn oldest_transaction(&self) -> StoreResult<std::time::Duration> {
        let asked = || {
            sqlx::query_scalar(
                "select coalesce(max(extract(epoch from clock_timestamp() - xact_start) * 1000000), 0)::int8
                 from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()",
            )
            .fetch_one(&self.inner.pool)
        };
        let micros: i64 = unit::repeat(asked).await?;
        Ok(std::time::Duration::from_micros(micros.unsigned_abs()))
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> StoreResult<()> {
        sqlx::query("select 1").execute(&self.inner.pool).await.map_err(|fault| from_sqlx(&fault))?;
        Ok(())
    }

    /// The connections.
    pub fn pool(&self) -> &PgPool {
        &self.inner.pool
    }

    /// How to open a further connection like those of the pool.
    pub fn connect_options(&self) -> PgConnectOptions {
        self.connect.clone()
    }

    /// Bytes of write-ahead log that the server has written so far.
    pub async fn wal_bytes(&self) -> StoreResult<i64> {
        sqlx::query_scalar("select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::int8")
            .fetch_one(&self.inner.pool)
            .await
            .map_err(|fault| from_sqlx(&fault))
    }

    /// Brings the planner's figures of the hot tables up to date, as autovacuum does now and then.
    pub async fn refresh_statistics(&self) -> StoreResult<()> {
        for statement in ["vacuum analyze job", "vacuum analyze ready", "vacuum analyze lane"] {
            sqlx::query(statement).execute(&self.inner.pool).await.map_err(|fault| from_sqlx(&fault))?;
        }
        Ok(())
    }

    /// Closes all connections and drops the schema that this store was given, with
    /// everything in it. A store that was given none has nothing of its own to drop.
    pub async fn drop_schema(&self) -> StoreResult<()> {
        // What nobody waits for any more may still be written: it comes to its end
        // first, since it and the drop would wait for each other's tables.
        self.close().await;
        let Some(schema) = &self.schema else { return Ok(()) };
        // The name was checked when the options were made.
        let statement = format!("drop schema \"{schema}\" cascade");
        let dropped = || async {
            let mut apart = PgConnection::connect_with(&self.connect).await?;
            sqlx::raw_sql(sqlx::AssertSqlSafe(statement.clone())).execute(&mut apart).await?;
            apart.close().await
        };
        unit::repeat(dropped).await
    }

    /// How busy the connections are.
    pub fn pool_status(&self) -> PoolStatus {
        let idle = self.inner.pool.num_idle() + self.inner.warm.len();
        PoolStatus { size: self.inner.pool.size(), idle }
    }

    /// Closes all connections; waits until those in use come back, but not for a
    /// server that does not answer.
    pub async fn close(&self) {
        let closed: StoreResult<()> = unit::patiently(async {
            let closing = self.inner.pool.close();
            // Nothing is kept any more from here on.
            self.inner.warm.give_back();
            closing.await;
            Ok(())
        })
        .await;
        if closed.is_err() {
            tracing::warn!("connections to the database were left without a goodbye");
        }
    }
}

impl std::fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresStore").field("pool", &self.pool_status()).finish_non_exhaustive()
    }
}

/// A number of the domain as a column that holds at most `i32::MAX`.
fn int(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

/// A count of rows as a number of the domain.
fn count(rows: u64) -> u32 {
    u32::try_from(rows).unwrap_or(u32::MAX)
}

fn rejected(text: impl Into<String>) -> StoreError {
    StoreError::Rejected(text.into())
}
