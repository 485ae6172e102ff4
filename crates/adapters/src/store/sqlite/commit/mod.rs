//! Committing changes: what was decided elsewhere happens, if its guard holds.
//!
//! The unit of work holds the write lock from its first statement, so it may
//! read where the jobs stand, decide in memory which guards hold, and then write
//! the accepted changes table by table: nothing can come in between.

mod found;
mod lanes;
mod moves;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use sqlx::SqliteConnection;
use taskflow_application::ports::{AuditNote, Committed, StoreResult};
use taskflow_domain::JobChange;

use self::moves::Moves;
use super::super::error::Fault;
use super::insert::rooms;
use super::{Shared, audit};

pub(super) async fn commit(
    shared: &Arc<Shared>,
    changes: &[JobChange],
    note: Option<AuditNote>,
) -> StoreResult<Vec<Committed>> {
    if changes.is_empty() {
        return Ok(Vec::new());
    }
    let changes = changes.to_vec();
    let work = shared.writer.run(move |tx| {
        Box::pin(async move {
            let answers = commit_all(tx, &changes).await?;
            if answers.contains(&Committed::Done) {
                audit::append(tx, note.as_slice()).await?;
            }
            Ok(answers)
        })
    });
    work.await
}

async fn commit_all(tx: &mut SqliteConnection, changes: &[JobChange]) -> Result<Vec<Committed>, Fault> {
    let standing = found::find(tx, changes).await?;
    let revived: Vec<_> =
        changes.iter().filter(|change| change.revives()).map(|change| change.tenant).collect();
    let mut rooms = if revived.is_empty() { HashMap::new() } else { rooms(tx, revived.into_iter()).await? };
    let mut seen = HashSet::with_capacity(changes.len());
    let mut moves = Moves::default();
    let mut answers = Vec::with_capacity(changes.len());
    for change in changes {
        let key = (change.tenant.0, change.job.0);
        let first = seen.insert((key, change.guard.name()));
        let place = standing.get(&key).filter(|place| place.allows(&change.guard));
        answers.push(match place {
            Some(place) if first => match rooms.get_mut(&change.tenant.0).filter(|_| change.revives()) {
                Some((0, most)) => Committed::BacklogFull(*most),
                room => {
                    if let Some((room, _)) = room {
                        *room -= 1;
                    }
                    moves.add(change, place)?;
                    Committed::Done
                }
            },
            _ => Committed::Refused,
        });
    }
    moves.flush(tx).await?;
    Ok(answers)
}
