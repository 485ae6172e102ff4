//! `api_key`, with the slug of its tenant.

use taskflow_application::access::Digest;
use taskflow_application::ports::{KnownKey, StoreError};
use taskflow_domain::queue::Rate;
use taskflow_domain::{Actor, ApiKey, KeyId, Scopes, TenantId, TenantSlug, Timestamp};
use uuid::Uuid;

use super::{corrupt, row};

row! {
    /// A row of `api_key`.
    KeyRow {
        id: Uuid,
        family: Option<Uuid>,
        name: String,
        tenant_id: Option<i32>,
        scopes: i16,
        digest: Vec<u8>,
        rate_limit: Option<i32>,
        rate_period_ms: Option<i32>,
        created_at: i64,
        created_by: String,
        expires_at: Option<i64>,
        revoked_at: Option<i64>,
        last_used_at: Option<i64>,
    }
}

impl KeyRow {
    /// The key, of the tenant with that slug.
    pub(crate) fn known(self, slug: Option<&str>) -> Result<KnownKey, StoreError> {
        let id = self.id;
        let fault = |column, detail: String| corrupt("api_key", column, id, detail);
        let tenant = match (self.tenant_id, slug) {
            (None, _) => None,
            (Some(tenant), slug) => {
                let slug = TenantSlug::new(slug.unwrap_or_default());
                Some((TenantId(tenant), slug.map_err(|why| fault("tenant_id", why.to_string()))?))
            }
        };
        let scopes = u8::try_from(self.scopes).ok().and_then(Scopes::from_bits);
        let digest: Result<[u8; 32], _> = self.digest.try_into();
        let number = |value: i32| u32::try_from(value).map_err(|why| fault("rate_limit", why.to_string()));
        let rate = match (self.rate_limit, self.rate_period_ms) {
            (Some(limit), Some(period)) => Some(Rate { limit: number(limit)?, period_ms: number(period)? }),
            _ => None,
        };
        let time = |at: Option<i64>| at.map(Timestamp::from_micros);
        let key = ApiKey {
            id: KeyId(id),
            family: KeyId(self.family.unwrap_or(id)),
            name: self.name,
            tenant,
            scopes: scopes.ok_or_else(|| fault("scopes", self.scopes.to_string()))?,
            rate,
            created_at: Timestamp::from_micros(self.created_at),
            created_by: Actor::from_stored(self.created_by),
            expires_at: time(self.expires_at),
            revoked_at: time(self.revoked_at),
            last_used_at: time(self.last_used_at),
        };
        let digest = digest.map_err(|_| fault("digest", "has not 32 bytes".to_owned()))?;
        Ok(KnownKey { key, digest: Digest::from_bytes(digest) })
    }
}
