//! C11, C12: no more jobs run than a limit allows, nothing of what is held
//! starts, and no more jobs start than a rate allows.
//!
//! The order of leases given and ended is the order of commits where it is
//! known; otherwise the stamps of the attempts stand for it, ends first.

use std::collections::{BTreeMap, BTreeSet};

use super::Found;
use crate::Lives;
use crate::history::{Call, JobRow, Known, LeaseRow, Op, Rate};

/// A start or an end of an attempt.
struct Turn<'a> {
    at: i64,
    start: bool,
    row: &'a JobRow,
    token: &'a str,
}

/// What certainly held from a time to a time.
struct Span<T> {
    from: i64,
    to: i64,
    set: T,
}

impl<T> Span<T> {
    fn covers(&self, at: i64) -> bool {
        self.from <= at && at < self.to
    }
}

#[derive(Clone, Copy)]
struct QueueSet {
    max_running: Option<u64>,
    per_tenant: Option<u64>,
    rate: Option<Rate>,
    held_until: Option<i64>,
}

#[derive(Clone, Copy)]
struct TenantSet {
    max_running: Option<u64>,
    held: bool,
}

fn turns<'a>(lives: &Lives<'a>) -> Vec<Turn<'a>> {
    let row = |job: &str| lives.jobs.get(job).and_then(|life| life.row);
    let mut turns = Vec::new();
    let ordered = lives.history.leases.iter().any(|lease| matches!(lease, LeaseRow::End { .. }));
    if ordered {
        for lease in &lives.history.leases {
            let (at, job, token, start) = match lease {
                LeaseRow::Grant { at, job, token, .. } => (*at, job, token, true),
                LeaseRow::End { at, job, token } => (*at, job, token, false),
                LeaseRow::Extend { .. } | LeaseRow::Beat { .. } => continue,
            };
            turns.extend(row(job).map(|row| Turn { at, start, row, token }));
        }
        return turns;
    }
    for attempt in &lives.history.attempts {
        let Some(row) = row(&attempt.job) else { continue };
        let token = &attempt.token;
        turns.push(Turn { at: attempt.started_at, start: true, row, token });
        turns.extend(attempt.ended_at.map(|at| Turn { at, start: false, row, token }));
    }
    turns.sort_by_key(|turn| (turn.at, turn.start));
    turns
}

/// How long after its caller gave up a call may still be carried out.
const LATEST: i64 = 60_000_000;

/// Certain settings: from the answer of a call until the next one of the same
/// thing is sent. Where calls overlap, or the outcome of one is unknown, nothing
/// is certain until a later one is answered.
fn spans<'a, T>(
    calls: &'a [Call],
    pick: impl Fn(&'a Op) -> Option<(&'a str, T)>,
) -> BTreeMap<&'a str, Vec<Span<T>>> {
    let mut spans: BTreeMap<&str, Vec<Span<T>>> = BTreeMap::new();
    let mut unclear: BTreeMap<&str, i64> = BTreeMap::new();
    let mut ordered: Vec<_> = calls.iter().filter(|call| call.known != Known::Fail).collect();
    ordered.sort_by_key(|call| call.invoked_at);
    for call in ordered {
        let Some((name, set)) = pick(&call.op) else { continue };
        let of = spans.entry(name).or_default();
        if let Some(last) = of.last_mut() {
            last.to = last.to.min(call.invoked_at);
        }
        let unclear = unclear.entry(name).or_insert(i64::MIN);
        if call.known == Known::Ok && *unclear < call.invoked_at {
            of.push(Span { from: call.returned_at, to: i64::MAX, set });
        }
        let over = if call.known == Known::Ok { call.returned_at } else { call.returned_at + LATEST };
        *unclear = (*unclear).max(over);
    }
    spans
}

fn queue_spans(calls: &[Call]) -> BTreeMap<&str, Vec<Span<QueueSet>>> {
    spans(calls, |op| match op {
        Op::SetQueue { queue, max_running, max_running_per_tenant, rate, paused, paused_until } => {
            let held_until = paused.then(|| paused_until.unwrap_or(i64::MAX));
            let per_tenant = *max_running_per_tenant;
            let set = QueueSet { max_running: *max_running, per_tenant, rate: *rate, held_until };
            Some((queue.as_str(), set))
        }
        _ => None,
    })
}

fn tenant_spans(calls: &[Call]) -> BTreeMap<&str, Vec<Span<TenantSet>>> {
    spans(calls, |op| match op {
        Op::SetTenant { tenant, max_running, paused } => {
            Some((tenant.as_str(), TenantSet { max_running: *max_running, held: *paused }))
        }
        _ => None,
    })
}

fn in_force<T: Copy>(spans: &BTreeMap<&str, Vec<Span<T>>>, name: &str, at: i64) -> Option<T> {
    spans.get(name)?.iter().find(|span| span.covers(at)).map(|span| span.set)
}

pub(super) fn caps_hold(lives: &Lives<'_>, found: &mut Found) {
    let queues = queue_spans(&lives.history.calls);
    let tenants = tenant_spans(&lives.history.calls);
    if queues.is_empty() && tenants.is_empty() {
        return;
    }
    let mut running: BTreeSet<(&str, &str, &str, &str)> = BTreeSet::new();
    for turn in turns(lives) {
        let JobRow { job, tenant, queue, .. } = turn.row;
        let entry = (tenant.as_str(), queue.as_str(), job.as_str(), turn.token);
        if !turn.start {
            running.remove(&entry);
            continue;
        }
        running.insert(entry);
        let mut over = |what: String, count: usize, cap: Option<u64>| {
            if cap.is_some_and(|cap| count as u64 > cap) {
                found.add(format!("{what} ran {count} jobs at {} when {job} started", turn.at));
            }
        };
        if let Some(set) = in_force(&queues, queue, turn.at) {
            let all = running.iter().filter(|(_, other, ..)| other == queue).count();
            over(format!("queue {queue}"), all, set.max_running);
            let own = running.iter().filter(|(of, other, ..)| other == queue && of == tenant).count();
            over(format!("{tenant} in queue {queue}"), own, set.per_tenant);
            if set.held_until.is_some_and(|until| turn.at < until - lives.slack()) {
                over(format!("queue {queue}, which is held,"), 1, Some(0));
            }
        }
        if let Some(set) = in_force(&tenants, tenant, turn.at) {
            let own = running.iter().filter(|(of, ..)| of == tenant).count();
            over(tenant.clone(), own, set.max_running);
            if set.held {
                over(format!("{tenant}, which is held,"), 1, Some(0));
            }
        }
    }
}

pub(super) fn rates_hold(lives: &Lives<'_>, found: &mut Found) {
    let starts = starts(lives);
    for (queue, spans) in queue_spans(&lives.history.calls) {
        for span in &spans {
            let Some(rate) = span.set.rate else { continue };
            let starts = starts.get(queue).into_iter().flatten().copied().filter(|at| span.covers(*at));
            rate_holds(queue, rate, lives.slack(), starts, found);
        }
    }
}

/// When attempts began in each queue, as they are stamped and told: two claims may
/// reach the database closer together than they were made, one of them after a
/// long way, and their jobs still began as far apart as their stamps say.
fn starts<'a>(lives: &Lives<'a>) -> BTreeMap<&'a str, Vec<i64>> {
    let mut starts: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    for (row, life) in lives.existing() {
        starts.entry(&row.queue).or_default().extend(life.attempts.iter().map(|it| it.started_at));
    }
    for times in starts.values_mut() {
        times.sort_unstable();
    }
    starts
}

/// A bucket that is full at first: in millionths of a start, in whole numbers.
fn rate_holds(queue: &str, rate: Rate, slack: i64, starts: impl Iterator<Item = i64>, found: &mut Found) {
    let most = i128::from(rate.limit) * i128::from(rate.period_us.max(1));
    let one = i128::from(rate.period_us.max(1));
    let (mut saved, mut last) = (most, None);
    for at in starts {
        let passed = last.map_or(0, |last: i64| (at - last).max(0));
        saved = (saved + i128::from(passed) * i128::from(rate.limit)).min(most) - one;
        last = Some(at.max(last.unwrap_or(at)));
        // The engine counts in millionths of a start, so a millionth may be missing;
        // and what a clock is ahead is saved up once.
        let missing = one / 1_000_000 + 1 + i128::from(slack) * i128::from(rate.limit);
        if saved < -missing {
            found.add(format!(
                "queue {queue} may start {} in {} us, and a start at {at} was too many",
                rate.limit, rate.period_us
            ));
            saved = 0;
        }
    }
}
