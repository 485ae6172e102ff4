//! Firing: the claim, then the firings with their jobs, then what is counted.

use std::collections::BTreeMap;

use taskflow_domain::{FanOutId, Firing, Rule, RuleId, TenantSlug, Timestamp};

use super::state::State;
use crate::ports::{
    FanOut, Fire, FireClaim, Fired, Inserted, NewFiring, Queued, RuleTally, StoreResult, settle_firing,
};

/// A fan-out with what the engine keeps of it.
#[derive(Clone, Debug)]
pub(super) struct FanOutRow {
    pub(super) fan_out: FanOut,
    pub(super) done: bool,
    pub(super) held_until: Timestamp,
}

impl State {
    pub(super) fn fire(&mut self, fire: Fire) -> StoreResult<Fired> {
        if !self.claim_fire(&fire.claim) {
            return Ok(Fired::Lost);
        }
        let mut tallies: BTreeMap<RuleId, RuleTally> = BTreeMap::new();
        let mut done = Vec::with_capacity(fire.firings.len());
        for NewFiring { mut firing, jobs } in fire.firings {
            if self.has_fired(&firing) {
                continue;
            }
            let answers = self.insert(jobs.clone(), true)?;
            let made = if settle_firing(&mut firing, &jobs, &answers) {
                answers.iter().filter(|answer| **answer == Inserted::New).count() as u64
            } else {
                0
            };
            tallies.entry(firing.rule).or_default().add(&firing, made);
            let key = (firing.rule, firing.outcome, firing.reason.clone().unwrap_or_default());
            *self.firing_counts.entry(key).or_default() += 1;
            self.firings.insert(firing.id, firing.clone());
            done.push(firing);
        }
        for (rule, tally) in tallies {
            if let Some(row) = self.rules.get_mut(&rule) {
                row.rule.health = tally.health(row.rule.health);
                row.rule.jobs_made += tally.jobs;
            }
        }
        for fan_out in fire.fan_outs {
            self.begin_fan_out(fan_out);
        }
        Ok(Fired::Done(done))
    }

    fn has_fired(&self, firing: &Firing) -> bool {
        let Some(key) = &firing.key else { return false };
        self.firings.values().any(|other| {
            other.rule == firing.rule && other.tenant == firing.tenant && other.key.as_ref() == Some(key)
        })
    }

    fn begin_fan_out(&mut self, fan_out: FanOut) {
        let begun = fan_out.key.is_some()
            && self
                .fan_outs
                .values()
                .any(|row| row.fan_out.rule == fan_out.rule && row.fan_out.key == fan_out.key);
        if !begun {
            let row = FanOutRow { held_until: Timestamp::MIN, done: false, fan_out };
            self.fan_outs.insert(row.fan_out.id, row);
        }
    }

    /// Uses the claim up, if it holds.
    fn claim_fire(&mut self, claim: &FireClaim) -> bool {
        match claim {
            FireClaim::Occurrence { tenant, rule, revision, before, after, queued } => {
                let holds = |rule: &Rule| {
                    rule.tenant == *tenant
                        && rule.enabled
                        && rule.revision == *revision
                        && rule.next_at == Some(*before)
                };
                let Some(row) = self.rules.get_mut(rule).filter(|row| holds(&row.rule)) else { return false };
                row.rule.next_at = *after;
                match queued {
                    Queued::Keep => {}
                    Queued::Put(at) => row.rule.queued_at = Some(*at),
                    Queued::Clear => row.rule.queued_at = None,
                }
                true
            }
            FireClaim::Waiting { tenant, rule, of: Some(of), at } => {
                let on =
                    self.rules.get(rule).is_some_and(|row| row.rule.tenant == *tenant && row.rule.enabled);
                let waits = self.rule_waits.get(&(*rule, *of)) == Some(at);
                on && waits && self.rule_waits.remove(&(*rule, *of)).is_some()
            }
            FireClaim::Waiting { tenant, rule, of: None, at } => {
                let holds =
                    |rule: &Rule| rule.tenant == *tenant && rule.enabled && rule.queued_at == Some(*at);
                let Some(row) = self.rules.get_mut(rule).filter(|row| holds(&row.rule)) else { return false };
                row.rule.queued_at = None;
                true
            }
            FireClaim::Pending(id) => self.outbox.remove(id).is_some(),
            FireClaim::Delivery(event) => {
                if self.known_event(event).is_some() {
                    return false;
                }
                self.events.insert(event.id, (**event).clone());
                true
            }
            FireClaim::FanOut { id, before, after, waits } => {
                let held = self.advance(*id, before.as_ref(), after.as_ref());
                for wait in waits.iter().filter(|_| held) {
                    self.rule_waits.entry((wait.rule, wait.tenant)).or_insert(wait.at);
                }
                held
            }
            FireClaim::Free => true,
        }
    }

    fn advance(&mut self, id: FanOutId, before: Option<&TenantSlug>, after: Option<&TenantSlug>) -> bool {
        let Some(row) = self.fan_outs.get_mut(&id) else { return false };
        if row.done || row.fan_out.after.as_ref() != before {
            return false;
        }
        row.held_until = Timestamp::MIN;
        match after {
            Some(after) => row.fan_out.after = Some(after.clone()),
            None => row.done = true,
        }
        true
    }
}
