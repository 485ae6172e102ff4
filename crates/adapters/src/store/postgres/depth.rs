//! How many jobs of each queue are in each state: what a write adds, and the fold.
//!
//! A row for each queue and state would be locked by every write. So writes
//! append differences, which a sweep folds into the sums, and whoever reads adds
//! up both.

use std::collections::BTreeMap;

use sqlx::PgPool;
use taskflow_application::ports::StoreResult;
use taskflow_domain::JobState;

use super::unit::repeat;

const FOLD: &str = "
with gone as (delete from depth_delta returning queue_id, state, n)
insert into depth as d (queue_id, state, n)
select queue_id, state, sum(n)::int8 from gone group by 1, 2 order by 1, 2
on conflict (queue_id, state) do update set n = d.n + excluded.n";

/// Differences that one transaction makes.
#[derive(Debug, Default)]
pub(super) struct Deltas(BTreeMap<(i32, i16), i64>);

/// Differences as the arrays of a statement.
#[derive(Debug)]
pub(super) struct DeltaColumns {
    pub(super) queues: Vec<i32>,
    pub(super) states: Vec<i16>,
    pub(super) counts: Vec<i64>,
}

impl Deltas {
    /// A job of this queue went from one state to another.
    pub(super) fn moved(&mut self, queue: i32, from: JobState, to: JobState) {
        *self.0.entry((queue, from.code())).or_default() -= 1;
        *self.0.entry((queue, to.code())).or_default() += 1;
    }

    /// The differences that are left.
    pub(super) fn columns(&self) -> DeltaColumns {
        let left = || self.0.iter().filter(|(_, n)| **n != 0);
        DeltaColumns {
            queues: left().map(|((queue, _), _)| *queue).collect(),
            states: left().map(|((_, state), _)| *state).collect(),
            counts: left().map(|(_, n)| *n).collect(),
        }
    }
}

/// Folds what was appended so far.
pub(super) async fn fold(pool: &PgPool) -> StoreResult<()> {
    repeat(|| sqlx::query(FOLD).execute(pool)).await?;
    Ok(())
}
