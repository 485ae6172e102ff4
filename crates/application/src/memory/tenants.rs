//! The port of tenants, on the state.

use std::ops::Bound;

use async_trait::async_trait;
use taskflow_domain::tenant::{Tenant, TenantSettings};
use taskflow_domain::{TenantId, TenantSlug, Timestamp};

use super::MemoryStore;
use crate::ports::{AuditNote, StoreResult, TenantStore};

/// Since when a tenant is held, and when the limit on its running jobs last changed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Closed {
    pub(super) paused_at: Option<Timestamp>,
    pub(super) max_running_at: Option<Timestamp>,
}

impl Closed {
    fn set(&mut self, was: &TenantSettings, settings: &TenantSettings, now: Timestamp) {
        if was.max_running != settings.max_running {
            self.max_running_at = Some(now);
        }
        if was.paused != settings.paused {
            self.paused_at = settings.paused.then_some(now);
        }
    }
}

#[async_trait]
impl TenantStore for MemoryStore {
    async fn get(&self, slug: &TenantSlug) -> StoreResult<Option<Tenant>> {
        let state = self.state();
        Ok(state.slugs.get(slug).and_then(|id| state.tenants.get(id)).cloned())
    }

    async fn get_many(&self, ids: &[TenantId]) -> StoreResult<Vec<Tenant>> {
        let state = self.state();
        Ok(ids.iter().filter_map(|id| state.tenants.get(id)).cloned().collect())
    }

    async fn ensure(&self, slug: &TenantSlug, now: Timestamp) -> StoreResult<Tenant> {
        Ok(self.state().ensure_tenant(slug, now).clone())
    }

    async fn list(&self, after: Option<&TenantSlug>, limit: u32) -> StoreResult<Vec<Tenant>> {
        let state = self.state();
        let first = after.map_or(Bound::Unbounded, Bound::Excluded);
        let ids = state.slugs.range::<TenantSlug, _>((first, Bound::Unbounded)).map(|(_, id)| id);
        Ok(ids.take(limit as usize).filter_map(|id| state.tenants.get(id)).cloned().collect())
    }

    async fn put(
        &self,
        slug: &TenantSlug,
        settings: &TenantSettings,
        now: Timestamp,
        note: Option<AuditNote>,
    ) -> StoreResult<Tenant> {
        let mut state = self.state();
        state.tell_audit(note.as_slice());
        let was = state.ensure_tenant(slug, now).clone();
        state.closed.entry(was.id).or_default().set(&was.settings, settings, now);
        Ok(state.resettle(|state| {
            let tenant = state.ensure_tenant(slug, now);
            tenant.settings = settings.clone();
            tenant.updated_at = now;
            tenant.clone()
        }))
    }
}
