//! Reading the first jobs of each lane, with all that running them needs.

use std::collections::HashMap;
use std::sync::LazyLock;

use sqlx::{Row as _, SqliteConnection};

use super::super::super::error::Fault;
use super::super::super::row::{CountersRow, JobRow};
use super::lanes::Candidate;

/// A due job, about to run.
#[derive(Debug)]
pub(super) struct Picked {
    /// The position of its lane in the plan.
    pub(super) lane: usize,
    pub(super) lane_id: i32,
    pub(super) ord: i64,
    pub(super) due_at: i64,
    pub(super) seq: i32,
    /// What its kind has cost so far, if it ever ran.
    pub(super) cost_us: Option<i64>,
    pub(super) counters: CountersRow,
    pub(super) job: JobRow,
}

/// The jobs that the lanes may start, lane after lane, each in its order.
pub(super) async fn pick(tx: &mut SqliteConnection, lanes: &[Candidate]) -> Result<Vec<Picked>, Fault> {
    let places: HashMap<i32, usize> = lanes.iter().enumerate().map(|(at, lane)| (lane.id, at)).collect();
    let wanted: Vec<_> = lanes.iter().filter(|lane| lane.take > 0).collect();
    let mut picked = Vec::new();
    for some in wanted.chunks(MOST_LANES) {
        let size = some.len().next_power_of_two();
        let mut query = sqlx::query(PICK[size.trailing_zeros() as usize].as_str());
        for lane in some {
            query = query.bind(lane.id).bind(lane.take);
        }
        for _ in some.len()..size {
            query = query.bind(0).bind(0);
        }
        for row in query.fetch_all(&mut *tx).await? {
            let lane_id: i32 = row.try_get(0)?;
            picked.push(Picked {
                lane: places.get(&lane_id).copied().unwrap_or_default(),
                lane_id,
                ord: row.try_get(1)?,
                due_at: row.try_get(2)?,
                seq: row.try_get(3)?,
                cost_us: row.try_get(4)?,
                counters: CountersRow::read(&row, 5)?,
                job: JobRow::read(&row, 5 + CountersRow::COLUMNS.len())?,
            });
        }
    }
    picked.sort_unstable_by_key(|job| (job.lane, job.ord, job.job.id));
    Ok(picked)
}

/// SQLite allows 500 parts in one compound select.
const MOST_LANES: usize = 128;

/// The statements for 1, 2, 4 and so on up to [`MOST_LANES`] lanes. A limit
/// cannot be taken from another row, so each lane has a part of its own.
static PICK: LazyLock<Vec<String>> =
    LazyLock::new(|| (0..=MOST_LANES.trailing_zeros()).map(|power| statement(1 << power)).collect());

fn statement(lanes: usize) -> String {
    let columns = "tenant_id, job_id, lane_id, ord, due_at, seq, kind_id, \
        attempt, spent, lost, interrupted, snoozed";
    let parts: Vec<_> = (0..lanes)
        .map(|lane| {
            let (id, take) = (2 * lane + 1, 2 * lane + 2);
            format!(
                "select * from (select {columns} from ready where lane_id = ?{id} \
                 order by ord, job_id limit ?{take})"
            )
        })
        .collect();
    format!(
        "select p.lane_id, p.ord, p.due_at, p.seq, c.cost_us, {}, {} from ({}) p \
         cross join job j on j.tenant_id = p.tenant_id and j.id = p.job_id \
         left join kind_cost c on c.tenant_id = p.tenant_id and c.kind_id = p.kind_id",
        CountersRow::columns("p"),
        JobRow::columns("j"),
        parts.join(" union all ")
    )
}
