//! Rules and events, with a defect.

use async_trait::async_trait;
use taskflow_application::ports::{
    Appended, AuditNote, DueRules, EventFilter, EventStore, FanOut, Fire, FireClaim, Fired, FiringCount,
    FiringPage, Pending, RuleLine, RulePage, RulePut, RuleStore, SealedSecret, StoreError, StoreResult,
    Waiting,
};
use taskflow_domain::rule::reason;
use taskflow_domain::{
    Actor, CorrelationId, EventId, Firing, FiringId, InboundEvent, JobId, Rule, RuleId, TenantId, Timestamp,
};

use super::{Bug, Planted};

impl Planted {
    /// Whoever saw that it is due fires it, whatever others did meanwhile.
    async fn fire_without_row(&self, mut fires: Vec<Fire>) -> StoreResult<Vec<Fired>> {
        for fire in &mut fires {
            if matches!(fire.claim, FireClaim::Occurrence { .. }) {
                fire.firings.iter_mut().for_each(|new| new.firing.key = None);
            }
        }
        let mut fired = self.inner.rules.fire(fires.clone()).await?;
        for (fired, mut fire) in fired.iter_mut().zip(fires) {
            if *fired == Fired::Lost && matches!(fire.claim, FireClaim::Occurrence { .. }) {
                fire.claim = FireClaim::Free;
                *fired = self.inner.rules.fire(vec![fire]).await?.remove(0);
            }
        }
        Ok(fired)
    }

    /// Writes how far a fan-out got in a transaction of its own, which is lost now and then.
    async fn fire_and_forget(&self, mut fires: Vec<Fire>) -> StoreResult<Vec<Fired>> {
        if !fires.iter().any(|fire| matches!(fire.claim, FireClaim::FanOut { .. })) {
            return self.inner.rules.fire(fires).await;
        }
        let mut positions = fires.clone();
        for (fire, position) in fires.iter_mut().zip(&mut positions) {
            fire.claim = FireClaim::Free;
            fire.firings.iter_mut().for_each(|new| new.firing.key = None);
            position.firings.clear();
        }
        let fired = self.inner.rules.fire(fires).await?;
        let steps = {
            let mut kept = self.kept();
            kept.steps += 1;
            kept.steps
        };
        if steps.is_multiple_of(3) {
            return Err(StoreError::Unavailable("the process died in between".into()));
        }
        self.inner.rules.fire(positions).await?;
        Ok(fired)
    }
}

#[async_trait]
impl RuleStore for Planted {
    async fn put(
        &self,
        rule: &Rule,
        secrets: Option<&[SealedSecret]>,
        actor: &Actor,
        note: Option<AuditNote>,
    ) -> StoreResult<RulePut> {
        self.inner.rules.put(rule, secrets, actor, note).await
    }

    async fn get(&self, tenant: TenantId, rule: RuleId) -> StoreResult<Option<Rule>> {
        self.inner.rules.get(tenant, rule).await
    }

    async fn count(&self, tenant: TenantId, most: u32) -> StoreResult<u32> {
        self.inner.rules.count(tenant, most).await
    }

    async fn list(&self, tenant: TenantId, page: RulePage) -> StoreResult<Vec<Rule>> {
        self.inner.rules.list(tenant, page).await
    }

    async fn lines(&self, tenant: Option<TenantId>, page: RulePage) -> StoreResult<Vec<RuleLine>> {
        self.inner.rules.lines(tenant, page).await
    }

    async fn delete(
        &self,
        tenant: TenantId,
        rule: RuleId,
        now: Timestamp,
        note: Option<AuditNote>,
    ) -> StoreResult<bool> {
        self.inner.rules.delete(tenant, rule, now, note).await
    }

    async fn by_webhook_key(&self, key: &str) -> StoreResult<Option<Rule>> {
        self.inner.rules.by_webhook_key(key).await
    }

    async fn secrets(&self, tenant: TenantId, rule: RuleId) -> StoreResult<Vec<SealedSecret>> {
        self.inner.rules.secrets(tenant, rule).await
    }

    async fn due(&self, now: Timestamp, limit: u32, place: f64) -> StoreResult<DueRules> {
        self.inner.rules.due(now, limit, place).await
    }

    async fn waiting(&self, limit: u32) -> StoreResult<Waiting> {
        self.inner.rules.waiting(limit).await
    }

    async fn waits(&self, rule: RuleId, of: &[TenantId]) -> StoreResult<Vec<TenantId>> {
        self.inner.rules.waits(rule, of).await
    }

    async fn listening(&self, tenant: TenantId) -> StoreResult<Vec<Rule>> {
        self.inner.rules.listening(tenant).await
    }

    async fn fire(&self, mut fires: Vec<Fire>) -> StoreResult<Vec<Fired>> {
        for fire in &mut fires {
            if self.is(Bug::MissedUntold) {
                fire.firings.retain(|new| new.firing.reason.as_deref() != Some(reason::MISFIRE));
            }
            if self.is(Bug::DeliveryNotKnownAgain)
                && let FireClaim::Delivery(event) = &fire.claim
            {
                // It is kept if it is new, and acted upon in any case.
                self.inner.events.append(vec![(**event).clone()], false).await?;
                fire.claim = FireClaim::Free;
            }
        }
        match self.bug {
            Bug::OccurrenceWithoutRow => self.fire_without_row(fires).await,
            Bug::FanOutForgets => self.fire_and_forget(fires).await,
            _ => self.inner.rules.fire(fires).await,
        }
    }

    async fn unfinished(&self, of: &[(RuleId, TenantId)]) -> StoreResult<Vec<Vec<JobId>>> {
        self.inner.rules.unfinished(of).await
    }

    async fn fan_outs(&self, now: Timestamp, until: Timestamp, limit: u32) -> StoreResult<Vec<FanOut>> {
        self.inner.rules.fan_outs(now, until, limit).await
    }

    async fn firings(&self, tenant: TenantId, rule: RuleId, page: FiringPage) -> StoreResult<Vec<Firing>> {
        self.inner.rules.firings(tenant, rule, page).await
    }

    async fn firings_of(&self, rule: RuleId, key: &str) -> StoreResult<Vec<Firing>> {
        self.inner.rules.firings_of(rule, key).await
    }

    async fn firing(&self, tenant: TenantId, firing: FiringId) -> StoreResult<Option<Firing>> {
        self.inner.rules.firing(tenant, firing).await
    }

    async fn firings_by_cause(
        &self,
        tenant: TenantId,
        cause: CorrelationId,
        limit: u32,
    ) -> StoreResult<Vec<Firing>> {
        self.inner.rules.firings_by_cause(tenant, cause, limit).await
    }

    async fn counts(&self, tenant: TenantId, rule: RuleId) -> StoreResult<Vec<FiringCount>> {
        self.inner.rules.counts(tenant, rule).await
    }

    async fn prune_firings(&self, before: Timestamp, limit: u32) -> StoreResult<u32> {
        self.inner.rules.prune_firings(before, limit).await
    }
}

#[async_trait]
impl EventStore for Planted {
    async fn append(&self, events: Vec<InboundEvent>, dispatch: bool) -> StoreResult<Vec<Appended>> {
        self.inner.events.append(events, dispatch).await
    }

    async fn pending(
        &self,
        now: Timestamp,
        until: Timestamp,
        after: TenantId,
        limit: u32,
    ) -> StoreResult<Vec<Pending>> {
        let mut pending = self.inner.events.pending(now, until, after, limit).await?;
        if self.is(Bug::CursorBySequence) {
            // Every fourth commits late: it cannot be seen yet when a later one can.
            let last = pending.iter().map(|entry| entry.id).max().unwrap_or_default();
            let mut kept = self.kept();
            let seen = kept.cursor;
            pending.retain(|entry| entry.id > seen && (entry.id % 4 != 0 || entry.id == last));
            kept.cursor = seen.max(last);
        }
        Ok(pending)
    }

    async fn known(&self, tenant: TenantId, source: &str, external_id: &str) -> StoreResult<Option<EventId>> {
        self.inner.events.known(tenant, source, external_id).await
    }

    async fn get(&self, tenant: TenantId, event: EventId) -> StoreResult<Option<InboundEvent>> {
        self.inner.events.get(tenant, event).await
    }

    async fn recent(
        &self,
        tenant: TenantId,
        filter: &EventFilter,
        limit: u32,
    ) -> StoreResult<Vec<InboundEvent>> {
        self.inner.events.recent(tenant, filter, limit).await
    }

    async fn by_cause(
        &self,
        tenant: TenantId,
        cause: CorrelationId,
        limit: u32,
    ) -> StoreResult<Vec<InboundEvent>> {
        self.inner.events.by_cause(tenant, cause, limit).await
    }

    async fn prune(&self, before: Timestamp, limit: u32) -> StoreResult<u32> {
        self.inner.events.prune(before, limit).await
    }
}
