//! API keys: who holds one, and what it is good for. The secret itself is not
//! here: it is shown once, and then only its digest is known.

use crate::event::Actor;
use crate::id::{KeyId, TenantId};
use crate::name::TenantSlug;
use crate::queue::Rate;
use crate::scope::Scopes;
use crate::time::Timestamp;

/// A key as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// What it is known by.
    pub id: KeyId,
    /// The first of the keys that came of one another by rotation; itself if it came
    /// of none.
    pub family: KeyId,
    /// What people call it.
    pub name: String,
    /// Whose it is; `None` for an operator's.
    pub tenant: Option<(TenantId, TenantSlug)>,
    /// What it may do.
    pub scopes: Scopes,
    /// How many requests it may make.
    pub rate: Option<Rate>,
    /// Since when it exists.
    pub created_at: Timestamp,
    /// Who made it.
    pub created_by: Actor,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
    /// When somebody ended it.
    pub revoked_at: Option<Timestamp>,
    /// When it was last used, to within a minute.
    pub last_used_at: Option<Timestamp>,
}

impl ApiKey {
    /// Whether it opens anything at `now`.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }
}
