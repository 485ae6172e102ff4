//! Committing changes of jobs.
//!
//! Nearly all changes are ends of attempts that end the job. These go through one
//! statement that finds the running jobs by their fences and writes all that
//! belongs to their ends; alone it commits by itself ([`ends`]). All other changes
//! take the jobs from where they stand, and put them where they are to be
//! ([`moves`]). What need not be in the transaction follows it: waking lanes,
//! lifting blocks, settling charges.

mod edits;
mod ends;
mod moves;
mod places;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use sqlx::PgConnection;
use taskflow_application::ports::{AuditNote, Committed, StoreResult};
use taskflow_domain::JobChange;

use super::insert::backlog;
use super::lanes::Charges;
use super::unit::{BEGIN_UNDER_SETTINGS, End, Unit, detached, transact};
use super::{Inner, audit};
use crate::store::error::Fault;
use ends::Ends;

/// What a commit did and what is to follow it.
#[derive(Default)]
struct Outcome {
    /// The changes that were done, by their places in the call.
    done: Vec<usize>,
    /// The changes whose jobs would wait again where no more may, and how many may.
    full: Vec<(usize, u32)>,
    /// Lanes with jobs that became due.
    due_lanes: Vec<i32>,
    /// Limits that got room.
    freed_slots: Vec<i32>,
    /// Whether the limit of a whole queue got room.
    freed_queue: bool,
    charges: Charges,
}

/// The changes of one call.
struct Changes {
    all: Vec<JobChange>,
    /// Ends of attempts that end the job.
    ends: Vec<usize>,
    /// Those that send ended jobs through again.
    revivals: Vec<usize>,
    /// The others.
    moves: Vec<usize>,
    /// What the audit is told, if any of it is done.
    note: Option<AuditNote>,
}

/// What a commit has to do. Plain ends need nothing of their changes but what they bind.
enum Work {
    Ends(Box<Ends>),
    All(Box<Changes>),
}

/// Commits changes: see the port.
pub(super) async fn commit(
    inner: &Arc<Inner>,
    changes: &[JobChange],
    note: Option<AuditNote>,
) -> StoreResult<Vec<Committed>> {
    let mut answers = vec![Committed::Refused; changes.len()];
    let mut seen = HashSet::with_capacity(changes.len());
    let first = (0..changes.len()).filter(|&at| {
        let change = &changes[at];
        seen.insert((change.tenant, change.job, change.guard.name()))
    });
    let (ends, moves): (Vec<usize>, Vec<usize>) = first.partition(|&at| ends::is_end(&changes[at]));
    let (revivals, moves): (Vec<usize>, Vec<usize>) =
        moves.into_iter().partition(|&at| changes[at].revives());
    if ends.is_empty() && moves.is_empty() && revivals.is_empty() {
        return Ok(answers);
    }
    let work = if moves.is_empty() && revivals.is_empty() && note.is_none() {
        Work::Ends(Box::new(Ends::of(changes, &ends)))
    } else {
        Work::All(Box::new(Changes { all: changes.to_vec(), ends, revivals, moves, note }))
    };
    let inner = Arc::clone(inner);
    let (done, full) = detached(async move {
        let outcome = match &work {
            Work::Ends(ends) => ends.commit_alone(&inner.warm).await?,
            Work::All(changes) => transact(&inner.warm, changes.as_ref()).await?,
        };
        inner.activate(outcome.due_lanes).await?;
        inner.unblock(&outcome.freed_slots).await?;
        if outcome.freed_queue || !outcome.freed_slots.is_empty() {
            inner.room.notify_one();
        }
        inner.charge(&outcome.charges).await?;
        Ok((outcome.done, outcome.full))
    })
    .await?;
    for at in done {
        answers[at] = Committed::Done;
    }
    for (at, most) in full {
        answers[at] = Committed::BacklogFull(most);
    }
    Ok(answers)
}

impl Unit for Changes {
    type Output = Outcome;
    const BEGIN: &'static str = BEGIN_UNDER_SETTINGS;

    async fn run(&self, connection: &mut PgConnection) -> Result<End<Outcome>, Fault> {
        let mut outcome = Outcome::default();
        if !self.ends.is_empty() {
            outcome = Ends::of(&self.all, &self.ends).commit(&mut *connection).await?;
        }
        moves::commit(&mut *connection, &self.all, &self.moves, &mut outcome).await?;
        self.revive(&mut *connection, &mut outcome).await?;
        if !outcome.done.is_empty() {
            audit::append(connection, self.note.as_slice()).await?;
        }
        Ok(End::Commit(outcome))
    }
}

impl Changes {
    /// Sends ended jobs through again, as many of each tenant as may wait, in the order of
    /// the call. One that is refused for another reason takes no room.
    async fn revive(&self, connection: &mut PgConnection, outcome: &mut Outcome) -> Result<(), Fault> {
        let mut left = self.revivals.clone();
        if left.is_empty() {
            return Ok(());
        }
        let tenants = left.iter().map(|&at| self.all[at].tenant);
        let mut backlogs = backlog::backlogs(connection, tenants).await?;
        while !left.is_empty() {
            let mut taken: HashMap<i32, u32> = HashMap::new();
            let (tried, rest): (Vec<usize>, Vec<usize>) = left.into_iter().partition(|&at| {
                let tenant = self.all[at].tenant.0;
                let taken = taken.entry(tenant).or_default();
                *taken += 1;
                backlogs.get(&tenant).is_none_or(|backlog| *taken <= backlog.room)
            });
            if tried.is_empty() {
                let most = |at: &usize| backlogs.get(&self.all[*at].tenant.0).map(|backlog| backlog.most);
                outcome.full.extend(rest.iter().filter_map(|at| Some((*at, most(at)?))));
                break;
            }
            let before = outcome.done.len();
            moves::commit(&mut *connection, &self.all, &tried, outcome).await?;
            for &at in &outcome.done[before..] {
                if let Some(backlog) = backlogs.get_mut(&self.all[at].tenant.0) {
                    backlog.room = backlog.room.saturating_sub(1);
                }
            }
            left = rest;
        }
        Ok(())
    }
}
