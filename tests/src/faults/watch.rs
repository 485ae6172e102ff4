//! Watches, from beside it, until when the workers of a running engine have
//! their leases: what the checker needs to know whether a lost worker was
//! noticed in time, and only a lost one.
//!
//! It looks many times in the time of one lease, so the last beat of a worker
//! that died is always seen.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use sqlx::{Connection as _, Row as _};
use taskflow_checker::history::{AttemptRow, LeaseRow};
use tokio_util::task::AbortOnDropHandle;

use super::pause;

/// How often it looks.
const LOOK: Duration = Duration::from_millis(100);

/// The engine's own workers. Those of others hold each lease by itself.
const WORKERS: &str = "select name, beat_at, lease_until from worker where known and tenant_id is null";

/// A beat as it was seen: who, when, until when.
type Beat = (String, i64, i64);

/// Watches for as long as it is kept.
#[derive(Debug)]
pub struct Watch {
    seen: Arc<Mutex<Vec<Beat>>>,
    _task: AbortOnDropHandle<()>,
}

impl Watch {
    /// Begins to watch the database at this URL, which need not be there yet.
    pub fn start(database: &str) -> Self {
        let seen: Arc<Mutex<Vec<Beat>>> = Arc::default();
        let (own, url) = (Arc::clone(&seen), database.to_owned());
        let task = tokio::spawn(async move {
            let mut last = BTreeMap::new();
            loop {
                // A database that is away has no beats to show.
                let _ = follow(&url, &own, &mut last).await;
                pause(LOOK).await;
            }
        });
        Self { seen, _task: AbortOnDropHandle::new(task) }
    }

    /// The leases of these attempts, as far as workers' own leases cover them.
    pub fn leases(&self, attempts: &[AttemptRow]) -> Vec<LeaseRow> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let beats = seen.iter().map(|(worker, at, until)| LeaseRow::Beat {
            at: *at,
            worker: worker.clone(),
            until: *until,
        });
        let covered = |attempt: &&AttemptRow| {
            // A worker's first beat comes before its first claim.
            let own = seen.iter().find(|(worker, ..)| *worker == attempt.worker);
            own.is_some_and(|(_, at, _)| *at <= attempt.started_at)
        };
        let grants = attempts.iter().filter(covered).map(|attempt| LeaseRow::Grant {
            at: attempt.started_at,
            job: attempt.job.clone(),
            token: attempt.token.clone(),
            worker: attempt.worker.clone(),
            until: None,
        });
        beats.chain(grants).collect()
    }
}

/// Looks until the connection breaks.
async fn follow(url: &str, seen: &Mutex<Vec<Beat>>, last: &mut BTreeMap<String, i64>) -> Result<()> {
    let mut keep = |worker: String, at: i64, until: i64| {
        if last.insert(worker.clone(), at) != Some(at) {
            seen.lock().unwrap_or_else(PoisonError::into_inner).push((worker, at, until));
        }
    };
    if url.starts_with("sqlite") {
        let mut connection = sqlx::SqliteConnection::connect(url).await?;
        loop {
            for row in sqlx::query(WORKERS).fetch_all(&mut connection).await? {
                keep(row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            }
            pause(LOOK).await;
        }
    }
    let mut connection = sqlx::PgConnection::connect(url).await?;
    loop {
        for row in sqlx::query(WORKERS).fetch_all(&mut connection).await? {
            keep(row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        }
        pause(LOOK).await;
    }
}
