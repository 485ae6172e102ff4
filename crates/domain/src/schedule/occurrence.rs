//! From hits on the wall clock to instants.
//!
//! Between two jumps of the clocks the wall clock runs evenly, so the search
//! goes from one such stretch to the next. Within a stretch the hits are in
//! order. At its end it asks what the jump does: a jump ahead may have hits in
//! the times that it leaves out, and a jump back shows some times again.

use super::zone::{self, Jump};
use super::{Fold, Gap, HORIZON_DAYS, Note, Occurrence, Schedule};
use crate::time::Timestamp;

const DAY: i64 = 86_400;

pub(super) fn next_after(schedule: &Schedule, after: Timestamp) -> Option<Occurrence> {
    // Whole seconds: the first instant that may be answered.
    let first = after.micros().saturating_sub(schedule.delay_micros).div_euclid(1_000_000) + 1;
    let latest = first.saturating_add(HORIZON_DAYS * DAY).min(Timestamp::MAX.micros() / 1_000_000);
    let mut from = first.max(Timestamp::MIN.micros() / 1_000_000 + DAY);
    // A stretch that began before `from` may have begun with a jump back, and
    // its first hours are then the second of two.
    let mut behind = zone::next_jump(schedule.zone, from - DAY, from).filter(|jump| jump.after < jump.before);
    if let Some(jump) = zone::next_jump(schedule.zone, from - 1, from)
        && in_gap(schedule, jump)
    {
        return Some(occurrence(schedule, from, Some(Note::DstGap)));
    }
    while from <= latest {
        let offset = zone::offset_at(schedule.zone, from);
        let hit = schedule.pattern.first_from(zone::naive(from + offset))?.and_utc().timestamp() - offset;
        let jump = zone::next_jump(schedule.zone, from, hit.min(latest).max(from));
        // A jump back after the hit may still make it the first of two.
        let ahead = jump.or_else(|| zone::next_jump(schedule.zone, hit, hit + DAY));
        if hit < jump.map_or(i64::MAX, |jump| jump.at) {
            if hit > latest {
                return None;
            }
            let verdict = verdict(schedule, hit + offset, behind, ahead);
            if verdict.counts {
                return Some(occurrence(schedule, hit, verdict.note));
            }
            from = hit + 1;
            continue;
        }
        let jump = jump?;
        if in_gap(schedule, jump) {
            return Some(occurrence(schedule, jump.at, Some(Note::DstGap)));
        }
        behind = (jump.after < jump.before).then_some(jump);
        from = jump.at;
    }
    None
}

/// What becomes of a hit.
struct Verdict {
    counts: bool,
    note: Option<Note>,
}

/// Whether a hit at the wall clock time `wall` counts, and what is to be noted.
fn verdict(schedule: &Schedule, wall: i64, behind: Option<Jump>, ahead: Option<Jump>) -> Verdict {
    let shown_twice = |jump: Jump| (jump.at + jump.after..jump.at + jump.before).contains(&wall);
    let second = behind.is_some_and(shown_twice);
    let first = !second && ahead.is_some_and(shown_twice);
    let counts = match schedule.dst.overlap {
        _ if schedule.steady => true,
        Fold::First => !second,
        Fold::Second => !first,
        Fold::Both => true,
    };
    Verdict { counts, note: (first || second).then_some(Note::DstOverlap) }
}

/// Whether `jump` leaves out a hit that has to be made up for.
fn in_gap(schedule: &Schedule, jump: Jump) -> bool {
    if schedule.steady || schedule.dst.gap == Gap::Skip || jump.after <= jump.before {
        return false;
    }
    let left_out = (jump.at + jump.before)..(jump.at + jump.after);
    let hit = schedule.pattern.first_from(zone::naive(left_out.start));
    hit.is_some_and(|hit| left_out.contains(&hit.and_utc().timestamp()))
}

fn occurrence(schedule: &Schedule, at: i64, note: Option<Note>) -> Occurrence {
    let at = Timestamp::from_micros(at.saturating_mul(1_000_000).saturating_add(schedule.delay_micros));
    Occurrence { local: zone::local(schedule.zone, at.to_datetime()), at, note }
}
