//! Counts of due jobs by what their lanes stand before.

use taskflow_domain::explain::{Counted, HeldJobs};

/// So many lanes that are held back are looked at; on PostgreSQL of each of two sorts.
pub(crate) const MOST_LANES: i64 = 500;
/// So many jobs of such a lane are counted, and of all lanes that are not held back.
pub(crate) const MOST_JOBS: i64 = 1_000;

/// What was counted of each lane that is held back, by its tenant or for want of a
/// worker, and of all others together.
pub(crate) fn held_jobs(lanes: &[(bool, i64)], in_line: i64) -> HeldJobs {
    let all_lanes = lanes.len() < usize::try_from(MOST_LANES).unwrap_or(usize::MAX);
    let count =
        |jobs: i64| Counted { jobs: u64::try_from(jobs).unwrap_or_default(), more: jobs >= MOST_JOBS };
    let sum = |by_tenant: bool| {
        let of = lanes.iter().filter(|lane| lane.0 == by_tenant).map(|lane| count(lane.1));
        of.fold(Counted { jobs: 0, more: !all_lanes }, |sum, lane| Counted {
            jobs: sum.jobs + lane.jobs,
            more: sum.more || lane.more,
        })
    };
    HeldJobs { by_tenant: sum(true), unserved: sum(false), in_line: count(in_line) }
}
