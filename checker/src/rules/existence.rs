//! C1, C2, C3: what was acknowledged exists, what exists was asked for, and a
//! key names one job.

use std::collections::{BTreeMap, BTreeSet};

use super::Found;
use crate::Lives;
use crate::history::{Call, JobRow, Known, Op};
use crate::table;

pub(super) fn acknowledged_jobs_exist(lives: &Lives<'_>, found: &mut Found) {
    for call in &lives.history.calls {
        let Op::Submit { tenant, marker, job: Some(job), .. } = &call.op else { continue };
        if call.known != Known::Ok {
            continue;
        }
        match lives.jobs.get(job.as_str()).and_then(|life| life.row) {
            None => {
                found.add(format!("{job} of {tenant} was acknowledged at {} and is gone", call.returned_at));
            }
            Some(row) if row.tenant != *tenant => {
                found.add(format!("{job} was acknowledged to {tenant} and belongs to {}", row.tenant));
            }
            Some(row) if row.marker != *marker => {
                found.add(format!("{job} was acknowledged for {marker} and holds {}", row.marker));
            }
            Some(_) => {}
        }
    }
    if lives.history.run.settled {
        let stuck = lives.history.jobs.iter().filter(|row| !may_wait(lives, row));
        for row in stuck {
            found
                .add(format!("{} is left {} (due {}) although nothing held it", row.job, row.state, row.due));
        }
    }
}

/// Whether a job may stand where it stands at the end of a run that was settled.
fn may_wait(lives: &Lives<'_>, row: &JobRow) -> bool {
    table::is_terminal(&row.state)
        || row.state == table::WAITING
        || row.state == table::PAUSED
        || (row.state == table::SCHEDULED && row.due > lives.history.run.ended_at)
        || (row.state != table::RUNNING && held(lives, row))
}

/// How long after its caller gave up a call may still be carried out.
const LATEST: i64 = 60_000_000;

/// Whether something that was set, and not certainly set otherwise later, may
/// hold the job.
fn held(lives: &Lives<'_>, row: &JobRow) -> bool {
    let calls = || lives.history.calls.iter().filter(|call| call.known != Known::Fail);
    let holding = calls().filter(|call| holds(&call.op, row, lives.history.run.ended_at) == Some(true));
    holding.into_iter().any(|hold| {
        let over =
            if hold.known == Known::Ok { hold.returned_at } else { hold.returned_at.saturating_add(LATEST) };
        let ended = |call: &Call| {
            call.known == Known::Ok
                && call.invoked_at >= over
                && holds(&call.op, row, lives.history.run.ended_at) == Some(false)
                && std::mem::discriminant(&call.op) == std::mem::discriminant(&hold.op)
        };
        !calls().any(ended)
    })
}

/// Whether a setting of the job's queue or tenant holds it; none if it is about
/// something else.
fn holds(op: &Op, row: &JobRow, at: i64) -> Option<bool> {
    match op {
        Op::SetQueue { queue, max_running, paused, paused_until, .. } if *queue == row.queue => {
            let over = paused_until.is_some_and(|until| until <= at);
            Some((*paused && !over) || *max_running == Some(0))
        }
        Op::SetTenant { tenant, max_running, paused } if *tenant == row.tenant => {
            Some(*paused || *max_running == Some(0))
        }
        _ => None,
    }
}

pub(super) fn jobs_were_submitted(lives: &Lives<'_>, found: &mut Found) {
    let mut asked: BTreeMap<&str, (usize, bool)> = BTreeMap::new();
    let mut named: BTreeSet<&str> = BTreeSet::new();
    for call in &lives.history.calls {
        let Op::Submit { marker, job, key, .. } = &call.op else { continue };
        let (most, keyed) = asked.entry(marker).or_insert((0, true));
        if call.known != Known::Fail {
            *most += 1;
        }
        *keyed &= key.is_some();
        named.extend(job.as_deref());
    }
    let mut made: BTreeMap<&str, usize> = BTreeMap::new();
    for row in &lives.history.jobs {
        if let Some(firing) = &row.firing {
            by_a_rule(lives, row, firing, found);
            continue;
        }
        *made.entry(&row.marker).or_default() += 1;
        match asked.get(row.marker.as_str()) {
            None => found.add(format!("{} exists, and nobody submitted {}", row.job, row.marker)),
            Some((0, _)) => {
                found.add(format!("{} exists although every submit of {} failed", row.job, row.marker));
            }
            Some(_) => {}
        }
    }
    for (marker, count) in made {
        let Some((most, keyed)) = asked.get(marker).filter(|(most, _)| *most > 0) else { continue };
        if count > *most {
            found.add(format!("{marker} was submitted {most} times and made {count} jobs"));
        } else if *keyed && count > 1 {
            found.add(format!("{marker} always had its key and made {count} jobs"));
        }
    }
    for life in lives.jobs.values().filter(|life| life.row.is_none()) {
        let job = life
            .events
            .first()
            .map(|event| &event.job)
            .or_else(|| life.attempts.first().map(|attempt| &attempt.job))
            .or_else(|| life.effects.first().map(|effect| &effect.job));
        if let Some(job) = job.filter(|job| !named.contains(job.as_str())) {
            found.add(format!("something is told of {job}, which does not exist and was never acknowledged"));
        }
    }
}

/// A job that says that a rule made it: the firing says so too.
fn by_a_rule(lives: &Lives<'_>, row: &JobRow, firing: &str, found: &mut Found) {
    match lives.firings.get(firing) {
        None => found.add(format!("{} says that {firing} made it, which does not exist", row.job)),
        Some(firing) if !firing.fired() || !firing.jobs.contains(&row.job) => {
            found.add(format!(
                "{} says that {} made it, which is {} and knows nothing of it",
                row.job, firing.firing, firing.outcome
            ));
        }
        Some(_) => {}
    }
}

pub(super) fn keys_name_one_job(lives: &Lives<'_>, found: &mut Found) {
    let mut by_key: BTreeMap<(&str, &str), Vec<&JobRow>> = BTreeMap::new();
    for row in &lives.history.jobs {
        if let Some(key) = &row.key {
            by_key.entry((&row.tenant, key)).or_default().push(row);
        }
    }
    for ((tenant, key), rows) in by_key {
        if rows.len() > 1 {
            let ids: Vec<_> = rows.iter().map(|row| row.job.as_str()).collect();
            found.add(format!("key {key} of {tenant} made {} jobs: {}", rows.len(), ids.join(", ")));
        }
    }
    let mut answers: BTreeMap<(&str, &str), (&str, &str)> = BTreeMap::new();
    for call in lives.history.calls.iter().filter(|call| call.known == Known::Ok) {
        let Op::Submit { tenant, marker, key: Some(key), job: Some(job), .. } = &call.op else { continue };
        let first = answers.entry((tenant, key)).or_insert((job, marker));
        if first.0 != job {
            found.add(format!("key {key} of {tenant} was answered with {} and with {job}", first.0));
        }
        if first.1 != marker {
            found.add(format!(
                "key {key} of {tenant} was accepted for {} and for {marker}, another request",
                first.1
            ));
        }
    }
}
