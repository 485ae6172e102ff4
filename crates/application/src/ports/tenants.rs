//! Tenants.

use async_trait::async_trait;
use taskflow_domain::tenant::{Tenant, TenantSettings};
use taskflow_domain::{TenantId, TenantSlug, Timestamp};

use super::{AuditNote, StoreResult};

/// Tenants. The tenant `default` exists from the start.
#[async_trait]
pub trait TenantStore: Send + Sync {
    /// One tenant, if it exists.
    async fn get(&self, slug: &TenantSlug) -> StoreResult<Option<Tenant>>;

    /// Those of the tenants that exist, in any order.
    async fn get_many(&self, ids: &[TenantId]) -> StoreResult<Vec<Tenant>>;

    /// One tenant, made with default settings if it does not exist.
    async fn ensure(&self, slug: &TenantSlug, now: Timestamp) -> StoreResult<Tenant>;

    /// Tenants in rising order of their slugs, after `after`, at most `limit`.
    async fn list(&self, after: Option<&TenantSlug>, limit: u32) -> StoreResult<Vec<Tenant>>;

    /// Sets what an operator sets, and makes the tenant if it does not exist.
    /// When this returns, no later claim starts a job against the new settings.
    /// Lanes that a lifted pause or limit lets go begin at the least virtual time
    /// of those that competed meanwhile: what they missed is not made up.
    /// With a note of it goes the change: both are made or neither.
    async fn put(
        &self,
        slug: &TenantSlug,
        settings: &TenantSettings,
        now: Timestamp,
        note: Option<AuditNote>,
    ) -> StoreResult<Tenant>;
}
