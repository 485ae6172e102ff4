//! What becomes of occurrences that nobody was there to fire.
//!
//! An occurrence that is at most [`GRACE_MS`] late is not a misfire: it fires,
//! each one. Those that are later were missed. Of these, the ones that are later
//! than the rule's own `max_lateness_ms` are given up, and about the others the
//! policy decides. However long the engine was away and however often the rule
//! fires, the decision costs a bounded number of steps.

use serde::{Deserialize, Serialize};

use super::{Occurrence, Schedule};
use crate::time::Timestamp;

/// An occurrence that is at most this late counts as on time.
pub const GRACE_MS: i64 = 60_000;
/// The most missed occurrences that `run_all` may make up for.
pub const MAX_RUN_ALL: u32 = 1_000;
/// The shortest `max_lateness_ms`: nothing fires at its very microsecond.
pub const SHORTEST_MAX_LATENESS_MS: u64 = 1_000;
/// The longest `max_lateness_ms`, and what holds if the rule does not say: 31 days.
pub const LONGEST_MAX_LATENESS_MS: u64 = 31 * 86_400_000;
/// Given-up occurrences are counted up to this number; more are "at least".
pub const COUNTED: u64 = 10_000;

/// What is to be done about missed occurrences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MisfirePolicy {
    /// Nothing.
    Skip,
    /// The latest of them fires.
    #[default]
    RunOnce,
    /// The latest `max` of them fire, the oldest first.
    RunAll,
}

/// A rule's answer to missed occurrences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Misfire {
    /// What is to be done about them.
    pub policy: MisfirePolicy,
    /// How many `run_all` makes up for, 1 to [`MAX_RUN_ALL`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<u32>,
    /// Later ones are given up, whatever the policy, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_lateness_ms: Option<u64>,
}

impl Misfire {
    /// How many missed occurrences `run_all` makes up for if the rule does not say.
    pub const DEFAULT_MAX: u32 = 100;

    /// Every field that is out of range, with its name and what would be right.
    pub fn faults(&self) -> Vec<(&'static str, &'static str)> {
        let mut faults = Vec::new();
        match self.max {
            Some(_) if self.policy != MisfirePolicy::RunAll => {
                faults.push(("max", "belongs to the policy run_all"));
            }
            Some(max) if !(1..=MAX_RUN_ALL).contains(&max) => faults.push(("max", "must be from 1 to 1000")),
            _ => {}
        }
        if !(SHORTEST_MAX_LATENESS_MS..=LONGEST_MAX_LATENESS_MS).contains(&self.lateness_ms()) {
            faults.push(("max_lateness_ms", "must be from 1000 to 2678400000 (31 days)"));
        }
        faults
    }

    fn lateness_ms(&self) -> u64 {
        self.max_lateness_ms.unwrap_or(LONGEST_MAX_LATENESS_MS)
    }

    const fn makes_up_for(&self) -> usize {
        match (self.policy, self.max) {
            (MisfirePolicy::Skip, _) => 0,
            (MisfirePolicy::RunOnce, _) => 1,
            (MisfirePolicy::RunAll, Some(max)) => max as usize,
            (MisfirePolicy::RunAll, None) => Self::DEFAULT_MAX as usize,
        }
    }
}

/// Occurrences that do not happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missed {
    /// The first of them.
    pub first: Timestamp,
    /// The last of them.
    pub last: Timestamp,
    /// How many, if at most [`COUNTED`]; else that number, and there were more.
    pub count: u64,
}

/// What is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// What was missed and is given up.
    pub missed: Option<Missed>,
    /// What fires, the oldest first.
    pub fire: Vec<Occurrence>,
    /// The first occurrence later than now, which is waited for next.
    pub next: Option<Occurrence>,
}

/// Decides what fires at `now` of all that is due from `cursor` on, the first
/// occurrence that has not been decided about.
pub fn decide(schedule: &Schedule, misfire: &Misfire, cursor: Timestamp, now: Timestamp) -> Due {
    let before = |instant: Timestamp| instant.plus_micros(-1);
    let lateness = i64::try_from(misfire.lateness_ms()).unwrap_or(i64::MAX);
    // The first instants that count as on time, and that are not given up.
    let fresh = now.plus_millis(-lateness.min(GRACE_MS)).max(cursor);
    let kept = now.plus_millis(lateness.saturating_neg()).max(cursor).min(fresh);

    let mut fire = latest(schedule, kept, fresh, misfire.makes_up_for());
    let given_up = fire.first().map_or(fresh, |first| first.at);
    let missed = count(schedule, cursor, given_up);
    let mut next = schedule.next_after(before(fresh));
    while let Some(due) = next.take_if(|next| next.at <= now) {
        next = schedule.next_after(due.at);
        fire.push(due);
    }
    Due { missed, fire, next }
}

/// The last `wanted` occurrences in `from..to`, the oldest first. Looks at a
/// short time before `to`, and doubles it until there are enough.
fn latest(schedule: &Schedule, from: Timestamp, to: Timestamp, wanted: usize) -> Vec<Occurrence> {
    if wanted == 0 || from >= to {
        return Vec::new();
    }
    let mut span = 1_000_000_i64.saturating_mul(wanted as i64 + 1);
    loop {
        let start = to.plus_micros(-span).max(from);
        let mut found = Vec::new();
        let mut at = start.plus_micros(-1);
        while let Some(next) = schedule.next_after(at).filter(|next| next.at < to) {
            at = next.at;
            found.push(next);
        }
        if found.len() >= wanted || start == from {
            return found.split_off(found.len().saturating_sub(wanted));
        }
        span = span.saturating_mul(2);
    }
}

/// The occurrences in `from..to`, counted as far as it is worth it.
fn count(schedule: &Schedule, from: Timestamp, to: Timestamp) -> Option<Missed> {
    let mut next = schedule.next_after(from.plus_micros(-1)).filter(|next| next.at < to)?;
    let mut missed = Missed { first: next.at, last: next.at, count: 1 };
    while missed.count < COUNTED {
        match schedule.next_after(next.at).filter(|later| later.at < to) {
            Some(later) => next = later,
            None => return Some(missed),
        }
        missed.last = next.at;
        missed.count += 1;
    }
    // The last of very many is found from the other end.
    missed.last = latest(schedule, from, to, 1).first().map_or(missed.last, |last| last.at);
    Some(missed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::{Dialect, DstRule};

    fn at(text: &str) -> Timestamp {
        Timestamp::parse_rfc3339(text).unwrap()
    }

    fn due(expression: &str, misfire: Misfire, cursor: &str, now: &str) -> Due {
        let schedule = Schedule::parse(expression, "UTC", Dialect::Standard, DstRule::default()).unwrap();
        decide(&schedule, &misfire, at(cursor), at(now))
    }

    fn policy(policy: MisfirePolicy, max: Option<u32>, hours: u64) -> Misfire {
        Misfire { policy, max, max_lateness_ms: Some(hours * 3_600_000) }
    }

    fn told(due: &Due) -> (Vec<&str>, u64, &str) {
        let fire = due.fire.iter().map(|one| &one.local[..16]).collect();
        let next = due.next.as_ref().map_or("", |next| &next.local[..16]);
        (fire, due.missed.as_ref().map_or(0, |missed| missed.count), next)
    }

    #[test]
    fn what_is_on_time_fires_under_every_policy() {
        for one in [MisfirePolicy::Skip, MisfirePolicy::RunOnce, MisfirePolicy::RunAll] {
            let met =
                due("* * * * *", policy(one, None, 1), "2026-11-21T07:00:00Z", "2026-11-21T07:01:00.5Z");
            let expected = if one == MisfirePolicy::Skip { 1 } else { 2 };
            assert_eq!(met.fire.len(), expected, "{one:?}");
            let met =
                due("*/10 * * * * *", policy(one, None, 1), "2026-11-21T07:00:00Z", "2026-11-21T07:00:30Z");
            assert_eq!((met.fire.len(), met.missed, &met.next.unwrap().local[11..19]), (4, None, "07:00:40"));
        }
    }

    #[test]
    fn two_days_away() {
        let two_days = |one, max, hours| {
            due("0 * * * *", policy(one, max, hours), "2026-11-19T08:00:00Z", "2026-11-21T07:30:00Z")
        };
        let next = "2026-11-21T08:00";
        // 48 occurrences, the last of them half an hour ago.
        let skip = two_days(MisfirePolicy::Skip, None, 72);
        assert_eq!(told(&skip), (vec![], 48, next));
        let missed = skip.missed.unwrap();
        assert_eq!((missed.first, missed.last), (at("2026-11-19T08:00:00Z"), at("2026-11-21T07:00:00Z")));
        let once = two_days(MisfirePolicy::RunOnce, None, 72);
        assert_eq!(told(&once), (vec!["2026-11-21T07:00"], 47, next));
        let three = two_days(MisfirePolicy::RunAll, Some(3), 72);
        let expected = vec!["2026-11-21T05:00", "2026-11-21T06:00", "2026-11-21T07:00"];
        assert_eq!(told(&three), (expected, 45, next));
        assert_eq!(told(&two_days(MisfirePolicy::RunAll, None, 72)).1, 0);
        // What is too late is given up, whatever the policy.
        let near = two_days(MisfirePolicy::RunAll, None, 2);
        assert_eq!(told(&near), (vec!["2026-11-21T06:00", "2026-11-21T07:00"], 46, next));
        let daily = due(
            "0 7 * * *",
            policy(MisfirePolicy::RunOnce, None, 1),
            "2026-11-19T07:00:00Z",
            "2026-11-21T12:00:00Z",
        );
        assert_eq!(told(&daily), (vec![], 3, "2026-11-22T07:00"));
    }

    #[test]
    fn a_long_absence_costs_little() {
        let month = due(
            "* * * * * *",
            policy(MisfirePolicy::RunOnce, None, 744),
            "2026-01-01T00:00:00Z",
            "2026-11-21T07:30:00Z",
        );
        let missed = month.missed.unwrap();
        assert_eq!(missed.count, COUNTED);
        assert_eq!(missed.last, at("2026-11-21T07:28:58Z"));
        // The latest of what was missed, and the last minute, which is on time.
        assert_eq!((month.fire.len(), month.fire[0].at), (62, at("2026-11-21T07:28:59Z")));
        assert_eq!(month.next.unwrap().at, at("2026-11-21T07:30:01Z"));
    }

    #[test]
    fn nothing_is_lost_or_doubled_between_decisions() {
        let schedule =
            Schedule::parse("*/20 * * * * *", "UTC", Dialect::Standard, DstRule::default()).unwrap();
        let misfire = policy(MisfirePolicy::RunAll, Some(1000), 24);
        let (start, end) = (at("2026-11-21T07:00:00Z"), at("2026-11-21T08:00:00Z"));
        let (mut cursor, mut now, mut fired) = (start, start, Vec::new());
        for step in (0_i64..).map(|n| (n * n * 977) % 240_000) {
            let due = decide(&schedule, &misfire, cursor, now);
            fired.extend(due.fire.into_iter().map(|one| one.at));
            cursor = due.next.unwrap().at;
            if now >= end {
                break;
            }
            now = now.plus_millis(step);
        }
        fired.retain(|at| *at < end);
        let expected: Vec<_> = (0..180).map(|n| start.plus_millis(n * 20_000)).collect();
        assert_eq!(fired, expected);
    }

    #[test]
    fn fields_out_of_range_are_named() {
        let fields = |misfire: Misfire| misfire.faults().into_iter().map(|fault| fault.0).collect::<Vec<_>>();
        assert_eq!(fields(Misfire::default()), [""; 0]);
        assert_eq!(fields(policy(MisfirePolicy::RunOnce, Some(3), 1)), ["max"]);
        assert_eq!(fields(policy(MisfirePolicy::RunAll, Some(0), 0)), ["max", "max_lateness_ms"]);
        assert_eq!(fields(policy(MisfirePolicy::RunAll, Some(1001), 745)), ["max", "max_lateness_ms"]);
    }
}
