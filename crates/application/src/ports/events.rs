//! Events: what came from outside, and the outbox of what is to be dispatched.

use async_trait::async_trait;
use taskflow_domain::{CorrelationId, EventId, InboundEvent, JobId, JobState, TenantId, Timestamp};

use super::StoreResult;

/// Whether an event was new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It is kept now.
    New,
    /// Its source has used its id before, for this event.
    Duplicate(EventId),
}

/// What is to be dispatched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happened {
    /// This event came from outside.
    Event(EventId),
    /// A job ended.
    Job {
        /// Which.
        job: JobId,
        /// By which entry of its history.
        seq: u32,
        /// How.
        state: JobState,
    },
}

/// An entry of the outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    /// Its number.
    pub id: i64,
    /// Whose.
    pub tenant: TenantId,
    /// What happened.
    pub what: Happened,
    /// When.
    pub at: Timestamp,
}

/// Which events of the past.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// From this source only.
    pub source: Option<String>,
    /// Only those that a webhook brought, or only the others.
    pub webhook: Option<bool>,
    /// With refused ones, which nothing came of.
    pub rejected: bool,
    /// Received at this time or later.
    pub since: Option<Timestamp>,
    /// Only events older than this one.
    pub before: Option<EventId>,
}

/// Tenants whose entries of the outbox are taken together.
pub const TURN: usize = 25;

/// Events.
#[async_trait]
pub trait EventStore: Send + Sync {
    /// Keeps events, all in one transaction, each unless its source has used its
    /// id before; with `dispatch`, each that is new and not refused enters the
    /// outbox with the same commit. When this returns they are on disk.
    async fn append(&self, events: Vec<InboundEvent>, dispatch: bool) -> StoreResult<Vec<Appended>>;

    /// Entries of the outbox, at most `limit`, each kept from other dispatchers
    /// until `until`. An entry leaves the outbox by [`super::RuleStore::fire`] only,
    /// so it is seen again if nothing comes of it.
    ///
    /// Tenants take turns, at most [`TURN`] of them: first those after `after` in
    /// rising order, then the others from the smallest on. The oldest entry of each
    /// comes first, then the second of each, and so on: of many entries of one
    /// tenant, those of another wait for no more than a turn. In which order the
    /// entries are answered is not said.
    ///
    /// A job's end is entered by the commit that ends it, where a rule of its
    /// tenant listens to such ends.
    async fn pending(
        &self,
        now: Timestamp,
        until: Timestamp,
        after: TenantId,
        limit: u32,
    ) -> StoreResult<Vec<Pending>>;

    /// The event that its source calls `external_id`, unless it was refused.
    async fn known(&self, tenant: TenantId, source: &str, external_id: &str) -> StoreResult<Option<EventId>>;

    /// One event.
    async fn get(&self, tenant: TenantId, event: EventId) -> StoreResult<Option<InboundEvent>>;

    /// A tenant's events, newest first.
    async fn recent(
        &self,
        tenant: TenantId,
        filter: &EventFilter,
        limit: u32,
    ) -> StoreResult<Vec<InboundEvent>>;

    /// A tenant's events of one cause, oldest first, at most `limit`.
    async fn by_cause(
        &self,
        tenant: TenantId,
        cause: CorrelationId,
        limit: u32,
    ) -> StoreResult<Vec<InboundEvent>>;

    /// Deletes events that came before `before` and are not in the outbox, at most `limit`.
    async fn prune(&self, before: Timestamp, limit: u32) -> StoreResult<u32>;
}
