//! The port of automation rules, on the state.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use taskflow_domain::rule::Trigger;
use taskflow_domain::{
    Actor, CorrelationId, Firing, FiringId, FiringOutcome, JobId, JobState, Rule, RuleDocument, RuleId,
    TenantId, Timestamp,
};

use super::MemoryStore;
use super::state::{Place, State};
use crate::ports::{
    AuditNote, DueRules, FanOut, Fire, Fired, FiringCount, FiringPage, RuleLine, RulePage, RulePut,
    RuleStore, SealedSecret, StoreResult, Waiting, Waits, due_offset,
};

/// A rule with what belongs to it.
#[derive(Clone, Debug)]
pub(super) struct RuleRow {
    pub(super) rule: Rule,
    pub(super) secrets: Vec<SealedSecret>,
    /// What it said before, by revision, and who changed it to that.
    pub(super) revisions: Vec<(RuleDocument, Actor)>,
}

impl State {
    /// Whether a rule of the tenant listens to such ends of jobs.
    pub(super) fn is_watched(&self, tenant: TenantId, state: JobState) -> bool {
        self.rules_on().any(|rule| match &rule.document.trigger {
            Trigger::Event { event } => rule.tenant == tenant && event.states().contains(&state),
            _ => false,
        })
    }

    fn rules_on(&self) -> impl Iterator<Item = &Rule> {
        self.rules.values().map(|row| &row.rule).filter(|rule| rule.enabled)
    }

    fn put_rule(&mut self, rule: &Rule, secrets: Option<&[SealedSecret]>, actor: &Actor) -> RulePut {
        let old = self.rules.get(&rule.id).filter(|old| old.rule.tenant == rule.tenant);
        if old.map_or(0, |old| old.rule.revision) + 1 != rule.revision
            || (old.is_none() && (rule.revision != 1 || self.gone_rules.contains(&rule.id)))
        {
            return RulePut::Conflict;
        }
        if let Some(key) = webhook_key(rule) {
            let mut others = self.rules.values().map(|row| &row.rule).filter(|other| other.id != rule.id);
            if let Some(owner) = others.find(|other| webhook_key(other) == Some(key)) {
                return RulePut::of_owner(rule, owner.tenant);
            }
        }
        let same_trigger = old.is_some_and(|old| old.rule.document.trigger == rule.document.trigger);
        if !(rule.enabled && same_trigger) {
            self.rule_waits.retain(|(of, _), _| *of != rule.id);
        }
        let old = self.rules.get(&rule.id);
        let mut row = match old {
            Some(old) => {
                let mut row = old.clone();
                let (health, jobs_made) = (row.rule.health, row.rule.jobs_made);
                let created_at = row.rule.created_at;
                row.rule = Rule { health, jobs_made, created_at, ..rule.clone() };
                row
            }
            None => RuleRow { rule: rule.clone(), secrets: Vec::new(), revisions: Vec::new() },
        };
        row.revisions.push((rule.document.clone(), actor.clone()));
        if let Some(secrets) = secrets {
            row.secrets = secrets.to_vec();
        }
        self.rules.insert(rule.id, row);
        RulePut::Done
    }

    fn due_rules(&self, now: Timestamp, limit: u32, place: f64) -> DueRules {
        let mut on: Vec<_> =
            self.rules_on().filter_map(|rule| Some((rule.next_at?, rule.id, rule))).collect();
        on.sort_by_key(|(at, id, _)| (*at, *id));
        let due = on.iter().take_while(|(at, ..)| *at <= now).count();
        let offset = due_offset(u32::try_from(due).unwrap_or(u32::MAX), limit, place) as usize;
        let taken = (due - offset).min(limit as usize);
        DueRules {
            next: on.get(taken).map(|(at, ..)| *at),
            rules: on[offset..offset + taken].iter().map(|(.., rule)| (*rule).clone()).collect(),
        }
    }

    fn waiting(&self, limit: u32) -> Waiting {
        let own = self.rules_on().filter_map(|rule| Some((rule.queued_at?, rule, rule.tenant, None)));
        let of_many = self.rule_waits.iter().filter_map(|((rule, of), at)| {
            let rule = &self.rules.get(rule)?.rule;
            rule.enabled.then_some((*at, rule, *of, Some(*of)))
        });
        let mut all: Vec<_> = own.chain(of_many).collect();
        all.sort_by_key(|(at, rule, tenant, _)| (*at, rule.id, *tenant));
        let any = !all.is_empty();
        let ready =
            all.into_iter().filter(|(_, rule, tenant, _)| self.unfinished(rule.id, *tenant).is_empty());
        let waits = |(at, rule, _, of): (_, &Rule, _, _)| Waits { rule: rule.clone(), of, at };
        Waiting { ready: ready.take(limit as usize).map(waits).collect(), any }
    }

    /// The latest FIRED firing of a rule for a tenant.
    pub(super) fn latest_fired(&self, rule: RuleId, tenant: TenantId) -> Option<&Firing> {
        let fired = |firing: &&Firing| {
            firing.rule == rule && firing.tenant == tenant && firing.outcome == FiringOutcome::Fired
        };
        self.firings.values().rev().find(fired)
    }

    fn unfinished(&self, rule: RuleId, tenant: TenantId) -> Vec<JobId> {
        let Some(firing) = self.latest_fired(rule, tenant) else { return Vec::new() };
        let lives = |job: &&JobId| {
            self.jobs
                .get(&(tenant, **job))
                .is_some_and(|job| !matches!(&job.place, Place::At(at) if at.state().is_terminal()))
        };
        firing.jobs.iter().filter(lives).copied().collect()
    }

    fn prune_firings(&mut self, before: Timestamp, limit: u32) -> u32 {
        let mut kept = BTreeSet::new();
        for firing in self.firings.values().rev().filter(|firing| firing.outcome == FiringOutcome::Fired) {
            if !kept.iter().any(|(rule, tenant, _)| (*rule, *tenant) == (firing.rule, firing.tenant)) {
                kept.insert((firing.rule, firing.tenant, firing.id));
            }
        }
        let kept: BTreeSet<FiringId> = kept.into_iter().map(|(.., id)| id).collect();
        let old = self.firings.values().filter(|firing| firing.at < before && !kept.contains(&firing.id));
        let old: Vec<_> = old.map(|firing| firing.id).take(limit as usize).collect();
        for id in &old {
            self.firings.remove(id);
        }
        self.fan_outs.retain(|_, row| !row.done || row.fan_out.at >= before);
        u32::try_from(old.len()).unwrap_or(u32::MAX)
    }
}

fn webhook_key(rule: &Rule) -> Option<&str> {
    match &rule.document.trigger {
        Trigger::Webhook(webhook) => Some(&webhook.key),
        _ => None,
    }
}

#[async_trait]
impl RuleStore for MemoryStore {
    async fn put(
        &self,
        rule: &Rule,
        secrets: Option<&[SealedSecret]>,
        actor: &Actor,
        note: Option<AuditNote>,
    ) -> StoreResult<RulePut> {
        let mut state = self.state();
        let put = state.put_rule(rule, secrets, actor);
        if put == RulePut::Done {
            state.tell_audit(note.as_slice());
        }
        Ok(put)
    }

    async fn get(&self, tenant: TenantId, rule: RuleId) -> StoreResult<Option<Rule>> {
        let state = self.state();
        let row = state.rules.get(&rule).filter(|row| row.rule.tenant == tenant);
        Ok(row.map(|row| row.rule.clone()))
    }

    async fn count(&self, tenant: TenantId, most: u32) -> StoreResult<u32> {
        let state = self.state();
        let own = state.rules.values().filter(|row| row.rule.tenant == tenant).take(most as usize);
        Ok(u32::try_from(own.count()).unwrap_or(u32::MAX))
    }

    async fn list(&self, tenant: TenantId, page: RulePage) -> StoreResult<Vec<Rule>> {
        let state = self.state();
        let own = state.rules.values().map(|row| &row.rule).filter(|rule| rule.tenant == tenant);
        let later = own.filter(|rule| page.after.is_none_or(|after| rule.id > after));
        Ok(later.take(page.limit as usize).cloned().collect())
    }

    async fn lines(&self, tenant: Option<TenantId>, page: RulePage) -> StoreResult<Vec<RuleLine>> {
        let state = self.state();
        let meant = state.rules.values().map(|row| &row.rule).filter(|rule| {
            tenant.is_none_or(|tenant| rule.tenant == tenant)
                && page.after.is_none_or(|after| rule.id > after)
        });
        let line = |rule: &Rule| {
            Some(RuleLine {
                tenant: state.tenants.get(&rule.tenant)?.slug.clone(),
                id: rule.id,
                name: rule.document.name.clone(),
                trigger: rule.document.trigger.kind(),
                enabled: rule.enabled,
                mode: rule.mode,
                revision: rule.revision,
                next_at: rule.next_at,
                queued_at: rule.queued_at,
                health: rule.health,
                jobs_made: rule.jobs_made,
            })
        };
        Ok(meant.filter_map(line).take(page.limit as usize).collect())
    }

    async fn delete(
        &self,
        tenant: TenantId,
        rule: RuleId,
        _now: Timestamp,
        note: Option<AuditNote>,
    ) -> StoreResult<bool> {
        let mut state = self.state();
        if state.rules.get(&rule).is_none_or(|row| row.rule.tenant != tenant) {
            return Ok(false);
        }
        state.tell_audit(note.as_slice());
        state.gone_rules.insert(rule);
        state.rule_waits.retain(|(of, _), _| *of != rule);
        Ok(state.rules.remove(&rule).is_some())
    }

    async fn by_webhook_key(&self, key: &str) -> StoreResult<Option<Rule>> {
        let state = self.state();
        let found = state.rules.values().map(|row| &row.rule).find(|rule| webhook_key(rule) == Some(key));
        Ok(found.cloned())
    }

    async fn secrets(&self, tenant: TenantId, rule: RuleId) -> StoreResult<Vec<SealedSecret>> {
        let state = self.state();
        let row = state.rules.get(&rule).filter(|row| row.rule.tenant == tenant);
        let mut secrets = row.map(|row| row.secrets.clone()).unwrap_or_default();
        secrets.sort_by_key(|secret| secret.slot);
        Ok(secrets)
    }

    async fn due(&self, now: Timestamp, limit: u32, place: f64) -> StoreResult<DueRules> {
        Ok(self.state().due_rules(now, limit, place))
    }

    async fn waiting(&self, limit: u32) -> StoreResult<Waiting> {
        Ok(self.state().waiting(limit))
    }

    async fn waits(&self, rule: RuleId, of: &[TenantId]) -> StoreResult<Vec<TenantId>> {
        let state = self.state();
        Ok(of.iter().copied().filter(|tenant| state.rule_waits.contains_key(&(rule, *tenant))).collect())
    }

    async fn listening(&self, tenant: TenantId) -> StoreResult<Vec<Rule>> {
        let state = self.state();
        let listens =
            |rule: &&Rule| rule.tenant == tenant && matches!(rule.document.trigger, Trigger::Event { .. });
        Ok(state.rules_on().filter(listens).cloned().collect())
    }

    async fn fire(&self, fires: Vec<Fire>) -> StoreResult<Vec<Fired>> {
        let mut state = self.state();
        fires.into_iter().map(|fire| state.fire(fire)).collect()
    }

    async fn unfinished(&self, of: &[(RuleId, TenantId)]) -> StoreResult<Vec<Vec<JobId>>> {
        let state = self.state();
        Ok(of.iter().map(|(rule, tenant)| state.unfinished(*rule, *tenant)).collect())
    }

    async fn fan_outs(&self, now: Timestamp, until: Timestamp, limit: u32) -> StoreResult<Vec<FanOut>> {
        let mut state = self.state();
        let mut first = BTreeMap::new();
        for row in state.fan_outs.values().filter(|row| !row.done && row.fan_out.cause.scheduled_at.is_some())
        {
            first.entry(row.fan_out.rule).or_insert(row.fan_out.id);
        }
        let in_turn = |fan_out: &FanOut| {
            fan_out.cause.scheduled_at.is_none() || first.get(&fan_out.rule) == Some(&fan_out.id)
        };
        let free = state
            .fan_outs
            .values_mut()
            .filter(|row| !row.done && row.held_until <= now && in_turn(&row.fan_out));
        Ok(free
            .take(limit as usize)
            .map(|row| {
                row.held_until = until;
                row.fan_out.clone()
            })
            .collect())
    }

    async fn firings(&self, tenant: TenantId, rule: RuleId, page: FiringPage) -> StoreResult<Vec<Firing>> {
        let state = self.state();
        let own = state.firings.values().rev().filter(|firing| {
            firing.rule_tenant == tenant
                && firing.rule == rule
                && page.before.is_none_or(|before| firing.id < before)
                && page.outcome.is_none_or(|outcome| firing.outcome == outcome)
                && page.tenant.is_none_or(|tenant| firing.tenant == tenant)
        });
        Ok(own.take(page.limit as usize).cloned().collect())
    }

    async fn firings_of(&self, rule: RuleId, key: &str) -> StoreResult<Vec<Firing>> {
        let state = self.state();
        let of = |firing: &&Firing| firing.rule == rule && firing.key.as_deref() == Some(key);
        Ok(state.firings.values().filter(of).cloned().collect())
    }

    async fn firing(&self, tenant: TenantId, firing: FiringId) -> StoreResult<Option<Firing>> {
        Ok(self.state().firings.get(&firing).filter(|firing| firing.tenant == tenant).cloned())
    }

    async fn firings_by_cause(
        &self,
        tenant: TenantId,
        cause: CorrelationId,
        limit: u32,
    ) -> StoreResult<Vec<Firing>> {
        let state = self.state();
        let of = |firing: &&Firing| firing.tenant == tenant && firing.correlation_id == cause;
        Ok(state.firings.values().filter(of).take(limit as usize).cloned().collect())
    }

    async fn counts(&self, tenant: TenantId, rule: RuleId) -> StoreResult<Vec<FiringCount>> {
        let state = self.state();
        if state.rules.get(&rule).is_none_or(|row| row.rule.tenant != tenant) {
            return Ok(Vec::new());
        }
        let own = state.firing_counts.iter().filter(|((of, ..), _)| *of == rule);
        Ok(own
            .map(|((_, outcome, reason), count)| FiringCount {
                outcome: *outcome,
                reason: (!reason.is_empty()).then(|| reason.clone()),
                count: *count,
            })
            .collect())
    }

    async fn prune_firings(&self, before: Timestamp, limit: u32) -> StoreResult<u32> {
        Ok(self.state().prune_firings(before, limit))
    }
}
