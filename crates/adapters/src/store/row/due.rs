//! Counts of due jobs by what their lanes stand before.

use taskflow_domain::TenantId;
use taskflow_domain::explain::{Counted, DueJobs};

/// No tenant: whom only those serve that serve all.
pub(crate) const NOBODY: TenantId = TenantId(0);
/// The route of what TaskFlow itself runs.
pub(crate) const OWN_ROUTE: i32 = 0;

/// So many lanes that are held back are looked at; on PostgreSQL of each of two sorts.
pub(crate) const MOST_LANES: i64 = 500;
/// So many jobs of such a lane are counted, and of all lanes that are not held back.
pub(crate) const MOST_JOBS: i64 = 1_000;

/// A count that went no further than [`MOST_JOBS`].
pub(crate) fn counted(jobs: i64) -> Counted {
    Counted { jobs: u64::try_from(jobs).unwrap_or_default(), more: jobs >= MOST_JOBS }
}

/// The jobs of lanes that are held back: of each lane whether its tenant is why, or else
/// the want of a worker, and what was counted.
pub(crate) fn held_back(lanes: &[(bool, i64)]) -> DueJobs {
    let all_lanes = lanes.len() < usize::try_from(MOST_LANES).unwrap_or(usize::MAX);
    let sum = |by_tenant: bool| {
        let of = lanes.iter().filter(|lane| lane.0 == by_tenant).map(|lane| counted(lane.1));
        of.fold(Counted { jobs: 0, more: !all_lanes }, |sum, lane| Counted {
            jobs: sum.jobs + lane.jobs,
            more: sum.more || lane.more,
        })
    };
    DueJobs { by_tenant: sum(true), unserved: sum(false), ..DueJobs::default() }
}
