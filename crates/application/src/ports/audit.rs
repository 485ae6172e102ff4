//! The audit: what was done by whom, in a chain that shows every change of it.

use async_trait::async_trait;
use taskflow_domain::{Actor, Json, TenantSlug, Timestamp};

use super::StoreResult;
use crate::audit::Seal;

/// Something that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditNote {
    /// When.
    pub at: Timestamp,
    /// By whom.
    pub actor: Actor,
    /// For which tenant; `None` if for all.
    pub tenant: Option<TenantSlug>,
    /// What, as `queue.pause`.
    pub action: String,
    /// To what, as `queue:mail`.
    pub object: String,
    /// Why, if that was said.
    pub reason: Option<String>,
    /// What it was like before.
    pub before: Option<Json>,
    /// What it was like after.
    pub after: Option<Json>,
    /// In which request.
    pub request_id: String,
}

/// A link of the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// 1 for the first; no number is missing.
    pub seq: u64,
    /// What was done.
    pub note: AuditNote,
    /// The seal of the entry before.
    pub before: Seal,
    /// The seal of this entry, over all of it and the seal before.
    pub seal: Seal,
}

/// Where the chain ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditHead {
    /// The number of the last entry; 0 if there is none.
    pub seq: u64,
    /// Its seal.
    pub seal: Seal,
}

/// Which entries. Everything that is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// By this one.
    pub actor: Option<String>,
    /// For this tenant.
    pub tenant: Option<TenantSlug>,
    /// This was done.
    pub action: Option<String>,
    /// To this.
    pub object: Option<String>,
    /// Not earlier than this.
    pub since: Option<Timestamp>,
    /// Earlier than this.
    pub until: Option<Timestamp>,
}

impl AuditFilter {
    /// Whether this is one of those that are meant.
    pub fn meets(&self, note: &AuditNote) -> bool {
        self.actor.as_deref().is_none_or(|actor| actor == note.actor.as_str())
            && self.tenant.as_ref().is_none_or(|tenant| Some(tenant) == note.tenant.as_ref())
            && self.action.as_ref().is_none_or(|action| *action == note.action)
            && self.object.as_ref().is_none_or(|object| *object == note.object)
            && self.since.is_none_or(|since| note.at >= since)
            && self.until.is_none_or(|until| note.at < until)
    }
}

/// The audit. Nothing in it is ever changed or removed, and the databases refuse
/// to.
#[async_trait]
pub trait AuditStore: Send + Sync {
    /// Adds entries to the end of the chain, all or none, in this order.
    async fn append(&self, notes: &[AuditNote]) -> StoreResult<()>;

    /// Entries in falling order, only those with a lesser number than `before`.
    async fn list(
        &self,
        filter: &AuditFilter,
        before: Option<u64>,
        limit: u32,
    ) -> StoreResult<Vec<AuditEntry>>;

    /// Entries in rising order, only those with a greater number than `after`.
    async fn chain(&self, after: u64, limit: u32) -> StoreResult<Vec<AuditEntry>>;

    /// Where the chain ends, as the store keeps it beside the chain.
    async fn head(&self) -> StoreResult<AuditHead>;
}
