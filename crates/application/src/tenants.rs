//! Tenants as an operator uses them.

use serde_json::{Value, json};
use taskflow_domain::TenantSlug;
use taskflow_domain::tenant::{Tenant, TenantSettings};

use crate::World;
use crate::caller::Caller;
use crate::ports::{AuditNote, StoreResult, Topic};

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

    /// Sets weight, limits and attributes; makes the tenant if need be. One that
    /// is suspended is paused too.
    pub async fn put(
        &self,
        caller: &Caller,
        slug: &TenantSlug,
        settings: &TenantSettings,
    ) -> StoreResult<Tenant> {
        let paused = settings.paused || settings.suspended;
        let settings = TenantSettings { paused, ..settings.clone() };
        let tenants = &self.world.stores.tenants;
        let before = tenants.get(slug).await?.map(|was| told(&was.settings));
        let now = self.world.clock.now();
        let change = (before, Some(told(&settings)));
        let note = AuditNote::of(caller, now, Some(slug), "tenant.put", format!("tenant:{slug}"), change);
        let tenant = tenants.put(slug, &settings, now, Some(note)).await?;
        self.world.wakeups.nudge(Topic::Work);
        Ok(tenant)
    }
}

/// What the audit tells of a tenant.
fn told(settings: &TenantSettings) -> Value {
    let rate = settings.request_rate;
    json!({
        "attributes": settings.attributes.to_value(),
        "weight": settings.weight,
        "max_running": settings.max_running,
        "max_backlog": settings.max_backlog,
        "request_rate": rate.map(|rate| json!({"limit": rate.limit, "period_ms": rate.period_ms})),
        "paused": settings.paused,
        "suspended": settings.suspended,
    })
}
