//! The gates of a queue: how many of its jobs wait at which.

use super::{Gate, QueueFacts};
use crate::state::JobState;
use crate::time::Timestamp;

/// So many jobs, or more of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// How many were counted.
    pub jobs: u64,
    /// Whether there are more.
    pub more: bool,
}

/// Due jobs of a queue by what their lanes stand before, each counted up to a bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DueJobs {
    /// Those whose tenant is paused, or has a limit that is full.
    pub by_tenant: Counted,
    /// Those that no living worker serves, or none that has room.
    pub unserved: Counted,
    /// Those that nothing holds back; need not be counted where all others were.
    pub in_line: Counted,
    /// Those of these that are next, so that they wait for nobody.
    pub next: Counted,
}

impl DueJobs {
    /// Whether all were counted that something holds back, so that the others are what is left.
    pub const fn all_held_are_counted(&self) -> bool {
        !self.by_tenant.more && !self.unserved.more
    }
}

/// What a store knows of the line of a queue. Jobs are not visited one by one:
/// sums are kept as work happens, and only jobs by lanes are counted, up to a bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueLine {
    /// Settings and running jobs.
    pub queue: QueueFacts,
    /// Jobs by state, in the order of [`JobState::ALL`].
    pub by_state: [u64; 9],
    /// Its due jobs.
    pub due: DueJobs,
}

/// How many jobs wait at one gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueGate {
    /// Which.
    pub gate: Gate,
    /// How many jobs; each is counted at the first gate that it meets.
    pub jobs: u64,
    /// Whether the number is a lower bound.
    pub at_least: bool,
}

/// Says how many jobs of a queue wait at which gate, leaving out gates without any.
pub fn explain_queue(line: &QueueLine, now: Timestamp) -> Vec<QueueGate> {
    let count = |state: JobState| line.by_state[state as usize];
    let exactly = |gate, jobs| QueueGate { gate, jobs, at_least: false };
    let mut gates = vec![
        exactly(Gate::Dependency, count(JobState::Waiting)),
        exactly(Gate::ScheduledLater, count(JobState::Scheduled)),
        exactly(Gate::PausedJob, count(JobState::Paused)),
    ];
    let pending = count(JobState::Pending);
    if let Some(gate) = whole(&line.queue, now) {
        gates.push(exactly(gate, pending));
    } else {
        gates.extend(by_lane(line.due, pending));
    }
    gates.retain(|gate| gate.jobs > 0);
    gates
}

/// Where `pending` jobs stand by their lanes. Where two of the three sorts were counted to
/// the end, the third is what is left; otherwise the numbers are lower bounds.
fn by_lane(due: DueJobs, pending: u64) -> [QueueGate; 3] {
    let DueJobs { mut by_tenant, mut unserved, mut in_line, next } = due;
    let left = |a: Counted, b: Counted| Counted {
        jobs: pending.saturating_sub(a.jobs).saturating_sub(b.jobs),
        more: false,
    };
    match (by_tenant.more, unserved.more, in_line.more) {
        (false, false, _) => in_line = left(by_tenant, unserved),
        (true, false, false) => by_tenant = left(unserved, in_line),
        (false, true, false) => unserved = left(by_tenant, in_line),
        _ => {}
    }
    // Where not all that are next were counted, none is left out: too many are said to wait.
    if !next.more {
        in_line.jobs = in_line.jobs.saturating_sub(next.jobs);
    }
    [(Gate::TenantLimit, by_tenant), (Gate::NoWorker, unserved), (Gate::FairShare, in_line)]
        .map(|(gate, Counted { jobs, more })| QueueGate { gate, jobs: jobs.min(pending), at_least: more })
}

/// The gate that the queue as a whole stands before, if it does.
fn whole(queue: &QueueFacts, now: Timestamp) -> Option<Gate> {
    let settings = &queue.settings;
    if settings.pause.as_ref().is_some_and(|pause| pause.holds(now)) {
        return Some(Gate::PausedQueue);
    }
    if settings.max_running.is_some_and(|max| queue.running >= max) {
        return Some(Gate::QueueLimit);
    }
    let empty = |rate| queue.bucket.refilled(rate, now).available() == 0;
    settings.rate.is_some_and(empty).then_some(Gate::RateLimit)
}
