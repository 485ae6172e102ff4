//! The port of events, on the state.

use std::collections::BTreeMap;

use async_trait::async_trait;
use taskflow_domain::{CorrelationId, EventId, InboundEvent, JobId, JobState, TenantId, Timestamp};

use super::MemoryStore;
use super::state::State;
use crate::ports::{Appended, EventFilter, EventStore, Happened, Pending, StoreResult, TURN};

impl State {
    /// The event with the same id of the same source.
    pub(super) fn known_event(&self, event: &InboundEvent) -> Option<EventId> {
        self.event_called(event.tenant, &event.source, event.external_id.as_deref()?)
    }

    fn event_called(&self, tenant: TenantId, source: &str, id: &str) -> Option<EventId> {
        let same = |other: &&InboundEvent| {
            other.tenant == tenant
                && other.source == source
                && other.external_id.as_deref() == Some(id)
                && other.rejected.is_none()
        };
        self.events.values().find(same).map(|event| event.id)
    }

    fn append(&mut self, event: InboundEvent, dispatch: bool) -> Appended {
        if event.rejected.is_none() {
            if let Some(known) = self.known_event(&event) {
                return Appended::Duplicate(known);
            }
            if dispatch {
                self.happened(event.tenant, Happened::Event(event.id), event.received_at);
            }
        }
        self.events.insert(event.id, event);
        Appended::New
    }

    fn happened(&mut self, tenant: TenantId, what: Happened, at: Timestamp) {
        self.happenings += 1;
        let pending = Pending { id: self.happenings, tenant, what, at };
        self.outbox.insert(pending.id, (pending, Timestamp::MIN));
    }

    /// Enters a job's end into the outbox, if a rule listens to it.
    pub(super) fn tell_end(
        &mut self,
        (tenant, job): (TenantId, JobId),
        seq: u32,
        state: JobState,
        at: Timestamp,
    ) {
        if state.is_terminal() && self.is_watched(tenant, state) {
            self.happened(tenant, Happened::Job { job, seq, state }, at);
        }
    }

    fn in_outbox(&self, event: EventId) -> bool {
        self.outbox.values().any(|(pending, _)| pending.what == Happened::Event(event))
    }
}

fn meets(event: &InboundEvent, filter: &EventFilter) -> bool {
    filter.source.as_ref().is_none_or(|source| *source == event.source)
        && filter.webhook.is_none_or(|webhook| webhook == event.source.starts_with("webhook:"))
        && (filter.rejected || event.rejected.is_none())
        && filter.since.is_none_or(|since| event.received_at >= since)
        && filter.before.is_none_or(|before| event.id < before)
}

#[async_trait]
impl EventStore for MemoryStore {
    async fn append(&self, events: Vec<InboundEvent>, dispatch: bool) -> StoreResult<Vec<Appended>> {
        let mut state = self.state();
        Ok(events.into_iter().map(|event| state.append(event, dispatch)).collect())
    }

    async fn pending(
        &self,
        now: Timestamp,
        until: Timestamp,
        after: TenantId,
        limit: u32,
    ) -> StoreResult<Vec<Pending>> {
        let mut state = self.state();
        let mut of: BTreeMap<(bool, TenantId), Vec<Pending>> = BTreeMap::new();
        for (pending, _) in state.outbox.values().filter(|(_, held)| *held <= now) {
            of.entry((pending.tenant <= after, pending.tenant)).or_default().push(*pending);
        }
        let mut ranked: Vec<_> =
            of.into_values().take(TURN).flat_map(|own| own.into_iter().enumerate()).collect();
        ranked.sort_by_key(|(rank, _)| *rank);
        let taken: Vec<_> = ranked.into_iter().map(|(_, pending)| pending).take(limit as usize).collect();
        for pending in &taken {
            state.outbox.entry(pending.id).and_modify(|(_, held)| *held = until);
        }
        Ok(taken)
    }

    async fn known(&self, tenant: TenantId, source: &str, external_id: &str) -> StoreResult<Option<EventId>> {
        Ok(self.state().event_called(tenant, source, external_id))
    }

    async fn get(&self, tenant: TenantId, event: EventId) -> StoreResult<Option<InboundEvent>> {
        Ok(self.state().events.get(&event).filter(|event| event.tenant == tenant).cloned())
    }

    async fn recent(
        &self,
        tenant: TenantId,
        filter: &EventFilter,
        limit: u32,
    ) -> StoreResult<Vec<InboundEvent>> {
        let state = self.state();
        let own = state.events.values().rev().filter(|event| event.tenant == tenant && meets(event, filter));
        Ok(own.take(limit as usize).cloned().collect())
    }

    async fn by_cause(
        &self,
        tenant: TenantId,
        cause: CorrelationId,
        limit: u32,
    ) -> StoreResult<Vec<InboundEvent>> {
        let state = self.state();
        let of = |event: &&InboundEvent| event.tenant == tenant && event.correlation_id == cause;
        Ok(state.events.values().filter(of).take(limit as usize).cloned().collect())
    }

    async fn prune(&self, before: Timestamp, limit: u32) -> StoreResult<u32> {
        let mut state = self.state();
        let old = state.events.values().filter(|event| event.received_at < before);
        let old: Vec<_> =
            old.map(|event| event.id).filter(|id| !state.in_outbox(*id)).take(limit as usize).collect();
        for id in &old {
            state.events.remove(id);
        }
        Ok(u32::try_from(old.len()).unwrap_or(u32::MAX))
    }
}
