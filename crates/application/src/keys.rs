//! API keys as an operator uses them.

use serde_json::{Value, json};
use taskflow_domain::queue::Rate;
use taskflow_domain::{ApiKey, KeyId, Scopes, TenantSlug, Timestamp};

use crate::World;
use crate::access::{KeyKind, Token};
use crate::caller::Caller;
use crate::ports::{AuditNote, KeyPage, KnownKey, StoreResult};

/// A key as it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyWish {
    /// What people call it.
    pub name: String,
    /// Whose it is to be; `None` for an operator's.
    pub tenant: Option<TenantSlug>,
    /// What it may do.
    pub scopes: Scopes,
    /// How many requests it may make.
    pub rate: Option<Rate>,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
}

/// A key that was made, with the text that is shown this once.
#[derive(Clone, PartialEq, Eq)]
pub struct MadeKey {
    /// The key.
    pub key: ApiKey,
    /// The text.
    pub text: String,
}

impl std::fmt::Debug for MadeKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MadeKey").field("key", &self.key).finish_non_exhaustive()
    }
}

/// API keys as an operator uses them.
#[derive(Clone)]
pub struct Keys {
    world: World,
}

impl Keys {
    /// The use cases over `world`.
    pub fn new(world: World) -> Self {
        Self { world }
    }

    /// Makes a key; `None` if its tenant does not exist.
    pub async fn make(&self, caller: &Caller, wish: KeyWish) -> StoreResult<Option<MadeKey>> {
        let tenant = match wish.tenant {
            None => None,
            Some(slug) => match self.world.stores.tenants.get(&slug).await? {
                None => return Ok(None),
                Some(tenant) => Some((tenant.id, tenant.slug)),
            },
        };
        let now = self.world.clock.now();
        let id = KeyId(self.world.ids.job(now).0);
        let key = ApiKey {
            id,
            name: wish.name,
            tenant,
            scopes: wish.scopes,
            rate: wish.rate,
            created_at: now,
            created_by: caller.actor.clone(),
            expires_at: wish.expires_at,
            revoked_at: None,
            last_used_at: None,
        };
        let note = note(caller, now, "key.create", &key, None);
        self.keep(key, None, note).await.map(Some)
    }

    async fn keep(
        &self,
        key: ApiKey,
        instead_of: Option<(KeyId, Timestamp)>,
        note: AuditNote,
    ) -> StoreResult<MadeKey> {
        let kind = if key.tenant.is_some() { KeyKind::Tenant } else { KeyKind::Operator };
        let random = [self.world.ids.bytes(), self.world.ids.bytes()];
        let (text, token) = Token::make(kind, key.id, random);
        let known = KnownKey { key: key.clone(), digest: token.digest };
        self.world.stores.keys.create(&known, instead_of, Some(note)).await?;
        Ok(MadeKey { key, text })
    }

    /// Makes a key like the one of this id, which ends by itself at `old_ends`:
    /// until then both are good. `None` if there is none that is live.
    pub async fn rotate(
        &self,
        caller: &Caller,
        id: KeyId,
        old_ends: Timestamp,
        expires_at: Option<Timestamp>,
    ) -> StoreResult<Option<MadeKey>> {
        let now = self.world.clock.now();
        let Some(old) = self.get(id).await?.filter(|old| old.is_live(now)) else { return Ok(None) };
        let key = ApiKey {
            id: KeyId(self.world.ids.job(now).0),
            created_at: now,
            created_by: caller.actor.clone(),
            expires_at: expires_at.or(old.expires_at),
            last_used_at: None,
            ..old.clone()
        };
        let note = note(caller, now, "key.rotate", &key, Some(&old));
        self.keep(key, Some((id, old_ends)), note).await.map(Some)
    }

    /// One key, live or not.
    pub async fn get(&self, id: KeyId) -> StoreResult<Option<ApiKey>> {
        Ok(self.world.stores.keys.find(&[id]).await?.pop().map(|known| known.key))
    }

    /// Keys, newest first; of `tenant` alone if one is named. `None` if it does not exist.
    pub async fn list(
        &self,
        tenant: Option<&TenantSlug>,
        before: Option<KeyId>,
        limit: u32,
    ) -> StoreResult<Option<Vec<ApiKey>>> {
        let tenant = match tenant {
            None => None,
            Some(slug) => match self.world.stores.tenants.get(slug).await? {
                None => return Ok(None),
                Some(tenant) => Some(tenant.id),
            },
        };
        self.world.stores.keys.list(KeyPage { tenant, before, limit }).await.map(Some)
    }

    /// Ends a key, at once and in every process; `None` if there is none.
    pub async fn revoke(&self, caller: &Caller, id: KeyId) -> StoreResult<Option<ApiKey>> {
        let Some(old) = self.get(id).await? else { return Ok(None) };
        let now = self.world.clock.now();
        let ended = ApiKey { revoked_at: old.revoked_at.or(Some(now)), ..old.clone() };
        let note = note(caller, now, "key.revoke", &ended, Some(&old));
        self.world.stores.keys.revoke(id, now, Some(note)).await?;
        self.get(id).await
    }
}

fn note(caller: &Caller, now: Timestamp, action: &str, key: &ApiKey, before: Option<&ApiKey>) -> AuditNote {
    let tenant = key.tenant.as_ref().map(|(_, slug)| slug);
    let change = (before.map(told), Some(told(key)));
    AuditNote::of(caller, now, tenant, action, format!("key:{}", key.id), change)
}

/// What the audit tells of a key.
fn told(key: &ApiKey) -> Value {
    let scopes: Vec<_> = key.scopes.iter().map(taskflow_domain::Scope::as_str).collect();
    let time = |at: Option<Timestamp>| at.map(|at| at.to_string());
    json!({
        "id": key.id.to_string(),
        "name": key.name,
        "tenant": key.tenant.as_ref().map(|(_, slug)| slug.as_str()),
        "scopes": scopes,
        "rate_limit": key.rate.map(|rate| json!({"limit": rate.limit, "period_ms": rate.period_ms})),
        "expires_at": time(key.expires_at),
        "revoked_at": time(key.revoked_at),
    })
}
