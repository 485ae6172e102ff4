//! C14: a delivery counts once, what was acknowledged is kept, and whatever a
//! rule listens to, an event or a job's end, it acts upon once.

use std::collections::{BTreeMap, BTreeSet};

use super::Found;
use crate::Lives;
use crate::history::{Cause, FiringRow, InboundRow, Known, Op, RuleRow};
use crate::table;

/// How many firings may stand before one that makes jobs.
const DEEPEST: u32 = 10;

/// How often a rule was evaluated for what, for whom.
type Acts<'a> = BTreeMap<(&'a str, &'a str, &'a Cause), Vec<&'a FiringRow>>;

pub(super) fn act_once(lives: &Lives<'_>, found: &mut Found) {
    kept_once(lives, found);
    answers_are_true(lives, found);
    let mut acts = Acts::new();
    for firing in &lives.history.firings {
        if !matches!(firing.cause, Cause::Event { .. } | Cause::JobEnd { .. }) {
            continue;
        }
        acts.entry((&firing.rule, &firing.tenant, &firing.cause)).or_default().push(firing);
        has_a_cause(lives, firing, found);
        if firing.fired() && firing.depth >= DEEPEST {
            found.add(format!("{} made jobs with {} firings before it", firing.firing, firing.depth));
        }
    }
    for ((rule, tenant, cause), firings) in &acts {
        if firings.len() > 1 {
            let count = firings.len();
            found.add(format!("rule {rule} acted {count} times upon {cause:?} for {tenant}"));
        }
    }
    for rule in &lives.history.rules {
        for (cause, must) in heard(lives, rule) {
            for tenant in rule.acts_for.iter().filter(|_| must) {
                if !acts.contains_key(&(rule.rule.as_str(), tenant.as_str(), &cause)) {
                    found.add(format!("rule {} never acted upon {cause:?} for {tenant}", rule.rule));
                }
            }
        }
    }
}

/// What a source calls by one name is kept once.
fn kept_once(lives: &Lives<'_>, found: &mut Found) {
    let mut seen: BTreeSet<(&str, &str, &str)> = BTreeSet::new();
    for row in lives.history.inbound.iter().filter(|row| !row.refused) {
        let Some(id) = &row.id else { continue };
        if !seen.insert((&row.tenant, &row.source, id)) {
            found.add(format!("{id} of {} is kept twice for {}", row.source, row.tenant));
        }
        let asked = lives.history.calls.iter().any(|call| match &call.op {
            Op::Deliver { source, id: of, genuine, .. } => {
                *genuine && source == &row.source && of == id && call.known != Known::Fail
            }
            Op::Ingest { source, id: of, tenant } => {
                source == &row.source && of == id && *tenant == row.tenant && call.known != Known::Fail
            }
            _ => false,
        });
        if !asked {
            found.add(format!("{id} of {} is kept, and nobody sent it who may", row.source));
        }
    }
}

/// What is answered is so, and always the same.
fn answers_are_true(lives: &Lives<'_>, found: &mut Found) {
    let mut answers: BTreeMap<(&str, &str), &[String]> = BTreeMap::new();
    for call in lives.history.calls.iter().filter(|call| call.known == Known::Ok) {
        match &call.op {
            Op::Deliver { source, id, genuine: false, .. } => {
                found.add(format!("{id} of {source} was accepted with a bad signature"));
            }
            Op::Deliver { source, id, firings, .. } => {
                let Some(row) = kept(lives, source, id, None) else {
                    found.add(format!("{id} of {source} was acknowledged and is gone"));
                    continue;
                };
                let first = *answers.entry((source, id)).or_insert(firings);
                // What comes of one that many tenants hear comes later.
                let alone = lives.history.rules.iter().all(|rule| {
                    rule.webhook.as_ref() != Some(source) || rule.acts_for == [rule.tenant.clone()]
                });
                if alone && first != firings.as_slice() {
                    found.add(format!("{id} of {source} was answered with {first:?} and with {firings:?}"));
                }
                let cause = Cause::Event { event: row.event.clone() };
                for firing in firings {
                    if lives.firings.get(firing.as_str()).is_none_or(|firing| firing.cause != cause) {
                        found.add(format!("{id} of {source} was answered with {firing}, which is not so"));
                    }
                }
            }
            Op::Ingest { tenant, source, id } if kept(lives, source, id, Some(tenant)).is_none() => {
                found.add(format!("{id} of {source} was acknowledged to {tenant} and is gone"));
            }
            _ => {}
        }
    }
}

fn kept<'a>(lives: &Lives<'a>, source: &str, id: &str, tenant: Option<&str>) -> Option<&'a InboundRow> {
    lives.history.inbound.iter().find(|row| {
        row.source == source
            && row.id.as_deref() == Some(id)
            && !row.refused
            && tenant.is_none_or(|tenant| row.tenant == tenant)
    })
}

/// What a firing says that it was for has happened.
fn has_a_cause(lives: &Lives<'_>, firing: &FiringRow, found: &mut Found) {
    let happened = match &firing.cause {
        Cause::Event { event } => lives.history.inbound.iter().any(|row| row.event == *event && !row.refused),
        Cause::JobEnd { job, seq } => lives.jobs.get(job.as_str()).is_some_and(|life| {
            life.events.iter().any(|event| event.seq == *seq && table::ends_job(&event.kind))
        }),
        _ => true,
    };
    if !happened {
        found.add(format!("{} is for {:?}, which never happened", firing.firing, firing.cause));
    }
}

/// What a rule may have heard of, and whether it must have acted by now.
fn heard(lives: &Lives<'_>, rule: &RuleRow) -> Vec<(Cause, bool)> {
    let settled = lives.history.run.settled;
    let known = |at: i64| rule.since.is_some_and(|since| at > since + lives.slack());
    let mut heard = Vec::new();
    for row in lives.history.inbound.iter().filter(|row| !row.refused) {
        let delivered = rule.webhook.as_ref() == Some(&row.source);
        let listens = row.tenant == rule.tenant && rule.listens.contains(&row.kind);
        if delivered || listens {
            // A delivery is kept together with what comes of it for the rule's own tenant.
            let at_once = delivered && rule.acts_for.as_slice() == std::slice::from_ref(&rule.tenant);
            let must = known(row.received_at) && (settled || at_once);
            heard.push((Cause::Event { event: row.event.clone() }, must));
        }
    }
    if rule.listens.iter().any(|name| name.starts_with("job.")) {
        for (row, life) in lives.existing().filter(|(row, _)| row.tenant == rule.tenant) {
            for event in life.events.iter().filter(|event| table::ends_job(&event.kind)) {
                if rule.listens.contains(&format!("job.{}", event.kind)) {
                    let cause = Cause::JobEnd { job: row.job.clone(), seq: event.seq };
                    heard.push((cause, settled && known(event.at)));
                }
            }
        }
    }
    heard
}
