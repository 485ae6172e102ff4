//! Rules and events, over a link.

use std::fmt::Write as _;

use async_trait::async_trait;
use taskflow_application::ports::{
    Appended, AuditNote, DueRules, EventFilter, EventStore, FanOut, Fire, Fired, FiringCount, FiringPage,
    Pending, RuleLine, RulePage, RulePut, RuleStore, SealedSecret, StoreResult, Waiting,
};
use taskflow_domain::{
    Actor, CorrelationId, EventId, Firing, FiringId, InboundEvent, JobId, Rule, RuleId, TenantId, Timestamp,
};

use super::link::Link;
use super::link_rest::{count, nothing};
use super::log::Log;

fn note_fired(log: &mut Log, fired: &[Fired]) -> String {
    let mut what = String::new();
    for fired in fired {
        let Fired::Done(firings) = fired else {
            log.count("firings that others did first");
            what.push_str(" lost");
            continue;
        };
        for firing in firings {
            log.count("firings");
            let _ = write!(what, " {} {} {:?}", firing.id, firing.outcome.as_str(), firing.key);
        }
    }
    what
}

#[async_trait]
impl RuleStore for Link {
    async fn put(
        &self,
        rule: &Rule,
        secrets: Option<&[SealedSecret]>,
        actor: &Actor,
        audit: Option<AuditNote>,
    ) -> StoreResult<RulePut> {
        let note = |_: &mut Log, put: &RulePut, _| format!("{} {put:?}", rule.id);
        self.pass("put_rule", self.sim.stores.rules.put(rule, secrets, actor, audit), note).await
    }

    async fn get(&self, tenant: TenantId, rule: RuleId) -> StoreResult<Option<Rule>> {
        self.pass("rule", self.sim.stores.rules.get(tenant, rule), nothing).await
    }

    async fn count(&self, tenant: TenantId, most: u32) -> StoreResult<u32> {
        self.pass("count_rules", self.sim.stores.rules.count(tenant, most), nothing).await
    }

    async fn list(&self, tenant: TenantId, page: RulePage) -> StoreResult<Vec<Rule>> {
        self.pass("rules", self.sim.stores.rules.list(tenant, page), count).await
    }

    async fn lines(&self, tenant: Option<TenantId>, page: RulePage) -> StoreResult<Vec<RuleLine>> {
        self.pass("rule_lines", self.sim.stores.rules.lines(tenant, page), count).await
    }

    async fn delete(
        &self,
        tenant: TenantId,
        rule: RuleId,
        now: Timestamp,
        note: Option<AuditNote>,
    ) -> StoreResult<bool> {
        let delete = self.sim.stores.rules.delete(tenant, rule, now, note);
        self.pass("delete_rule", delete, nothing).await
    }

    async fn by_webhook_key(&self, key: &str) -> StoreResult<Option<Rule>> {
        self.pass("rule_by_key", self.sim.stores.rules.by_webhook_key(key), nothing).await
    }

    async fn secrets(&self, tenant: TenantId, rule: RuleId) -> StoreResult<Vec<SealedSecret>> {
        self.pass("secrets", self.sim.stores.rules.secrets(tenant, rule), count).await
    }

    async fn due(&self, now: Timestamp, limit: u32, place: f64) -> StoreResult<DueRules> {
        let note = |_: &mut Log, due: &DueRules, _| due.rules.len().to_string();
        self.pass("due", self.sim.stores.rules.due(now, limit, place), note).await
    }

    async fn waiting(&self, limit: u32) -> StoreResult<Waiting> {
        let note = |_: &mut Log, waiting: &Waiting, _| waiting.ready.len().to_string();
        self.pass("waiting", self.sim.stores.rules.waiting(limit), note).await
    }

    async fn waits(&self, rule: RuleId, of: &[TenantId]) -> StoreResult<Vec<TenantId>> {
        self.pass("waits", self.sim.stores.rules.waits(rule, of), count).await
    }

    async fn listening(&self, tenant: TenantId) -> StoreResult<Vec<Rule>> {
        self.pass("listening", self.sim.stores.rules.listening(tenant), count).await
    }

    async fn fire(&self, fires: Vec<Fire>) -> StoreResult<Vec<Fired>> {
        let note = |log: &mut Log, fired: &Vec<Fired>, _| note_fired(log, fired);
        self.pass("fire", self.sim.stores.rules.fire(fires), note).await
    }

    async fn unfinished(&self, of: &[(RuleId, TenantId)]) -> StoreResult<Vec<Vec<JobId>>> {
        self.pass("unfinished", self.sim.stores.rules.unfinished(of), count).await
    }

    async fn fan_outs(&self, now: Timestamp, until: Timestamp, limit: u32) -> StoreResult<Vec<FanOut>> {
        self.pass("fan_outs", self.sim.stores.rules.fan_outs(now, until, limit), count).await
    }

    async fn firings(&self, tenant: TenantId, rule: RuleId, page: FiringPage) -> StoreResult<Vec<Firing>> {
        self.pass("firings", self.sim.stores.rules.firings(tenant, rule, page), count).await
    }

    async fn firings_of(&self, rule: RuleId, key: &str) -> StoreResult<Vec<Firing>> {
        self.pass("firings_of", self.sim.stores.rules.firings_of(rule, key), count).await
    }

    async fn firing(&self, tenant: TenantId, firing: FiringId) -> StoreResult<Option<Firing>> {
        self.pass("firing", self.sim.stores.rules.firing(tenant, firing), nothing).await
    }

    async fn firings_by_cause(
        &self,
        tenant: TenantId,
        cause: CorrelationId,
        limit: u32,
    ) -> StoreResult<Vec<Firing>> {
        let firings = self.sim.stores.rules.firings_by_cause(tenant, cause, limit);
        self.pass("firings_by_cause", firings, count).await
    }

    async fn counts(&self, tenant: TenantId, rule: RuleId) -> StoreResult<Vec<FiringCount>> {
        self.pass("firing_counts", self.sim.stores.rules.counts(tenant, rule), count).await
    }

    async fn prune_firings(&self, before: Timestamp, limit: u32) -> StoreResult<u32> {
        self.pass("prune_firings", self.sim.stores.rules.prune_firings(before, limit), nothing).await
    }
}

#[async_trait]
impl EventStore for Link {
    async fn append(&self, events: Vec<InboundEvent>, dispatch: bool) -> StoreResult<Vec<Appended>> {
        let note = |_: &mut Log, appended: &Vec<Appended>, _| format!("{appended:?}");
        self.pass("append", self.sim.stores.events.append(events, dispatch), note).await
    }

    async fn pending(
        &self,
        now: Timestamp,
        until: Timestamp,
        after: TenantId,
        limit: u32,
    ) -> StoreResult<Vec<Pending>> {
        self.pass("pending", self.sim.stores.events.pending(now, until, after, limit), count).await
    }

    async fn known(&self, tenant: TenantId, source: &str, external_id: &str) -> StoreResult<Option<EventId>> {
        self.pass("known_event", self.sim.stores.events.known(tenant, source, external_id), nothing).await
    }

    async fn get(&self, tenant: TenantId, event: EventId) -> StoreResult<Option<InboundEvent>> {
        self.pass("event", self.sim.stores.events.get(tenant, event), nothing).await
    }

    async fn recent(
        &self,
        tenant: TenantId,
        filter: &EventFilter,
        limit: u32,
    ) -> StoreResult<Vec<InboundEvent>> {
        self.pass("events", self.sim.stores.events.recent(tenant, filter, limit), count).await
    }

    async fn by_cause(
        &self,
        tenant: TenantId,
        cause: CorrelationId,
        limit: u32,
    ) -> StoreResult<Vec<InboundEvent>> {
        self.pass("events_by_cause", self.sim.stores.events.by_cause(tenant, cause, limit), count).await
    }

    async fn prune(&self, before: Timestamp, limit: u32) -> StoreResult<u32> {
        self.pass("prune_events", self.sim.stores.events.prune(before, limit), nothing).await
    }
}
