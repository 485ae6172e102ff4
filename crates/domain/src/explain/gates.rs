//! The gates of one job.

use super::{Explanation, Facts, Gate, GateReport, LimitFacts, Line, MOST_AHEAD, MOST_HOLDERS, Serving};
use crate::job::{Delay, Standing};
use crate::queue::Pause;
use crate::state::JobState;
use crate::time::Timestamp;

/// Says what stands between a job and its start at `now`.
pub fn explain(facts: &Facts, now: Timestamp) -> Explanation {
    let state = facts.job.standing.state();
    let mut gates = Vec::new();
    if state != JobState::Running && !state.is_terminal() {
        gates.extend(own(facts, now));
        gates.extend(of_queue(facts, now));
        gates.extend(of_tenant(facts));
        gates.push(worker(facts, &facts.serving));
        gates.extend(facts.line.map(|line| share(facts, line)));
        gates.extend(draining(facts));
    }
    // What is kept may run ahead of the clock, by a lease or by another clock.
    for gate in &mut gates {
        gate.since = gate.since.map(|since| since.min(now));
    }
    let runnable = state == JobState::Pending && gates.iter().all(|gate| gate.open);
    Explanation { state, runnable, gates }
}

/// A gate without numbers.
fn gate(gate: Gate, open: bool, detail: String) -> GateReport {
    GateReport {
        gate,
        open,
        detail,
        since: None,
        opens_when: None,
        opens_at: None,
        limit: None,
        in_use: None,
        held_by: Vec::new(),
    }
}

/// Since when the job could have started as far as it is concerned.
fn due(facts: &Facts) -> Timestamp {
    match facts.job.standing {
        Standing::Waiting { due }
        | Standing::Scheduled { due, .. }
        | Standing::Pending { due }
        | Standing::Paused { due, .. } => due,
        Standing::Running { started_at, .. } => started_at,
        Standing::Ended { at, .. } => at,
    }
}

/// The gates that lie in the job itself.
fn own(facts: &Facts, now: Timestamp) -> Vec<GateReport> {
    let since = Some(facts.job.updated_at);
    let one = match &facts.job.standing {
        Standing::Waiting { .. } => Some(GateReport {
            since,
            opens_when: Some("the jobs that it depends on have ended".into()),
            ..gate(Gate::Dependency, false, "it waits for the jobs that it depends on".into())
        }),
        Standing::Scheduled { due, delay } => {
            let (which, why) = match delay {
                Delay::Requested => (Gate::ScheduledLater, "it was asked for later"),
                Delay::Snooze => (Gate::ScheduledLater, "its handler asked to be run later"),
                Delay::Retry => (Gate::RetryBackoff, "it backs off after a failed attempt"),
            };
            let spent = facts.job.counters.spent;
            let detail = match delay {
                Delay::Retry => {
                    let most = facts.job.spec.retry_policy.max_attempts;
                    format!("{why}; {spent} of {most} attempts are spent, the next is due at {due}")
                }
                _ => format!("{why}; due at {due}"),
            };
            Some(GateReport {
                since,
                opens_when: Some(format!("at {due}")),
                opens_at: Some(*due),
                ..gate(which, false, detail)
            })
        }
        Standing::Pending { due } if facts.line.is_none() => Some(GateReport {
            since: Some(*due),
            opens_when: Some("the runner hands it to its queue, within a moment".into()),
            opens_at: Some(now),
            ..gate(Gate::ScheduledLater, false, format!("it is due since {due} and about to enter its queue"))
        }),
        Standing::Paused { due, waiting } => return held(facts, *due, *waiting, now),
        _ => None,
    };
    one.into_iter().collect()
}

/// The gates of a job that somebody holds: when it is let go it still has to wait for its
/// time, or for others.
fn held(facts: &Facts, due: Timestamp, waiting: bool, now: Timestamp) -> Vec<GateReport> {
    let since = Some(facts.job.updated_at);
    let mut gates = Vec::new();
    if waiting {
        gates.push(GateReport {
            since,
            opens_when: Some("the jobs that it depends on have ended".into()),
            ..gate(Gate::Dependency, false, "it waits for the jobs that it depends on".into())
        });
    }
    if due > now {
        gates.push(GateReport {
            since,
            opens_when: Some(format!("at {due}")),
            opens_at: Some(due),
            ..gate(Gate::ScheduledLater, false, format!("its time has not come; due at {due}"))
        });
    }
    gates.push(GateReport {
        since,
        opens_when: Some("somebody resumes the job".into()),
        ..gate(Gate::PausedJob, false, "somebody holds it".into())
    });
    gates
}

/// The gates of its queue as a whole.
fn of_queue(facts: &Facts, now: Timestamp) -> Vec<GateReport> {
    let (queue, since) = (&facts.queue, due(facts));
    let mut gates = Vec::new();
    let held = |pause: &&Pause| pause.holds(now);
    gates.extend(queue.settings.pause.as_ref().filter(held).map(|pause| paused(facts, pause)));
    if let Some(max) = queue.settings.max_running {
        let (running, last_start) = (queue.running, queue.last_start);
        let (holders, set_at) = (facts.own_in_queue.clone(), queue.max_set_at);
        let limit = LimitFacts { max, running, holders, last_start, set_at };
        let whose = format!("the queue {}", facts.job.spec.queue);
        gates.push(limited(Gate::QueueLimit, &whose, &limit, since));
    }
    if let Some(rate) = queue.settings.rate {
        let bucket = queue.bucket.refilled(rate, now);
        let open = bucket.available() > 0;
        let opens_at = (!open).then(|| bucket.opens_at(rate));
        let detail = format!(
            "the queue {} may start {} jobs in {} ms; {} may start now",
            facts.job.spec.queue,
            rate.limit,
            rate.period_ms,
            bucket.available()
        );
        gates.push(GateReport {
            since: (!open).then(|| queue.bucket.at.max(since)),
            opens_when: opens_at.map(|at| format!("at {at}, when the rate allows one more start")),
            opens_at,
            limit: Some(rate.limit),
            in_use: Some(rate.limit.saturating_sub(bucket.available())),
            ..gate(Gate::RateLimit, open, detail)
        });
    }
    gates
}

fn paused(facts: &Facts, pause: &Pause) -> GateReport {
    let why = pause.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    let opens_when = match pause.until {
        Some(until) => format!("at {until}, or when somebody resumes the queue"),
        None => "somebody resumes the queue".to_owned(),
    };
    GateReport {
        since: Some(pause.since.max(facts.job.spec.created_at)),
        opens_when: Some(opens_when),
        opens_at: pause.until,
        ..gate(
            Gate::PausedQueue,
            false,
            format!("the queue {} was paused by {}{why}", facts.job.spec.queue, pause.actor),
        )
    }
}

/// The gates of its tenant.
fn of_tenant(facts: &Facts) -> Vec<GateReport> {
    let (slug, since) = (&facts.job.slug, due(facts));
    let mut gates = Vec::new();
    if facts.tenant.paused {
        gates.push(GateReport {
            since: Some(facts.tenant.paused_at.max(facts.job.spec.created_at)),
            opens_when: Some("an operator lets the tenant go on".into()),
            ..gate(
                Gate::TenantLimit,
                false,
                format!(
                    "the tenant {slug} is {}",
                    if facts.tenant.suspended { "suspended" } else { "paused" }
                ),
            )
        });
    }
    if let Some(limit) = &facts.tenant_limit {
        gates.push(limited(Gate::TenantLimit, &format!("the tenant {slug}"), limit, since));
    }
    if let Some(limit) = &facts.tenant_in_queue {
        let whose = format!("the tenant {slug} in the queue {}", facts.job.spec.queue);
        gates.push(limited(Gate::TenantLimit, &whose, limit, since));
    }
    gates
}

fn limited(which: Gate, whose: &str, limit: &LimitFacts, due: Timestamp) -> GateReport {
    let open = limit.has_room();
    // The start that filled it closed it, unless it was set so later. What began before
    // that and still runs fills it since then, also when others of it have ended.
    let closed = limit.last_start.max(limit.set_at);
    let opens_when = match limit.max {
        0 => "an operator raises the limit".to_owned(),
        _ => "one of the running jobs ends, or the limit is raised".to_owned(),
    };
    GateReport {
        since: (!open).then(|| closed.map_or(due, |closed| closed.max(due))),
        opens_when: (!open).then_some(opens_when),
        limit: Some(limit.max),
        in_use: Some(limit.running),
        held_by: limit.holders.iter().copied().take(MOST_HOLDERS).collect(),
        ..gate(which, open, format!("{whose} may run {} jobs at once and runs {}", limit.max, limit.running))
    }
}

/// Whether somebody is there who would run it.
fn worker(facts: &Facts, serving: &Serving) -> GateReport {
    let Serving { workers, slots, busy, last_start, last_lost } = *serving;
    // A worker on the network that waits has room for what it asks for, whatever
    // else it runs; those of TaskFlow itself run as many as they have slots.
    let own = facts.job.spec.target.is_some() && workers > 0;
    let full = own && serving.is_full();
    let open = workers > 0 && !full;
    let closed = if full { last_start } else { last_lost };
    let kind = &facts.job.spec.kind;
    let (detail, opens_when) = match (workers > 0, &facts.job.spec.target) {
        (true, _) if full => (
            format!("all {slots} slots of the {workers} workers that serve it are busy"),
            Some("one of the running jobs ends, or another worker starts".to_owned()),
        ),
        (true, Some(_)) => {
            (format!("{workers} workers serve it, with {slots} slots of which {busy} are busy"), None)
        }
        (true, None) => (format!("{workers} workers claim the kind {kind}"), None),
        (false, Some(_)) => (
            "no worker of TaskFlow itself is alive".to_owned(),
            Some("a process with a worker starts: `taskflow up` or `taskflow worker`".to_owned()),
        ),
        (false, None) => (
            format!("it has no target, and no worker that is alive claims the kind {kind}"),
            Some(format!("a worker claims the kind {kind} for this tenant and queue")),
        ),
    };
    GateReport {
        since: (!open).then(|| closed.map_or(due(facts), |closed| closed.max(due(facts)))),
        opens_when,
        limit: own.then_some(slots),
        in_use: own.then_some(busy),
        ..gate(Gate::NoWorker, open, detail)
    }
}

/// Whether others come first. A worker that pulls serves its own tenant alone, so
/// tenants only come before each other where TaskFlow runs the jobs.
fn share(facts: &Facts, line: Line) -> GateReport {
    let pulled = facts.job.spec.target.is_none();
    let lanes_ahead = if pulled { 0 } else { line.lanes_ahead };
    let open = line.jobs_ahead == 0 && lanes_ahead == 0;
    let many = |n: u32| if n >= MOST_AHEAD { format!("{n} or more") } else { n.to_string() };
    let slug = &facts.job.slug;
    let detail = if open && pulled {
        let kind = &facts.job.spec.kind;
        format!(
            "it is the next of its kind; a worker that claims others beside {kind} gets the most urgent of all"
        )
    } else if open {
        format!("it is the next job of its queue; the tenant {slug} has the turn")
    } else if pulled {
        format!("{} jobs of the tenant {slug} and this kind come first", many(line.jobs_ahead))
    } else {
        format!(
            "{} jobs of the tenant {slug} come first, and {} other tenants have had less than their share",
            many(line.jobs_ahead),
            many(lanes_ahead)
        )
    };
    GateReport {
        // It stands in line since it was due, whoever came before it meanwhile.
        since: (!open).then(|| due(facts)),
        opens_when: (!open).then(|| "those that come first have started".to_owned()),
        in_use: Some(line.jobs_ahead.saturating_add(lanes_ahead)),
        ..gate(Gate::FairShare, open, detail)
    }
}

/// A queue that drains takes no new jobs; those that it has may start.
fn draining(facts: &Facts) -> Option<GateReport> {
    let drain = facts.queue.settings.drain.as_ref()?;
    let why = drain.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    let queue = &facts.job.spec.queue;
    Some(GateReport {
        since: Some(drain.since),
        ..gate(
            Gate::Draining,
            true,
            format!(
                "the queue {queue} is drained by {}{why}; it takes no new jobs and runs this one",
                drain.actor
            ),
        )
    })
}
