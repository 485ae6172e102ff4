//! API keys as an operator uses them.

use serde_json::{Value, json};
use taskflow_domain::queue::Rate;
use taskflow_domain::{ApiKey, KeyId, Scopes, TenantSlug, Timestamp};

use crate::World;
use crate::access::{KeyKind, Token};
use crate::caller::Caller;
use crate::ports::{AuditNote, KeyPage, KnownKey, Rotated, Rotation, StoreResult};

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

/// What came of rotating a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// The new key.
    Made(Box<MadeKey>),
    /// There is no such key that is live.
    Gone,
    /// Three keys would be good at once, with this one.
    Crowded(Box<ApiKey>),
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
            family: id,
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
        let (known, made) = self.with_text(key);
        self.world.stores.keys.create(&known, Some(note)).await?;
        Ok(Some(made))
    }

    /// The key as it is kept, and as it is shown this once.
    fn with_text(&self, key: ApiKey) -> (KnownKey, MadeKey) {
        let kind = if key.tenant.is_some() { KeyKind::Tenant } else { KeyKind::Operator };
        let random = [self.world.ids.bytes(), self.world.ids.bytes()];
        let (text, token) = Token::make(kind, key.id, random);
        (KnownKey { key: key.clone(), digest: token.digest }, MadeKey { key, text })
    }

    /// Makes a key like the one of this id, which ends by itself at `old_ends`:
    /// until then both are good, and no third of their family.
    pub async fn rotate(
        &self,
        caller: &Caller,
        id: KeyId,
        old_ends: Timestamp,
        expires_at: Option<Timestamp>,
    ) -> StoreResult<Renewal> {
        let now = self.world.clock.now();
        let family = self.world.stores.keys.family(id).await?;
        let Some(old) = family.iter().find(|key| key.id == id) else { return Ok(Renewal::Gone) };
        let key = ApiKey {
            id: KeyId(self.world.ids.job(now).0),
            created_at: now,
            created_by: caller.actor.clone(),
            expires_at: expires_at.or_else(|| meant_end(&family, old, now)),
            last_used_at: None,
            ..old.clone()
        };
        let note = note(caller, now, "key.rotate", &key, Some(old));
        let (known, made) = self.with_text(key);
        let rotation = Rotation { of: id, old_ends, now };
        Ok(match self.world.stores.keys.rotate(&known, rotation, Some(note)).await? {
            Rotated::Done => Renewal::Made(Box::new(made)),
            Rotated::Gone => Renewal::Gone,
            Rotated::Crowded(other) => Renewal::Crowded(other),
        })
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

/// When a key like `old` is to end. One that was rotated ends soon, but for that alone:
/// what was meant for it is what its latest successor has.
fn meant_end(family: &[ApiKey], old: &ApiKey, now: Timestamp) -> Option<Timestamp> {
    let latest = family.last().unwrap_or(old);
    if latest.expires_at.is_some_and(|end| end <= now) { old.expires_at } else { latest.expires_at }
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
