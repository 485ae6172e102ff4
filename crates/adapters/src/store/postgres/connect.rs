//! Connections: how they are made, kept, and given back clean.

use std::str::FromStr;
use std::time::Duration;

use sea_orm::DatabaseConnection;
use sea_orm_migration::MigratorTrait;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgPool};
use taskflow_application::ports::StoreResult;

use super::rejected;
use crate::store::error::{from_orm, from_sqlx};

/// How to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresOptions {
    /// The most connections of the pool.
    pub max_connections: u32,
    /// How long to wait for a connection.
    pub acquire_timeout: Duration,
    /// The schema that holds the tables; `None` for what the server's search path says.
    pub schema: Option<String>,
    /// The name of the process among the server's sessions.
    pub application_name: String,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self {
            max_connections: 10,
            acquire_timeout: Duration::from_secs(5),
            schema: None,
            application_name: "taskflow".into(),
        }
    }
}

/// Session settings. A hot statement is prepared once for each connection, with
/// a generic plan that must hold for any size of the tables: hence no scans of
/// whole tables and no joins that read one side whole, and no compilation. One
/// more way to read a table whole is left to the planner: walking an index that
/// the join's columns lead, for the sake of its order. Where an update or delete
/// joins rows that were given, `= any(array[given])` on the leading column has no
/// order to offer and leaves only the look-up of each given row. A
/// connection that waits idle inside a transaction is a fault, and its locks go
/// with it. There is no statement timeout, because it would also end a COMMIT
/// that waits for the disk. A `ROLLBACK` outside of a transaction, which a
/// released connection sends to be sure, is no news.
const SETTINGS: [(&str, &str); 8] = [
    ("jit", "off"),
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("idle_in_transaction_session_timeout", "10s"),
    ("lock_timeout", "10s"),
    ("client_min_messages", "error"),
];

/// Idle longer than this, a connection is tried before it is used.
pub(super) const TRUSTED_IDLE: Duration = Duration::from_secs(10);

/// How long a connection between two uses may take to show that it lives. One that
/// cannot, in the time that a server needs for a lost packet, is closed: it would
/// keep its place in the pool for as long as the system goes on sending.
const SIGN_OF_LIFE: Duration = Duration::from_secs(2);

/// Waits for a sign of life.
async fn alive(sign: impl Future<Output = sqlx::Result<()>>) -> sqlx::Result<bool> {
    let waited = tokio::time::timeout(SIGN_OF_LIFE, sign).await;
    waited.unwrap_or_else(|_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())))?;
    Ok(true)
}

/// The options of every connection to the database at `url`.
pub(super) fn options(url: &str, options: &PostgresOptions) -> StoreResult<PgConnectOptions> {
    let mut connect = PgConnectOptions::from_str(url)
        .map_err(|fault| rejected(format!("the database URL is wrong: {fault}")))?
        .application_name(&options.application_name)
        .statement_cache_capacity(256)
        .disable_statement_logging()
        .options(SETTINGS);
    if let Some(schema) = &options.schema {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        if schema.is_empty() || schema.len() > 60 || !schema.bytes().all(plain) {
            return Err(rejected("the name of the schema must be of a-z, 0-9 and _"));
        }
        connect = connect.options([("search_path", schema)]);
    }
    Ok(connect)
}

/// The pool. A connection is given back only outside of a transaction: what a
/// cancelled `BEGIN` may have left open is rolled back first, because the next
/// one to use the connection would lose its writes otherwise.
pub(super) async fn pool(connect: &PgConnectOptions, options: &PostgresOptions) -> sqlx::Result<PgPool> {
    PgPoolOptions::new()
        .max_connections(options.max_connections.max(1))
        .acquire_timeout(options.acquire_timeout)
        .max_lifetime(Duration::from_mins(15))
        .idle_timeout(Duration::from_mins(5))
        .test_before_acquire(false)
        .before_acquire(|connection, meta| {
            Box::pin(async move {
                if meta.idle_for > TRUSTED_IDLE { alive(connection.ping()).await } else { Ok(true) }
            })
        })
        .after_release(|connection, _| {
            Box::pin(async move {
                alive(async { sqlx::raw_sql("rollback").execute(connection).await.map(drop) }).await
            })
        })
        .connect_with(connect.clone())
        .await
}

/// Any number will do, as long as nobody else in the database locks it.
const MIGRATION_LOCK: i64 = 0x7461_736b_666c_6f77;

/// Brings the schema up to date, while holding a lock on a connection of its own.
pub(super) async fn migrate<M: MigratorTrait>(
    connect: &PgConnectOptions,
    schema: Option<&str>,
    orm: &DatabaseConnection,
) -> StoreResult<()> {
    // Whoever waits here waits for another process's migration, however long it takes.
    let patient = connect.clone().options([("lock_timeout", "0")]);
    let mut keeper = patient.connect().await.map_err(|fault| from_sqlx(&fault))?;
    let result = async {
        sqlx::query("select pg_advisory_lock($1)")
            .bind(MIGRATION_LOCK)
            .execute(&mut keeper)
            .await
            .map_err(|fault| from_sqlx(&fault))?;
        if let Some(schema) = schema {
            // The name was checked when the options were made.
            let statement = format!("create schema if not exists \"{schema}\"");
            sqlx::raw_sql(AssertSqlSafe(statement))
                .execute(&mut keeper)
                .await
                .map_err(|fault| from_sqlx(&fault))?;
        }
        M::up(orm, None).await.map_err(|fault| from_orm(&fault))?;
        super::wall::raise(&mut keeper).await.map_err(|fault| from_sqlx(&fault))
    }
    .await;
    // The lock goes with the session.
    let closed = keeper.close().await;
    result.and(closed.map_err(|fault| from_sqlx(&fault)))
}
