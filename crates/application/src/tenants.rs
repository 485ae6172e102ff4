//! Tenants as an operator uses them.

use taskflow_domain::TenantSlug;
use taskflow_domain::tenant::{Tenant, TenantSettings};

use crate::World;
use crate::ports::{StoreResult, Topic};

/// Tenants as an operator uses them.
#[derive(Clone)]
pub struct Tenants {
    world: World,
}

impl Tenants {
    /// The use cases over `world`.
    pub fn new(world: World) -> Self {
        Self { world }
    }

    /// One tenant, if it exists.
    pub async fn get(&self, slug: &TenantSlug) -> StoreResult<Option<Tenant>> {
        self.world.stores.tenants.get(slug).await
    }

    /// Tenants by slug, after `after`.
    pub async fn list(&self, after: Option<&TenantSlug>, limit: u32) -> StoreResult<Vec<Tenant>> {
        self.world.stores.tenants.list(after, limit).await
    }

    /// Sets weight, limits and attributes; makes the tenant if need be.
    pub async fn put(&self, slug: &TenantSlug, settings: &TenantSettings) -> StoreResult<Tenant> {
        let tenant = self.world.stores.tenants.put(slug, settings, self.world.clock.now()).await?;
        self.world.wakeups.nudge(Topic::Work);
        Ok(tenant)
    }
}
