//! The port of tenants, on the state.

use std::ops::Bound;

use async_trait::async_trait;
use taskflow_domain::tenant::{Tenant, TenantSettings};
use taskflow_domain::{TenantId, TenantSlug, Timestamp};

use super::MemoryStore;
use crate::ports::{AuditNote, StoreResult, TenantStore};

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
        Ok(state.resettle(|state| {
            let tenant = state.ensure_tenant(slug, now);
            tenant.settings = settings.clone();
            tenant.updated_at = now;
            tenant.clone()
        }))
    }
}
