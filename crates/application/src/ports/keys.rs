//! API keys.

use async_trait::async_trait;
use taskflow_domain::{ApiKey, KeyId, TenantId, Timestamp};

use super::{AuditNote, StoreResult};
use crate::access::Digest;

/// A key with what is kept of its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownKey {
    /// The key.
    pub key: ApiKey,
    /// What is kept of its secret.
    pub digest: Digest,
}

/// Which part of the list of keys, newest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyPage {
    /// Only keys of this tenant.
    pub tenant: Option<TenantId>,
    /// Only keys older than this one.
    pub before: Option<KeyId>,
    /// How many at most.
    pub limit: u32,
}

/// API keys. They are kept after their end, because the audit names them.
#[async_trait]
pub trait KeyStore: Send + Sync {
    /// Keeps a new key, which may stand `instead_of` another one: that one ends by
    /// itself at the given time, or earlier if it already does. With the note of it
    /// in the audit it is all or nothing.
    async fn create(
        &self,
        key: &KnownKey,
        instead_of: Option<(KeyId, Timestamp)>,
        note: Option<AuditNote>,
    ) -> StoreResult<()>;

    /// Keys by id, live or not, as they stand now: what another process did is
    /// seen as soon as its call has returned. Absent ones are left out.
    async fn find(&self, ids: &[KeyId]) -> StoreResult<Vec<KnownKey>>;

    /// Keys in falling order of their ids.
    async fn list(&self, page: KeyPage) -> StoreResult<Vec<ApiKey>>;

    /// Ends a key at `now`, with a note of it in the audit. One that was ended keeps
    /// its end.
    async fn revoke(&self, id: KeyId, now: Timestamp, note: Option<AuditNote>) -> StoreResult<()>;

    /// Notes when keys were used. An earlier time than the one that is known
    /// changes nothing.
    async fn used(&self, uses: &[(KeyId, Timestamp)]) -> StoreResult<()>;
}
