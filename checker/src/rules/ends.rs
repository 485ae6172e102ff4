//! C8: a job ends once in each of its lives, and a redrive begins the next.

use super::Found;
use crate::Lives;
use crate::table;

pub(super) fn come_once(lives: &Lives<'_>, found: &mut Found) {
    for (row, life) in lives.existing() {
        let mut ended: Option<u32> = None;
        for event in &life.events {
            if table::ends_job(&event.kind) {
                if let Some(before) = ended {
                    found.add(format!(
                        "{} ended with entry {before} and again with entry {} ({})",
                        row.job, event.seq, event.kind
                    ));
                }
                ended = Some(event.seq);
            } else if event.kind == "redriven" {
                if ended.is_none() {
                    found.add(format!("{} was redriven with entry {} and had not ended", row.job, event.seq));
                }
                ended = None;
            } else if let Some(before) = ended {
                found.add(format!(
                    "{} ended with entry {before}, and entry {} ({}) follows",
                    row.job, event.seq, event.kind
                ));
            }
        }
        let terminal = table::is_terminal(&row.state);
        if terminal && ended.is_none() {
            found.add(format!("{} is {} and no entry tells of its end", row.job, row.state));
        }
        if !terminal && let Some(seq) = ended {
            found.add(format!("{} ended with entry {seq} and stands as {}", row.job, row.state));
        }
        each_end_has_one_attempt(row, life, found);
    }
}

fn each_end_has_one_attempt(row: &crate::history::JobRow, life: &crate::lives::Life<'_>, found: &mut Found) {
    for attempt in &life.attempts {
        let about = |event: &&&crate::history::EventRow| {
            table::ends_attempt(&event.kind) && event.attempt == Some(attempt.number)
        };
        let ends = life.events.iter().filter(about).count();
        let expected = usize::from(attempt.ended_at.is_some());
        if ends != expected {
            found.add(format!(
                "attempt {} of {} has {ends} entries of its end instead of {expected}",
                attempt.number, row.job
            ));
        }
    }
}
