//! Connections that were just used, kept at hand.
//!
//! The pool hands its idle connections out in turn, and asks each that comes back
//! whether it is clean and lives: two round trips for every use, and a server
//! process that has gone cold since its last one. The hot path takes the
//! connection that was given back last, as it is. Only one whose conversation was
//! seen to its end, outside of any transaction, is kept; every other goes back
//! to the pool, which makes it clean or closes it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sqlx::pool::PoolConnection;
use sqlx::{PgPool, Postgres};
use tokio::time::Instant;

use super::connect::TRUSTED_IDLE;

/// The most connections that are kept, and the part of the pool that they may be.
const MOST: usize = 4;
const PART: u32 = 4;

/// A connection of the pool.
pub(super) type Connection = PoolConnection<Postgres>;

struct Kept {
    connection: Connection,
    since: Instant,
}

/// The pool, and what is kept of it at hand.
#[derive(Clone)]
pub(super) struct Warm {
    pool: PgPool,
    kept: Arc<Mutex<Vec<Kept>>>,
    most: usize,
}

impl Warm {
    pub(super) fn new(pool: PgPool) -> Self {
        let part = pool.options().get_max_connections() / PART;
        let most = MOST.min(usize::try_from(part).unwrap_or(MOST));
        Self { pool, kept: Arc::default(), most }
    }

    /// A connection: the last that was kept, or one of the pool.
    pub(super) async fn take(&self) -> sqlx::Result<Connection> {
        let kept = self.kept().pop();
        match kept.filter(|kept| kept.since.elapsed() < TRUSTED_IDLE) {
            Some(kept) => Ok(kept.connection),
            None => self.pool.acquire().await,
        }
    }

    /// Keeps a connection. Call it only when all that was asked was answered and no
    /// transaction is open.
    pub(super) fn keep(&self, connection: Connection) {
        let mut kept = self.kept();
        // Those at the bottom are taken last: nobody has needed so many for a while.
        let stale = kept.iter().take_while(|kept| kept.since.elapsed() >= TRUSTED_IDLE).count();
        drop(kept.drain(..stale).collect::<Vec<_>>());
        if kept.len() < self.most && !self.pool.is_closed() {
            kept.push(Kept { connection, since: Instant::now() });
        }
    }

    /// How many are kept.
    pub(super) fn len(&self) -> usize {
        self.kept().len()
    }

    /// The pool that they come from, and go back to.
    pub(super) const fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Gives all back to the pool.
    pub(super) fn give_back(&self) {
        drop(std::mem::take(&mut *self.kept()));
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
