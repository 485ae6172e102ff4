//! Units of work: what happens in one transaction, whoever waits for it.
//!
//! A transaction is begun in this file only, and always inside a task of its
//! own. A caller that goes away, because its client closed the connection or a
//! timeout passed, must not cancel the driver between `BEGIN` and its answer:
//! the connection would go back to the pool inside an open transaction.

use std::future::Future;
use std::time::Duration;

use sea_orm::DbErr;
use sqlx::PgConnection;
use taskflow_application::ports::{StoreError, StoreResult};

use super::warm::{Connection, Warm};
use crate::store::error::{Fault, from_orm};

/// How often a unit of work is repeated when the database chose another one.
const TRIES: u32 = 5;

/// A server that says nothing for so long will not answer any more: it is frozen,
/// or gone without a word. It is more than a server waits for a lock. Nothing is
/// asked of the server to end what it does, so a COMMIT that only waits for its
/// standby is not cut short; nobody knows then whether it was carried out.
const PATIENCE: Duration = Duration::from_secs(15);

/// Begins without a lock.
pub(super) const BEGIN: &str = "begin";
/// Begins with the settings lock shared: no limit, weight or pause changes
/// before the end, and the first statement already sees the latest ones.
pub(super) const BEGIN_UNDER_SETTINGS: &str = "begin; select pg_advisory_xact_lock_shared(7598263486)";
/// Begins with the settings lock held alone: nobody claims meanwhile.
pub(super) const BEGIN_CHANGING_SETTINGS: &str = "begin; select pg_advisory_xact_lock(7598263486)";

/// What becomes of a transaction.
pub(super) enum End<T> {
    /// It is committed.
    Commit(T),
    /// It is undone.
    Undo(T),
}

/// One transaction's work. It may run several times, each time from the start.
pub(super) trait Unit: Send + Sync + 'static {
    /// What it brings back.
    type Output: Send + 'static;
    /// The statement that begins it.
    const BEGIN: &'static str = BEGIN;

    /// Does the work.
    fn run(
        &self,
        connection: &mut PgConnection,
    ) -> impl Future<Output = Result<End<Self::Output>, Fault>> + Send;
}

/// Runs `work` to its end, also when nobody waits for it any more.
pub(super) async fn detached<T: Send + 'static>(
    work: impl Future<Output = StoreResult<T>> + Send + 'static,
) -> StoreResult<T> {
    tokio::spawn(work).await.unwrap_or_else(|fault| {
        Err(if fault.is_panic() {
            StoreError::Rejected("a unit of work panicked".into())
        } else {
            StoreError::Unavailable("the process is shutting down".into())
        })
    })
}

/// Runs `unit` in a transaction. Call it inside of [`detached`].
pub(super) async fn transact<U: Unit>(warm: &Warm, unit: &U) -> StoreResult<U::Output> {
    let mut tries = 0;
    loop {
        tries += 1;
        match patiently(once(warm, unit)).await {
            Err(fault) if fault.is_conflict() && tries < TRIES => {
                tracing::debug!(?fault, tries, "repeating a transaction that the database gave up");
            }
            result => return result.map_err(Into::into),
        }
    }
}

/// Runs `unit` in a transaction, detached from the caller.
pub(super) async fn transact_detached<U: Unit>(warm: &Warm, unit: U) -> StoreResult<U::Output> {
    let warm = warm.clone();
    detached(async move { transact(&warm, &unit).await }).await
}

/// Gives up a server that does not answer. The connection is dropped in the middle
/// of its conversation, and the pool closes it.
pub(super) async fn patiently<T, E: From<StoreError>>(
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| {
        tracing::warn!("the database has not answered for {} s", PATIENCE.as_secs());
        Err(StoreError::Unavailable("the database does not answer".to_owned()).into())
    })
}

/// The same for what SeaORM asks.
pub(super) async fn asked<T>(question: impl Future<Output = Result<T, DbErr>>) -> StoreResult<T> {
    patiently(async { question.await.map_err(|fault| from_orm(&fault)) }).await
}

async fn once<U: Unit>(warm: &Warm, unit: &U) -> Result<U::Output, Fault> {
    let mut connection = begin(warm, U::BEGIN).await?;
    let end = unit.run(&mut connection).await;
    let output = match end {
        Ok(End::Commit(output)) => {
            sqlx::raw_sql("commit").execute(&mut *connection).await?;
            output
        }
        Ok(End::Undo(output)) => {
            sqlx::raw_sql("rollback").execute(&mut *connection).await?;
            output
        }
        // Without a word to the server: the pool rolls back what comes back to it, and the
        // first fault is the one to tell of.
        Err(fault) => return Err(fault),
    };
    warm.keep(connection);
    Ok(output)
}

/// Begins a transaction. A connection that broke while it lay idle shows it
/// here, before anything was done, so another one is tried.
async fn begin(warm: &Warm, statement: &'static str) -> sqlx::Result<Connection> {
    let mut stale = warm.pool().size();
    loop {
        let mut connection = warm.take().await?;
        match sqlx::raw_sql(statement).execute(&mut *connection).await {
            Err(fault) if stale > 0 && is_broken(&fault) => {
                tracing::debug!(%fault, "a pooled connection was broken");
                stale -= 1;
            }
            result => return result.map(|_| connection),
        }
    }
}

/// Whether the connection is at fault, and not the statement.
pub(super) fn is_broken(fault: &sqlx::Error) -> bool {
    match fault {
        sqlx::Error::Io(_) => true,
        // The server told, before it closed the connection, that it is going.
        sqlx::Error::Database(fault) => matches!(fault.code().as_deref(), Some("57P01" | "57P02")),
        _ => false,
    }
}

/// Runs one statement that commits by itself, with the repeats of a transaction.
/// Call it inside of [`detached`] if anything must follow it.
pub(super) async fn repeat<T, F>(mut attempt: impl FnMut() -> F) -> StoreResult<T>
where
    F: Future<Output = sqlx::Result<T>>,
{
    let mut tries = 0;
    loop {
        tries += 1;
        match patiently(async { attempt().await.map_err(Fault::from) }).await {
            Err(fault) if fault.is_conflict() && tries < TRIES => {}
            result => return result.map_err(Into::into),
        }
    }
}

/// The same on a connection at hand, which `attempt` gives back when it is through with it.
pub(super) async fn alone<T, F>(warm: &Warm, attempt: impl Fn(Connection) -> F) -> StoreResult<T>
where
    F: Future<Output = sqlx::Result<(T, Connection)>>,
{
    let mut tries = 0;
    loop {
        tries += 1;
        let once = async {
            let (answer, connection) = attempt(warm.take().await?).await?;
            warm.keep(connection);
            Ok(answer)
        };
        match patiently::<T, Fault>(once).await {
            Err(fault) if fault.is_conflict() && tries < TRIES => {}
            result => return result.map_err(Into::into),
        }
    }
}
