//! The one way to write: a unit of work on the only writing connection.
//!
//! A unit begins with `BEGIN IMMEDIATE`, so that it never has to turn a read
//! lock into a write lock, and runs in a task of its own, so that a caller who
//! goes away cannot leave the driver in the middle of a statement: the unit is
//! always carried to its commit or its rollback. A connection that cannot be
//! rolled back is closed, and the pool opens another.

use std::pin::Pin;

use sqlx::{Connection, SqliteConnection, SqlitePool};
use taskflow_application::ports::{StoreError, StoreResult};

use super::super::error::Fault;

/// A unit of work under way.
pub(super) type Work<'c, T> = Pin<Box<dyn Future<Output = Result<T, Fault>> + Send + 'c>>;

/// The writing connection.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    pool: SqlitePool,
}

impl Writer {
    /// A writer over a pool of one connection.
    pub(super) fn new(pool: SqlitePool) -> Self {
        Self { pool }
    }

    /// Its pool, for what must not run in a unit of work.
    pub(super) fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    /// Does a unit of work: all of it, or nothing and the reason why.
    pub(super) async fn run<T, F>(&self, work: F) -> StoreResult<T>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> Work<'c, T> + Send + 'static,
    {
        match tokio::spawn(unit(self.pool.clone(), work)).await {
            Ok(done) => done.map_err(StoreError::from),
            Err(fault) if fault.is_panic() => {
                Err(StoreError::Rejected("a unit of work panicked; it was rolled back".into()))
            }
            Err(_) => Err(StoreError::Unavailable("the engine is stopping".into())),
        }
    }
}

async fn unit<T, F>(pool: SqlitePool, work: F) -> Result<T, Fault>
where
    F: for<'c> FnOnce(&'c mut SqliteConnection) -> Work<'c, T>,
{
    let mut connection = pool.acquire().await?;
    let mut transaction = connection.begin_with("begin immediate").await?;
    let fault = match work(&mut transaction).await {
        Ok(done) => match transaction.commit().await {
            Ok(()) => return Ok(done),
            // The failed commit has been dropped, which rolls back. Whether that
            // worked nobody can say, so the connection does not come back.
            Err(fault) => Fault::from(fault),
        },
        Err(fault) => match transaction.rollback().await {
            Ok(()) => return Err(fault),
            Err(_) => fault,
        },
    };
    connection.close().await.ok();
    Err(fault)
}
