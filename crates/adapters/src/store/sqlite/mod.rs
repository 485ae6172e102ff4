//! The store over SQLite: one file, one process or a few, no server.
//!
//! Everything is written through one connection (see [`writer`]) and read
//! through a pool of others, which see what is committed. As all writers stand
//! in one line, a unit of work may read, decide in memory and write, and wakes
//! the lanes of its jobs itself; there is no wake-up to lose.

use std::str::FromStr as _;
use std::sync::Arc;
use std::sync::atomic::AtomicI32;
use std::time::Duration;

use sea_orm::{ConnectionTrait as _, DatabaseConnection, SqlxSqliteConnector};
use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use taskflow_application::memory::LocalAllowances;
use taskflow_application::ports::{StoreError, StoreResult, Stores};

use self::writer::Writer;
use super::error::{from_orm, from_sqlx};
use super::names::Catalog;

mod audit;
mod claim;
mod commit;
mod events;
mod explain;
mod fire;
mod ids;
mod insert;
mod jobs;
mod keys;
mod leases;
mod limits;
mod migrate;
mod names;
mod progress;
mod promote;
mod proof;
mod prune;
mod queues;
mod reader;
mod record;
mod rules;
mod sealing;
mod stats;
mod sweep;
mod tenants;
mod workers;
mod writer;
mod writes;

/// How a SQLite database is opened.
#[derive(Clone, Copy, Debug)]
pub struct SqliteOptions {
    /// Connections that read.
    pub readers: u32,
    /// How long to wait for another process that writes.
    pub busy_timeout: Duration,
    /// How long to wait for a connection.
    pub acquire_timeout: Duration,
    /// How large the database may become; `None` leaves that to the disk.
    pub max_bytes: Option<u64>,
    /// Whether the database is only looked at: it must exist, and stays as it is.
    pub read_only: bool,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            readers: 4,
            busy_timeout: Duration::from_secs(10),
            acquire_timeout: Duration::from_secs(30),
            max_bytes: None,
            read_only: false,
        }
    }
}

/// How busy the connections are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SqliteStats {
    /// Open connections.
    pub open: u32,
    /// Those of them that nobody uses.
    pub idle: u32,
}

/// The stores of one SQLite database.
#[derive(Clone, Debug)]
pub struct SqliteStore {
    shared: Arc<Shared>,
}

/// What all stores of one database share.
#[derive(Debug)]
struct Shared {
    writer: Writer,
    /// In memory, where there is one connection only, the writer's own pool.
    readers: SqlitePool,
    in_memory: bool,
    /// The readers, for SeaORM.
    orm: DatabaseConnection,
    catalog: Catalog,
    /// The queue that had the last turn of a claim.
    turn: AtomicI32,
    /// A file serves one process, so requests are counted without it.
    allowances: Arc<LocalAllowances>,
}

impl SqliteStore {
    /// Opens the database `url`: `sqlite://path`, made if it does not exist, or
    /// `sqlite::memory:`.
    pub async fn connect(url: &str, options: SqliteOptions) -> StoreResult<Self> {
        let base = SqliteConnectOptions::from_str(url)
            .map_err(|fault| {
                StoreError::Rejected(format!("{url} is no address of a SQLite database: {fault}"))
            })?
            .busy_timeout(options.busy_timeout)
            .foreign_keys(true)
            .statement_cache_capacity(256)
            .row_buffer_size(1_024)
            .pragma("temp_store", "memory")
            .pragma("cache_size", "-65536");
        let base = sqlx::ConnectOptions::disable_statement_logging(base);
        let in_memory = url.contains(":memory:") || url.contains("mode=memory");
        let writer = migrate::open_writer(&base, in_memory, &options).await?;
        let readers = if in_memory { writer.clone() } else { reader_pool(&base, &options) };
        let orm = SqlxSqliteConnector::from_sqlx_sqlite_pool(readers.clone());
        let shared = Shared {
            writer: Writer::new(writer),
            readers,
            in_memory,
            orm,
            catalog: Catalog::default(),
            turn: AtomicI32::new(0),
            allowances: Arc::default(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Whether there is a database at `url`.
    pub fn exists(url: &str) -> bool {
        SqliteConnectOptions::from_str(url).is_ok_and(|options| options.get_filename().is_file())
    }

    /// Whether the engine's tables are in it.
    pub async fn is_made(&self) -> StoreResult<bool> {
        sqlx::query_scalar(
            "select exists (select 1 from sqlite_schema where type = 'table' and name = 'audit')",
        )
        .fetch_one(&self.shared.readers)
        .await
        .map_err(|fault| from_sqlx(&fault))
    }

    /// Brings the schema up to date. Several processes may do so at once.
    pub async fn migrate(&self) -> StoreResult<()> {
        migrate::migrate(self.shared.writer.pool().clone()).await
    }

    /// The ports over this database.
    pub fn stores(&self) -> Stores {
        Stores {
            jobs: Arc::new(self.clone()),
            reader: Arc::new(self.clone()),
            queues: Arc::new(self.clone()),
            tenants: Arc::new(self.clone()),
            workers: Arc::new(self.clone()),
            keys: Arc::new(self.clone()),
            audit: Arc::new(self.clone()),
            rules: Arc::new(self.clone()),
            events: Arc::new(self.clone()),
            explain: Arc::new(self.clone()),
            stats: Arc::new(self.clone()),
            allowances: self.shared.allowances.clone(),
        }
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> StoreResult<()> {
        self.shared.orm.execute_unprepared("select 1").await.map(|_| ()).map_err(|fault| from_orm(&fault))
    }

    /// The connections, writing and reading together.
    pub fn stats(&self) -> SqliteStats {
        let (writer, readers) = (self.shared.writer.pool(), &self.shared.readers);
        let idle = |pool: &SqlitePool| u32::try_from(pool.num_idle()).unwrap_or(u32::MAX);
        if self.shared.in_memory {
            return SqliteStats { open: writer.size(), idle: idle(writer) };
        }
        SqliteStats {
            open: writer.size().saturating_add(readers.size()),
            idle: idle(writer).saturating_add(idle(readers)),
        }
    }

    /// The connections that look, for tests that count what a look costs.
    pub fn pool(&self) -> &SqlitePool {
        &self.shared.readers
    }

    /// Closes all connections, once what is under way has ended.
    pub async fn close(&self) {
        self.shared.readers.close().await;
        self.shared.writer.pool().close().await;
    }
}

fn reader_pool(base: &SqliteConnectOptions, options: &SqliteOptions) -> SqlitePool {
    SqlitePoolOptions::new()
        .max_connections(options.readers.max(1))
        .acquire_timeout(options.acquire_timeout)
        .test_before_acquire(false)
        .connect_lazy_with(base.clone().read_only(true).pragma("mmap_size", "268435456"))
}
