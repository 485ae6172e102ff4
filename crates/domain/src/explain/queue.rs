//! The gates of a queue: how many of its jobs wait at which.

use super::{Gate, QueueFacts};
use crate::state::JobState;
use crate::time::Timestamp;

/// A lane of due jobs that something of its own holds back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldLane {
    /// Whether its tenant is paused, or has a limit that is full.
    pub by_tenant: bool,
    /// Its due jobs, counted up to a bound.
    pub jobs: u64,
    /// Whether there are more than were counted.
    pub more: bool,
}

/// What a store knows of the line of a queue. Jobs are not visited one by one:
/// sums are kept as work happens, and only lanes that are held back are counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueLine {
    /// Settings and running jobs.
    pub queue: QueueFacts,
    /// Jobs by state, in the order of [`JobState::ALL`].
    pub by_state: [u64; 9],
    /// Lanes with due jobs whose tenant is held, or whose jobs nobody serves.
    pub held: Vec<HeldLane>,
    /// Whether there are more such lanes than were looked at.
    pub more_held: bool,
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
        let held = |gate: Gate, by_tenant: bool| {
            let lanes = || line.held.iter().filter(|lane| lane.by_tenant == by_tenant);
            let counted: u64 = lanes().map(|lane| lane.jobs).sum();
            QueueGate {
                gate,
                jobs: counted.min(pending),
                at_least: line.more_held || lanes().any(|lane| lane.more),
            }
        };
        let (tenant, unserved) = (held(Gate::TenantLimit, true), held(Gate::NoWorker, false));
        // What is not held back is in line. If not all that is held was counted,
        // the rest cannot be told from it.
        let rest = pending.saturating_sub(tenant.jobs).saturating_sub(unserved.jobs);
        let share = QueueGate { at_least: false, ..exactly(Gate::FairShare, rest) };
        gates.extend([tenant, unserved, share]);
    }
    gates.retain(|gate| gate.jobs > 0);
    gates
}

/// The gate that the queue as a whole stands before, if it does.
fn whole(queue: &QueueFacts, now: Timestamp) -> Option<Gate> {
    let settings = &queue.settings;
    if settings.pause.as_ref().is_some_and(|pause| pause.until.is_none_or(|until| until > now)) {
        return Some(Gate::PausedQueue);
    }
    if settings.max_running.is_some_and(|max| queue.running >= max) {
        return Some(Gate::QueueLimit);
    }
    let empty = |rate| queue.bucket.refilled(rate, now).available() == 0;
    settings.rate.is_some_and(empty).then_some(Gate::RateLimit)
}
