//! The states of a job and what may follow what, written down from the product's
//! description and not from the engine, so that a mistake must be made twice.

use std::collections::BTreeSet;

/// Where a job may stand.
pub type State = &'static str;

/// Held back by other jobs.
pub const WAITING: State = "WAITING";
/// Its time has not come.
pub const SCHEDULED: State = "SCHEDULED";
/// Due.
pub const PENDING: State = "PENDING";
/// Leased.
pub const RUNNING: State = "RUNNING";
/// Held by an operator.
pub const PAUSED: State = "PAUSED";
/// Ended well.
pub const SUCCEEDED: State = "SUCCEEDED";
/// Ended by a permanent failure.
pub const FAILED: State = "FAILED";
/// Ended with its budget spent.
pub const DEAD: State = "DEAD";
/// Ended by somebody's word.
pub const CANCELLED: State = "CANCELLED";

/// Whether a job has ended in this state.
pub fn is_terminal(state: &str) -> bool {
    [SUCCEEDED, FAILED, DEAD, CANCELLED].contains(&state)
}

/// What an entry says of its job: each pair is a state before and a state after.
pub fn moves(kind: &str) -> &'static [(State, State)] {
    match kind {
        "started" => &[(PENDING, RUNNING)],
        "progressed" | "cancel_requested" => &[(RUNNING, RUNNING)],
        "succeeded" => &[(RUNNING, SUCCEEDED)],
        "failed" => &[(RUNNING, FAILED), (WAITING, FAILED)],
        "dead" => &[(RUNNING, DEAD)],
        "retry_scheduled" | "interrupted" | "snoozed" => &[(RUNNING, SCHEDULED), (RUNNING, PENDING)],
        "cancelled" => &[
            (WAITING, CANCELLED),
            (SCHEDULED, CANCELLED),
            (PENDING, CANCELLED),
            (PAUSED, CANCELLED),
            (RUNNING, CANCELLED),
        ],
        "paused" => &[(WAITING, PAUSED), (SCHEDULED, PAUSED), (PENDING, PAUSED)],
        "resumed" => &[(PAUSED, WAITING), (PAUSED, SCHEDULED), (PAUSED, PENDING)],
        "redriven" => &[
            (FAILED, SCHEDULED),
            (FAILED, PENDING),
            (DEAD, SCHEDULED),
            (DEAD, PENDING),
            (CANCELLED, SCHEDULED),
            (CANCELLED, PENDING),
        ],
        "rescheduled" => &[
            (WAITING, WAITING),
            (SCHEDULED, SCHEDULED),
            (SCHEDULED, PENDING),
            (PENDING, PENDING),
            (PENDING, SCHEDULED),
            (PAUSED, PAUSED),
            (RUNNING, RUNNING),
        ],
        _ => &[],
    }
}

/// The states in which a job may be made.
pub const FIRST: &[State] = &[WAITING, SCHEDULED, PENDING];

/// The states in which a job may stand after an entry of `kind`, from those in
/// `before`. None says that the entry is illegal. Time alone makes a SCHEDULED
/// job PENDING.
pub fn after(before: &BTreeSet<State>, kind: &str) -> BTreeSet<State> {
    let with_time = due_by_time(before);
    let legal = moves(kind).iter().filter(|(from, _)| with_time.contains(from));
    legal.map(|(_, to)| *to).collect()
}

/// The states that time alone may have brought about.
pub fn due_by_time(states: &BTreeSet<State>) -> BTreeSet<State> {
    let mut with_time = states.clone();
    if states.contains(SCHEDULED) {
        with_time.insert(PENDING);
    }
    with_time
}

/// Whether an entry of this kind ends an attempt.
pub fn ends_attempt(kind: &str) -> bool {
    ["succeeded", "failed", "dead", "retry_scheduled", "interrupted", "snoozed", "cancelled"].contains(&kind)
}

/// Whether an entry of this kind ends a job.
pub fn ends_job(kind: &str) -> bool {
    ["succeeded", "failed", "dead", "cancelled"].contains(&kind)
}
