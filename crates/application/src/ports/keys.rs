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

/// Which key is rotated, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// The old key.
    pub of: KeyId,
    /// When it ends.
    pub old_ends: Timestamp,
    /// When it is rotated.
    pub now: Timestamp,
}

/// What came of a rotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rotated {
    /// The new key is kept.
    Done,
    /// There is no such key, or it is not live.
    Gone,
    /// Three keys of one family would be good at once, with this one.
    Crowded(Box<ApiKey>),
}

impl Rotation {
    /// What comes of it in this family. Of one family two keys are good at once, so
    /// that a caller can change from one to the other, and never three.
    pub fn of_family(&self, family: &[ApiKey]) -> Rotated {
        let live = |key: &&ApiKey| key.is_live(self.now);
        if !family.iter().filter(live).any(|key| key.id == self.of) {
            return Rotated::Gone;
        }
        let stays = usize::from(self.now < self.old_ends);
        let others: Vec<_> = family.iter().filter(live).filter(|key| key.id != self.of).collect();
        // The new one is live as well.
        match others.first() {
            Some(other) if others.len() + stays >= 2 => Rotated::Crowded(Box::new((*other).clone())),
            _ => Rotated::Done,
        }
    }
}

/// API keys. They are kept after their end, because the audit names them.
#[async_trait]
pub trait KeyStore: Send + Sync {
    /// Keeps a new key. With the note of it in the audit it is all or nothing.
    async fn create(&self, key: &KnownKey, note: Option<AuditNote>) -> StoreResult<()>;

    /// Keeps a new key of the family of another one, which ends by itself at the time
    /// that the rotation names, or earlier if it already does. Of rotations at the same
    /// moment each sees what the one before it did, and with the note of it in the
    /// audit it is all or nothing.
    async fn rotate(
        &self,
        key: &KnownKey,
        rotation: Rotation,
        note: Option<AuditNote>,
    ) -> StoreResult<Rotated>;

    /// The key of this id, and all that came of the same one by rotation, live or not,
    /// in the order of their ids. None if there is no such key.
    async fn family(&self, id: KeyId) -> StoreResult<Vec<ApiKey>>;

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
