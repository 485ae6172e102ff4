//! C9: nothing starts before its time, and nothing starts after a cancel.

use super::Found;
use crate::Lives;
use crate::history::{JobRow, Known, Op};
use crate::lives::Life;
use crate::table;

pub(super) fn are_kept(lives: &Lives<'_>, found: &mut Found) {
    for (row, life) in lives.existing() {
        not_before_due(lives, row, life, found);
        cancels_are_heeded(row, life, found);
    }
    cancels_are_written(lives, found);
}

fn not_before_due(lives: &Lives<'_>, row: &JobRow, life: &Life<'_>, found: &mut Found) {
    let mut due = lives.asked_run_at(&row.marker);
    for event in &life.events {
        if event.kind == "started" {
            if let Some(due) = due.filter(|due| event.at < *due - lives.slack()) {
                found.add(format!("{} was to run at {due} and started at {}", row.job, event.at));
            }
        } else if let Some(moved) = event.due {
            due = Some(moved);
        } else if event.kind == "redriven" {
            due = Some(event.at);
        }
    }
}

fn cancels_are_heeded(row: &JobRow, life: &Life<'_>, found: &mut Found) {
    let mut asked: Option<u32> = None;
    for event in &life.events {
        match event.kind.as_str() {
            "cancel_requested" | "cancelled" => asked = Some(event.seq),
            "redriven" => asked = None,
            "started" => {
                if let Some(seq) = asked {
                    found.add(format!(
                        "{} was cancelled with entry {seq} and started with entry {}",
                        row.job, event.seq
                    ));
                }
            }
            kind if table::ends_attempt(kind) && !table::ends_job(kind) => {
                if let Some(seq) = asked {
                    found.add(format!(
                        "{} was to end by entry {seq} and goes on after entry {} ({kind})",
                        row.job, event.seq
                    ));
                }
            }
            _ => {}
        }
    }
}

fn cancels_are_written(lives: &Lives<'_>, found: &mut Found) {
    for call in lives.history.calls.iter().filter(|call| call.known == Known::Ok) {
        let Op::Cancel { job } = &call.op else { continue };
        let Some(life) = lives.jobs.get(job.as_str()) else { continue };
        let told = life.events.iter().any(|event| {
            (event.kind == "cancelled" || event.kind == "cancel_requested")
                && event.at <= call.returned_at + lives.slack()
        });
        if !told {
            found.add(format!(
                "a cancel of {job} was acknowledged at {} and its history says nothing of it",
                call.returned_at
            ));
        }
    }
}
