//! Opening the database for writing, and bringing its schema up to date.

use std::time::Duration;

use sea_orm::{SqliteTransactionMode, SqlxSqliteConnector, TransactionOptions, TransactionTrait as _};
use sea_orm_migration::MigratorTrait as _;
use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use taskflow_application::ports::{StoreError, StoreResult};
use taskflow_migrations::Migrator;

use super::super::error::{from_orm, from_sqlx};
use super::SqliteOptions;

/// Pause between attempts to open a database that another process is just making.
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(50);

/// What SQLite gives a page unless it is told otherwise.
const PAGE_BYTES: u64 = 4_096;

/// The pool of the one writing connection. It is opened at once, because it makes
/// the file that the readers need.
pub(super) async fn open_writer(
    base: &SqliteConnectOptions,
    in_memory: bool,
    options: &SqliteOptions,
) -> StoreResult<SqlitePool> {
    let mut connect = base.clone().synchronous(SqliteSynchronous::Full);
    connect = if options.read_only { connect.read_only(true) } else { connect.create_if_missing(true) };
    if !in_memory && !options.read_only {
        // A long log writes pages that change again and again to the file only once.
        connect = connect
            .journal_mode(SqliteJournalMode::Wal)
            .pragma("wal_autocheckpoint", "16000")
            .pragma("journal_size_limit", "134217728");
    }
    if let Some(bytes) = options.max_bytes {
        connect = connect.pragma("max_page_count", (bytes / PAGE_BYTES).max(1).to_string());
    }
    let pool = SqlitePoolOptions::new()
        .max_connections(1)
        .min_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        .acquire_timeout(options.acquire_timeout)
        .test_before_acquire(false);
    // The switch to the write-ahead log needs the file for itself and does not
    // wait for it, so two processes that start together may collide here.
    let attempts = options.busy_timeout.as_millis() / BETWEEN_ATTEMPTS.as_millis();
    let mut attempt = 0;
    loop {
        match pool.clone().connect_with(connect.clone()).await.map_err(|fault| from_sqlx(&fault)) {
            Err(StoreError::Unavailable(_)) if attempt < attempts => {
                attempt += 1;
                tokio::time::sleep(BETWEEN_ATTEMPTS).await;
            }
            result => return result,
        }
    }
}

/// Runs the migrations inside one transaction that begins with the write lock,
/// so that of several processes one migrates and the others find it done.
pub(super) async fn migrate(writer: SqlitePool) -> StoreResult<()> {
    let unit = tokio::spawn(async move {
        let orm = SqlxSqliteConnector::from_sqlx_sqlite_pool(writer);
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        let transaction = orm.begin_with_options(options).await?;
        Migrator::up(&transaction, None).await?;
        transaction.commit().await
    });
    match unit.await {
        Ok(done) => done.map_err(|fault| from_orm(&fault)),
        Err(fault) => Err(StoreError::Unavailable(format!("the migration was broken off: {fault}"))),
    }
}
