//! C10: of every rule that the clock starts, each occurrence is decided about
//! once, for each tenant that the rule acts for, and in time; what is fired makes
//! its jobs once, and what is given up is told.

use std::collections::BTreeMap;

use super::Found;
use crate::Lives;
use crate::history::{Cause, ClockRow, FiringRow, RuleRow};

/// What is at most this late counts as on time, and is never given up.
const ON_TIME_US: i64 = 60_000_000;

/// What was decided about one occurrence for one tenant.
#[derive(Default)]
struct Decided<'a> {
    last: Vec<&'a FiringRow>,
    waits: u32,
}

type ByTenant<'a> = BTreeMap<(&'a str, i64), Decided<'a>>;

pub(super) fn are_decided_once(lives: &Lives<'_>, found: &mut Found) {
    let mut of: BTreeMap<&str, Vec<&FiringRow>> = BTreeMap::new();
    for firing in &lives.history.firings {
        of.entry(&firing.rule).or_default().push(firing);
    }
    for rule in &lives.history.rules {
        let Some(clock) = &rule.clock else { continue };
        let own = of.get(rule.rule.as_str()).map(Vec::as_slice).unwrap_or_default();
        let mut decided = ByTenant::new();
        let mut given_up: Vec<(i64, i64, &FiringRow)> = Vec::new();
        for &firing in own {
            match &firing.cause {
                Cause::Occurrence { at } => {
                    on_the_grid(lives, rule, clock, firing, *at, found);
                    let entry = decided.entry((&firing.tenant, *at)).or_default();
                    if firing.waits() { entry.waits += 1 } else { entry.last.push(firing) }
                }
                Cause::Missed { first, last } => {
                    on_the_grid(lives, rule, clock, firing, *first, found);
                    given_up.push((*first, *last, firing));
                }
                _ => {}
            }
        }
        given_up_late(lives, rule, clock, &mut given_up, found);
        once_each(lives, rule, clock, &decided, &given_up, found);
        jobs_are_made(lives, &decided, found);
        in_time(lives, rule, clock, found);
    }
}

/// It belongs to an occurrence, and to one whose time had come.
fn on_the_grid(
    lives: &Lives<'_>,
    rule: &RuleRow,
    clock: &ClockRow,
    firing: &FiringRow,
    at: i64,
    found: &mut Found,
) {
    let FiringRow { firing: id, .. } = firing;
    if at < clock.first || (at - clock.first) % clock.every_us.max(1) != 0 {
        found.add(format!("{id} is for {at}, which is no occurrence of rule {}", rule.rule));
    } else if at >= clock.cursor {
        found.add(format!("{id} is for {at}, and rule {} stands at {}", rule.rule, clock.cursor));
    }
    if firing.at < at - lives.slack() {
        found.add(format!("{id} was decided at {}, before its occurrence at {at}", firing.at));
    }
}

/// Occurrences are given up only when they are late, and only once.
fn given_up_late(
    lives: &Lives<'_>,
    rule: &RuleRow,
    clock: &ClockRow,
    given_up: &mut [(i64, i64, &FiringRow)],
    found: &mut Found,
) {
    given_up.sort_by_key(|(first, ..)| *first);
    for pair in given_up.windows(2) {
        if pair[1].0 <= pair[0].1 {
            found.add(format!("rule {} gave up the occurrence at {} twice", rule.rule, pair[1].0));
        }
    }
    for (_, last, firing) in given_up.iter() {
        let late = firing.at - last;
        if late < clock.max_late_us.min(ON_TIME_US) - lives.slack() {
            found.add(format!(
                "rule {} gave up the occurrence at {last}, which was late by {late} us only",
                rule.rule
            ));
        }
    }
}

/// Each occurrence up to the cursor is decided about once for each tenant.
fn once_each(
    lives: &Lives<'_>,
    rule: &RuleRow,
    clock: &ClockRow,
    decided: &ByTenant<'_>,
    given_up: &[(i64, i64, &FiringRow)],
    found: &mut Found,
) {
    // The tenants of a rule that acts for many follow one after the other.
    let many = rule.acts_for.as_slice() != std::slice::from_ref(&rule.tenant);
    let mut at = clock.first;
    while at < clock.cursor {
        let lost = given_up.iter().any(|(first, last, _)| *first <= at && at <= *last);
        for tenant in &rule.acts_for {
            let about = decided.get(&(tenant.as_str(), at));
            let (last, waits) = about.map_or((0, 0), |about| (about.last.len(), about.waits));
            let name = || format!("the occurrence at {at} of rule {} for {tenant}", rule.rule);
            if last > 1 || waits > 1 || (lost && last + waits as usize > 0) {
                let times = last.max(waits as usize) + usize::from(lost);
                found.add(format!("{} was decided {times} times", name()));
            }
            let open = lives.history.run.settled && clock.waits != Some(at);
            if last == 0 && waits > 0 && open {
                found.add(format!("{} waited and was forgotten", name()));
            }
            if last == 0 && waits == 0 && !lost && (!many || lives.history.run.settled) {
                found.add(format!("{} was left out", name()));
            }
            if let Some(late) = about.and_then(|about| about.last.first()).filter(|it| it.fired())
                && waits == 0
                && !many
                && late.at - at > clock.max_late_us + lives.slack()
            {
                found.add(format!("{} was fired at {}, too late", name(), late.at));
            }
        }
        at += clock.every_us.max(1);
    }
}

/// What is fired makes jobs that exist, and no two firings the same one.
fn jobs_are_made(lives: &Lives<'_>, decided: &ByTenant<'_>, found: &mut Found) {
    for firing in decided.values().flat_map(|decided| &decided.last).filter(|firing| firing.fired()) {
        if firing.jobs.is_empty() {
            found.add(format!("{} fired and made nothing", firing.firing));
        }
        for job in &firing.jobs {
            match lives.jobs.get(job.as_str()).and_then(|life| life.row) {
                None => found.add(format!("{} made {job}, which does not exist", firing.firing)),
                Some(row) if row.firing.as_ref() != Some(&firing.firing) => {
                    found.add(format!("{} made {job}, which says otherwise", firing.firing));
                }
                Some(_) => {}
            }
        }
    }
}

/// While an engine lives, the clock is followed.
fn in_time(lives: &Lives<'_>, rule: &RuleRow, clock: &ClockRow, found: &mut Found) {
    let run = &lives.history.run;
    let late = clock.seen_at - clock.cursor;
    let allowed = run.reap_bound_us + lives.slack() + lives.outages_within(clock.cursor, clock.seen_at);
    if run.settled && late > allowed {
        found.add(format!(
            "rule {} had decided nothing from {} on at {}: late by {late} us (allowed: {allowed})",
            rule.rule, clock.cursor, clock.seen_at
        ));
    }
}
