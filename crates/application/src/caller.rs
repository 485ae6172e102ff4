//! Who asks, and for which tenant.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use taskflow_domain::{Actor, KeyId, Scope, Scopes, TenantId, TenantSlug};

use crate::World;
use crate::ports::StoreResult;

/// Who asks, and for which tenant.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The tenant whose things are looked at and changed.
    pub slug: TenantSlug,
    /// Who is written into histories.
    pub actor: Actor,
    /// Whether naming a tenant for a write makes it exist. So it is where
    /// nobody has to show a key: there, naming is all that there is.
    pub makes_tenant: bool,
    /// What may be done.
    pub scopes: Scopes,
    /// Whether its tenant is suspended, so that it may only look.
    pub suspended: bool,
    /// The key that was shown, unless nobody has to show one.
    pub key: Option<KeyId>,
    /// The id of the request, for the audit.
    pub request_id: Arc<str>,
    /// Why it is done, if the caller says so.
    pub reason: Option<Arc<str>>,
}

impl Caller {
    /// Somebody of whom nothing is asked: may do everything, for this tenant or
    /// any other. So it is where authentication is off, and inside the process.
    pub fn trusted(slug: TenantSlug) -> Self {
        Self {
            slug,
            actor: Actor::api(),
            makes_tenant: true,
            scopes: Scopes::OPERATOR,
            suspended: false,
            key: None,
            request_id: Arc::from(""),
            reason: None,
        }
    }

    /// The same with the reason that a request gives in its body, if it gives one.
    #[must_use]
    pub fn because(&self, reason: Option<&str>) -> Self {
        Self { reason: reason.map(Into::into).or_else(|| self.reason.clone()), ..self.clone() }
    }

    /// Whether the caller may do this.
    pub const fn may(&self, scope: Scope) -> bool {
        self.scopes.allow(scope)
    }
}

/// From slugs to tenants. A tenant's id never changes and tenants are never
/// deleted, so what was found once is kept.
#[derive(Clone)]
pub struct Directory {
    world: World,
    known: Arc<RwLock<BTreeMap<TenantSlug, TenantId>>>,
}

impl Directory {
    /// An empty directory over the store.
    pub fn new(world: World) -> Self {
        Self { world, known: Arc::default() }
    }

    /// The caller's tenant, if it exists.
    pub async fn find(&self, caller: &Caller) -> StoreResult<Option<TenantId>> {
        if let Some(id) = self.recall(&caller.slug) {
            return Ok(Some(id));
        }
        let tenant = self.world.stores.tenants.get(&caller.slug).await?;
        Ok(tenant.map(|tenant| self.keep(&caller.slug, tenant.id)))
    }

    /// The caller's tenant, for a write that creates something of it.
    pub async fn find_or_make(&self, caller: &Caller) -> StoreResult<Option<TenantId>> {
        if !caller.makes_tenant {
            return self.find(caller).await;
        }
        if let Some(id) = self.recall(&caller.slug) {
            return Ok(Some(id));
        }
        let tenant = self.world.stores.tenants.ensure(&caller.slug, self.world.clock.now()).await?;
        Ok(Some(self.keep(&caller.slug, tenant.id)))
    }

    fn recall(&self, slug: &TenantSlug) -> Option<TenantId> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(slug).copied()
    }

    fn keep(&self, slug: &TenantSlug, id: TenantId) -> TenantId {
        self.known.write().unwrap_or_else(PoisonError::into_inner).insert(slug.clone(), id);
        id
    }
}
