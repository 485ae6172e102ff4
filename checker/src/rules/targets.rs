//! C17: what the targets saw is what the history tells: each execution under a
//! lease of its own, and a second one only where the first is told to have ended
//! or to have been lost.

use std::collections::BTreeSet;

use super::Found;
use crate::Lives;
use crate::history::{Effect, JobRow};
use crate::lives::Life;

pub(super) fn saw_what_is_told(lives: &Lives<'_>, found: &mut Found) {
    for (row, life) in lives.existing() {
        let mut seen = BTreeSet::new();
        for effect in &life.effects {
            if !seen.insert(effect.attempt) {
                found.add(format!("attempt {} of {} ran more than once", effect.attempt, row.job));
            }
            under_its_lease(row, life, effect, lives.slack(), found);
        }
        overlaps_are_told(row, life, found);
        if lives.history.run.effects_complete {
            for attempt in &life.attempts {
                if attempt.outcome.as_deref() == Some("SUCCEEDED") && !seen.contains(&attempt.number) {
                    found.add(format!("attempt {} of {} succeeded and never ran", attempt.number, row.job));
                }
            }
        }
    }
}

fn under_its_lease(row: &JobRow, life: &Life<'_>, effect: &Effect, slack: i64, found: &mut Found) {
    let attempt = life.attempts.iter().find(|attempt| attempt.number == effect.attempt);
    match attempt {
        None => found.add(format!("{} ran as attempt {}, which does not exist", row.job, effect.attempt)),
        Some(attempt) if attempt.token != effect.token => {
            found.add(format!("attempt {} of {} ran under another token", effect.attempt, row.job));
        }
        Some(attempt) if effect.began_at < attempt.started_at - slack => {
            found.add(format!("attempt {} of {} ran before it was claimed", effect.attempt, row.job));
        }
        Some(_) => {}
    }
}

/// Two executions of a job may overlap only where the earlier lease was lost.
fn overlaps_are_told(row: &JobRow, life: &Life<'_>, found: &mut Found) {
    for (index, first) in life.effects.iter().enumerate() {
        for second in &life.effects[index + 1..] {
            let (earlier, later) =
                if first.attempt <= second.attempt { (first, second) } else { (second, first) };
            let overlap = earlier.ended_at.is_none_or(|ended| later.began_at < ended);
            let attempt = life.attempts.iter().find(|attempt| attempt.number == earlier.attempt);
            let lost = attempt.is_some_and(|attempt| attempt.outcome.as_deref() == Some("LEASE_EXPIRED"));
            if earlier.attempt != later.attempt && overlap && !lost {
                found.add(format!(
                    "attempt {} of {} still ran when attempt {} began, and its lease was not lost",
                    earlier.attempt, row.job, later.attempt
                ));
            }
        }
    }
}
