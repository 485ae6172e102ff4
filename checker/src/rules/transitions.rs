//! C4: only legal transitions occur.

use std::collections::BTreeSet;

use super::Found;
use crate::Lives;
use crate::table::{self, State};

pub(super) fn are_legal(lives: &Lives<'_>, found: &mut Found) {
    for (row, life) in lives.existing() {
        let mut states: BTreeSet<State> = table::FIRST.iter().copied().collect();
        let mut legal = true;
        for (index, event) in life.events.iter().enumerate() {
            if index == 0 {
                if event.kind != "created" {
                    found.add(format!("the history of {} begins with {}", row.job, event.kind));
                    legal = false;
                    break;
                }
                continue;
            }
            let mut next = table::after(&states, &event.kind);
            // Where an attempt ended, its row says which state followed.
            if table::ends_attempt(&event.kind)
                && let Some(number) = event.attempt
                && let Some(then) = life
                    .attempts
                    .iter()
                    .find(|attempt| attempt.number == number)
                    .and_then(|attempt| attempt.then.as_deref())
            {
                next.retain(|state| *state == then);
            }
            if next.is_empty() {
                let before: Vec<_> = states.iter().copied().collect();
                found.add(format!(
                    "entry {} of {} is {} although the job was {}",
                    event.seq,
                    row.job,
                    event.kind,
                    before.join(" or ")
                ));
                legal = false;
                break;
            }
            states = next;
        }
        if legal && !life.events.is_empty() && !table::due_by_time(&states).contains(row.state.as_str()) {
            let after: Vec<_> = states.iter().copied().collect();
            found.add(format!(
                "{} stands as {} although its history leads to {}",
                row.job,
                row.state,
                after.join(" or ")
            ));
        }
    }
}
