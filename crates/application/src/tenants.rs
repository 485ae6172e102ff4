//! Tenants as an operator uses them.

use serde_json::{Value, json};
use taskflow_domain::TenantSlug;
use taskflow_domain::tenant::{Tenant, TenantSettings};

use crate::World;
use crate::audit::Audit;
use crate::caller::Caller;
use crate::ports::{StoreResult, Topic};

/// Tenants as an operator uses them.
#[derive(Clone)]
pub struct Tenants {
    world: World,
    audit: Audit,
}

impl Tenants {
    /// The use cases over `world`.
    pub fn new(world: World) -> Self {
        Self { audit: Audit::new(world.clone()), world }
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
        let before = self.world.stores.tenants.get(slug).await?;
        let tenant = self.world.stores.tenants.put(slug, &settings, self.world.clock.now()).await?;
        self.world.wakeups.nudge(Topic::Work);
        let (object, before) = (format!("tenant:{slug}"), before.as_ref().map(|was| told(&was.settings)));
        let after = Some(told(&tenant.settings));
        self.audit.note_for(caller, Some(slug.clone()), "tenant.put", object, before, after).await?;
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
