//! Fair sharing of worker time between tenants.
//!
//! A *lane* is one tenant in one queue. Each lane has a virtual time: the slot
//! time that its jobs have used, divided by the tenant's weight. Whoever asks
//! for work is given jobs of the lane whose virtual time is least. A lane is
//! charged an estimate when a job of it is claimed, and the difference to what
//! the job really took when it ends, so that in the end only time counts, not
//! the number of jobs. A lane that was idle begins at the least virtual time of
//! the busy lanes, so that idleness saves nothing up.
//!
//! # How fair it is
//!
//! Take two lanes `i` and `j` of weights `wi` and `wj` that have due jobs and
//! room under their limits for all of a stretch of time. Let `Q` be the
//! [`QUANTUM`], `W` the number of jobs that may run at once, `E` the greatest
//! charge at a start, `U` and `D` the greatest corrections upwards and
//! downwards, and `B` the greatest error of [`Lane::cost_us`] for one job. Then
//! at every instant of the stretch lane `i` leads lane `j` in virtual time by
//! at most
//!
//! ```text
//! lead(i, j) = (min(Q, W) * E + W * (U + B)) / wi + W * (D + B) / wj
//! ```
//!
//! so in no part of the stretch does the weighted slot time that they are
//! charged differ by more than `lead(i, j) + lead(j, i)`. The bound does not
//! grow with time, with the length of the backlogs, or with the number of lanes.
//! With jobs of at most `L` microseconds all of `E`, `U`, `D` and `B` are at most
//! the greater of `L` and [`UNKNOWN_COST_US`]. A claim that looks at only
//! [`lanes_for`] lanes has its batch in place of `Q`. What is charged differs
//! from what a job took by at most a tenth of the charge, see
//! [`correction_us`]. The proof, and how it is tested, stand in
//! `docs/fairness.md`.

#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Jobs given to a lane before the next lane is looked at.
pub const QUANTUM: u32 = 10;
/// The least slot time that a job is charged, in microseconds: claiming and
/// settling cost the system something even where the work costs nothing.
pub const LEAST_COST_US: i64 = 1_000;
/// The estimate for a kind that has never run, in microseconds.
pub const UNKNOWN_COST_US: i64 = 10_000;
/// The most that one job can be charged, in microseconds: a day.
pub const MOST_COST_US: i64 = 86_400_000_000;

/// A lane that has due jobs, as a claim sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lane {
    /// Slot time used, divided by the weight, in microseconds.
    pub virtual_us: i64,
    /// The tenant's weight, at least 1.
    pub weight: u32,
    /// What its next jobs are expected to take each, in microseconds.
    pub cost_us: i64,
    /// The limits that it counts against, as indices into the rooms.
    pub limits: [Option<usize>; 2],
}

/// Divides `batch` starts over `lanes` by virtual time.
///
/// `rooms` holds for each limit how many more may run under it; what is given
/// out is taken off. The answer says for each lane how many it may start.
pub fn share(batch: u32, lanes: &[Lane], rooms: &mut [u32]) -> Vec<u32> {
    let mut takes = vec![0; lanes.len()];
    let mut left = batch;
    let mut next: BinaryHeap<_> =
        lanes.iter().enumerate().map(|(index, lane)| Reverse((lane.virtual_us, index))).collect();
    while left > 0
        && let Some(Reverse((virtual_us, index))) = next.pop()
    {
        let lane = &lanes[index];
        let room = lane.limits.iter().flatten().map(|&limit| rooms[limit]).min().unwrap_or(u32::MAX);
        let take = left.min(QUANTUM).min(room);
        if take == 0 {
            continue;
        }
        for &limit in lane.limits.iter().flatten() {
            rooms[limit] -= take;
        }
        takes[index] += take;
        left -= take;
        let charge = charge_us(lane.cost_us.saturating_mul(i64::from(take)), lane.weight);
        next.push(Reverse((virtual_us.saturating_add(charge), index)));
    }
    takes
}

/// Divides what `takes` gives to lanes of one tenant among them by the order of their
/// jobs: `order` names the lane of each of its first jobs, as many as are given out or
/// all that there are. A tenant's own lanes are those of its kinds, and among its own
/// jobs priority decides, not time used.
pub fn in_order(takes: &[u32], order: impl IntoIterator<Item = usize>) -> Vec<u32> {
    let all: u32 = takes.iter().sum();
    // Where there are fewer jobs, the rest goes to the lanes in turn: one that is asked
    // for more than it has is seen to be empty. In sum it is never more, whatever comes
    // into the lanes meanwhile.
    let in_turn = (0..takes.len()).cycle();
    let mut ordered = vec![0; takes.len()];
    for lane in order.into_iter().chain(in_turn).take(all as usize) {
        ordered[lane] += 1;
    }
    ordered
}

/// How many lanes a claim of `batch` jobs should look at.
pub const fn lanes_for(batch: u32) -> u32 {
    let by_quantum = batch / QUANTUM;
    let small = if batch < QUANTUM { batch } else { QUANTUM };
    if by_quantum > small { by_quantum } else { small }
}

/// What `cost_us` of slot time adds to the virtual time of a lane of that weight.
pub const fn charge_us(cost_us: i64, weight: u32) -> i64 {
    let weight = if weight == 0 { 1 } else { weight as i64 };
    let charge = cost_us / weight;
    if cost_us > 0 && charge == 0 { 1 } else { charge }
}

/// What a job is charged that took `took_us`.
pub fn billed_us(took_us: i64) -> i64 {
    took_us.clamp(LEAST_COST_US, MOST_COST_US)
}

/// What remains to be charged when a job that was charged `charged_us` took
/// `took_us`. Small differences are let go: they average out, and settling them
/// would write to the lane at each end of a job.
pub fn correction_us(charged_us: i64, took_us: i64) -> i64 {
    let difference = billed_us(took_us) - charged_us;
    if difference.abs().saturating_mul(10) > charged_us { difference } else { 0 }
}

/// The moving average of what a kind takes, after one more observation.
pub fn average_us(average_us: i64, took_us: i64) -> i64 {
    average_us + (billed_us(took_us) - average_us) / 4
}
