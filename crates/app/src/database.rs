//! The database that the URL names: opened, brought up to date, asked how it is.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use taskflow_adapters::store::Sealed;
use taskflow_adapters::store::postgres::{PostgresOptions, PostgresStore};
use taskflow_adapters::store::sqlite::{SqliteOptions, SqliteStore};
use taskflow_application::ports::{StoreError, StoreResult, Stores};
use taskflow_domain::Timestamp;
use tokio::time::{Instant, sleep};

use crate::config::{self, DatabaseUrl};

/// How long a server may take to come up, as when both are started together.
const PATIENCE: Duration = Duration::from_mins(1);

/// Between two tries to reach it.
const TRY_AGAIN: Duration = Duration::from_millis(500);

/// An open database.
#[derive(Clone)]
pub(crate) enum Database {
    /// A server that processes share.
    Postgres(Box<PostgresStore>),
    /// A file of this process.
    Sqlite(SqliteStore),
}

/// How busy the connections are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Connections {
    /// In use.
    pub(crate) used: u32,
    /// Open, and free.
    pub(crate) idle: u32,
}

impl Database {
    /// Opens it. A server that does not answer yet is waited for.
    pub(crate) async fn open(config: &config::Database) -> Result<Self> {
        Self::open_in(config, None).await
    }

    /// Opens it, with the tables in a schema of that name where it has schemas.
    pub(crate) async fn open_in(config: &config::Database, schema: Option<String>) -> Result<Self> {
        Self::open_as(config, schema, false).await
    }

    /// Opens one that must be there with its tables, to look at it and change nothing.
    pub(crate) async fn open_to_look(config: &config::Database) -> Result<Self> {
        if let DatabaseUrl::Sqlite(url) = &config.url
            && !SqliteStore::exists(url)
        {
            bail!("there is no database at {url}: DATABASE_URL names the one that is meant");
        }
        let database = Self::open_as(config, None, true).await?;
        let made = match &database {
            Self::Postgres(store) => store.is_made().await,
            Self::Sqlite(store) => store.is_made().await,
        };
        if !made.with_context(|| format!("cannot read {:?}", config.url))? {
            bail!(
                "{:?} has no tables of TaskFlow: DATABASE_URL names the database that is meant",
                config.url
            );
        }
        Ok(database)
    }

    async fn open_as(config: &config::Database, schema: Option<String>, look: bool) -> Result<Self> {
        let give_up = Instant::now() + PATIENCE;
        let mut told = false;
        loop {
            match Self::try_open(config, schema.clone(), look).await {
                Ok(database) => return Ok(database),
                Err(StoreError::Unavailable(reason)) if Instant::now() < give_up => {
                    if !told {
                        tracing::warn!(reason, "the database does not answer; trying again");
                        told = true;
                    }
                    sleep(TRY_AGAIN).await;
                }
                Err(error) => return Err(error).with_context(|| format!("cannot open {:?}", config.url)),
            }
        }
    }

    async fn try_open(config: &config::Database, schema: Option<String>, look: bool) -> StoreResult<Self> {
        match &config.url {
            DatabaseUrl::Postgres(url) => {
                let options = PostgresOptions {
                    max_connections: config.connections,
                    schema,
                    ..PostgresOptions::default()
                };
                PostgresStore::connect(url, options).await.map(|store| Self::Postgres(Box::new(store)))
            }
            DatabaseUrl::Sqlite(url) => {
                let options = SqliteOptions { read_only: look, ..SqliteOptions::default() };
                SqliteStore::connect(url, options).await.map(Self::Sqlite)
            }
        }
    }

    /// Brings the schema up to date.
    pub(crate) async fn migrate(&self) -> Result<()> {
        match self {
            Self::Postgres(store) => Box::pin(store.migrate()).await,
            Self::Sqlite(store) => Box::pin(store.migrate()).await,
        }
        .context("the schema cannot be brought up to date")
    }

    /// The key of secrets that it holds, if it holds one.
    pub(crate) async fn sealing_key(&self) -> StoreResult<Option<Vec<u8>>> {
        match self {
            Self::Postgres(store) => store.sealing_key().await,
            Self::Sqlite(store) => store.sealing_key().await,
        }
    }

    /// What is kept sealed and still of use.
    pub(crate) async fn sealed(&self, now: Timestamp) -> StoreResult<Sealed> {
        match self {
            Self::Postgres(store) => store.sealed(now).await,
            Self::Sqlite(store) => store.sealed(now).await,
        }
    }

    /// The same of the key, made if there is none, and whether it was.
    pub(crate) async fn make_sealing_key(&self) -> StoreResult<(Vec<u8>, bool)> {
        match self {
            Self::Postgres(store) => store.make_sealing_key().await,
            Self::Sqlite(store) => store.make_sealing_key().await,
        }
    }

    /// The ports.
    pub(crate) fn stores(&self) -> Stores {
        match self {
            Self::Postgres(store) => store.stores(),
            Self::Sqlite(store) => store.stores(),
        }
    }

    /// What time it is there, if it is on another clock than this process.
    pub(crate) async fn now(&self) -> StoreResult<Option<Timestamp>> {
        match self {
            Self::Postgres(store) => store.now().await.map(Some),
            Self::Sqlite(_) => Ok(None),
        }
    }

    /// How long the oldest transaction of the database has been open, where there is a server.
    pub(crate) async fn oldest_transaction(&self) -> StoreResult<Option<Duration>> {
        match self {
            Self::Postgres(store) => store.oldest_transaction().await.map(Some),
            Self::Sqlite(_) => Ok(None),
        }
    }

    /// Whether it answers.
    pub(crate) async fn ping(&self) -> StoreResult<()> {
        match self {
            Self::Postgres(store) => store.ping().await,
            Self::Sqlite(store) => store.ping().await,
        }
    }

    /// How busy the connections are.
    pub(crate) fn connections(&self) -> Connections {
        match self {
            Self::Postgres(store) => {
                let status = store.pool_status();
                let idle = u32::try_from(status.idle).unwrap_or(u32::MAX);
                Connections { used: status.size.saturating_sub(idle), idle }
            }
            Self::Sqlite(store) => {
                let status = store.stats();
                Connections { used: status.open.saturating_sub(status.idle), idle: status.idle }
            }
        }
    }

    /// Closes it, when what is under way has ended.
    pub(crate) async fn close(&self) {
        match self {
            Self::Postgres(store) => store.close().await,
            Self::Sqlite(store) => store.close().await,
        }
    }
}
