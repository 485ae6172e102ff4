//! C5: entries and attempts have no gap, and attempts stay within the budget.

use super::Found;
use crate::Lives;
use crate::history::JobRow;
use crate::lives::Life;

/// Workers lost in a row that end a job.
const POISON_AT: u32 = 3;
/// Ends of these kinds give the attempt back, so often.
const FREE: [(&str, u32); 2] = [("interrupted", 20), ("snoozed", 100)];

pub(super) fn have_no_gaps(lives: &Lives<'_>, found: &mut Found) {
    for (row, life) in lives.existing() {
        for (expected, event) in (1..).zip(&life.events) {
            if event.seq != expected {
                found.add(format!("{} has entry {} where {expected} should stand", row.job, event.seq));
                break;
            }
        }
        if life.events.len() != row.seq as usize {
            found.add(format!(
                "{} says that it has {} entries and has {}",
                row.job,
                row.seq,
                life.events.len()
            ));
        }
        for (expected, attempt) in (1..).zip(&life.attempts) {
            if attempt.number != expected {
                found
                    .add(format!("{} has attempt {} where {expected} should stand", row.job, attempt.number));
                break;
            }
        }
        if life.attempts.len() != row.attempts as usize {
            found.add(format!(
                "{} counts {} attempts and has {}",
                row.job,
                row.attempts,
                life.attempts.len()
            ));
        }
        starts_match_attempts(row, life, found);
        budget_is_kept(row, life, found);
    }
}

fn starts_match_attempts(row: &JobRow, life: &Life<'_>, found: &mut Found) {
    let starts = life.events.iter().filter(|event| event.kind == "started").count();
    if starts != life.attempts.len() {
        found.add(format!("{} was started {starts} times and has {} attempts", row.job, life.attempts.len()));
    }
}

fn budget_is_kept(row: &JobRow, life: &Life<'_>, found: &mut Found) {
    let (mut spent, mut lost) = (0, 0);
    let mut given_back = [0; FREE.len()];
    for event in &life.events {
        match event.kind.as_str() {
            "started" => {
                spent += 1;
                if spent > row.max_attempts {
                    found.add(format!(
                        "{} may spend {} attempts and started number {spent} at {}",
                        row.job, row.max_attempts, event.at
                    ));
                }
                if lost >= POISON_AT {
                    found.add(format!("{} lost {lost} workers in a row and started again", row.job));
                }
            }
            "redriven" => {
                (spent, lost) = (0, 0);
                given_back = [0; FREE.len()];
            }
            kind => {
                if let Some(index) = FREE.iter().position(|(free, _)| *free == kind)
                    && given_back[index] < FREE[index].1
                {
                    given_back[index] += 1;
                    spent -= spent.min(1);
                }
                lost = lost_after(lost, life, event);
            }
        }
    }
}

fn lost_after(lost: u32, life: &Life<'_>, event: &crate::history::EventRow) -> u32 {
    if !crate::table::ends_attempt(&event.kind) {
        return lost;
    }
    let ended = life.attempts.iter().find(|attempt| Some(attempt.number) == event.attempt);
    match ended.and_then(|attempt| attempt.outcome.as_deref()) {
        Some("LEASE_EXPIRED") => lost + 1,
        Some(_) => 0,
        None => lost,
    }
}
