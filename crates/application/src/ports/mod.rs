//! What the use cases need of the world. Each port is sized by a use case, its
//! promises are in its documentation, and the contract suite holds every
//! adapter to them.

use std::sync::Arc;

mod allowance;
mod audit;
mod condition;
mod events;
mod explain;
mod firing;
mod jobs;
mod keys;
mod proof;
mod queues;
mod reader;
mod rules;
mod stats;
mod system;
mod tenants;
mod webhook;
mod workers;

pub use allowance::{Allowances, Whose};
pub use audit::{AuditEntry, AuditFilter, AuditHead, AuditNote, AuditStore};
pub use condition::{
    ConditionEngine, ConditionFault, EvaluationFault, Known, Question, Scope, Shape, Wanted,
};
pub use events::{Appended, EventFilter, EventStore, Happened, Pending, TURN};
pub use explain::ExplainReader;
pub use firing::{RuleTally, settle_firing};
pub use jobs::{
    Claim, ClaimRequest, Committed, Discrepancies, Extended, Inserted, JobStore, NewJob, Promoted, Route,
};
pub use keys::{KeyPage, KeyStore, KnownKey, Rotated, Rotation};
pub use proof::{Check, Proof};
pub use queues::{QueueDepth, QueuePut, QueueStore, QueueWas};
pub use reader::{JobFilter, JobReader, Page};
pub use rules::{
    Claim as FireClaim, DUE_SPREAD, DueRules, FanOut, Fire, Fired, FiringCount, FiringPage, NewFiring,
    Queued, RuleLine, RulePage, RulePut, RuleStore, SealedSecret, Wait, Waiting, Waits, due_offset,
};
pub use stats::{Bucket, LoopStatus, Recent, RunnerStatus, SeriesWish, Span, StatStore};
pub use system::{Clock, Ids, Jitter, Topic, Wakeups};
pub use tenants::TenantStore;
pub use webhook::{DeliveryRefused, NamedIn, SecretOf, Signatures, Vault, Verified};
pub use workers::{HeldLease, LeaseKey, Worker, WorkerState, WorkerStore};

/// Why a store could not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be reached, is starting, stopping or out of
    /// connections. Nothing was done, or, where the answer to a commit was lost,
    /// it is unknown whether it was done. A repeat may succeed.
    #[error("the database is unavailable: {0}")]
    Unavailable(String),
    /// The database has no room left. Nothing was done.
    #[error("the database has no room left: {0}")]
    Full(String),
    /// A stored value is not what the engine wrote.
    #[error("{table}.{column} of {id} is not readable: {detail}")]
    Corrupt {
        /// Where.
        table: &'static str,
        /// Which column.
        column: &'static str,
        /// Whose.
        id: String,
        /// What is wrong with it.
        detail: String,
    },
    /// A statement failed for a reason that a repeat will not mend.
    #[error("the database refused a statement: {0}")]
    Rejected(String),
}

impl StoreError {
    /// What may be told to anybody: the sort of failure, and nothing of its inside.
    pub const fn cause(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "the database is unavailable",
            Self::Full(_) => "the database has no room left",
            Self::Corrupt { .. } => "a stored value is not readable",
            Self::Rejected(_) => "a step failed for a reason that a repeat will not mend",
        }
    }
}

/// What a port method answers.
pub type StoreResult<T> = Result<T, StoreError>;

/// The stores of one database, or of memory.
#[derive(Clone)]
pub struct Stores {
    /// Writing jobs.
    pub jobs: Arc<dyn JobStore>,
    /// Looking at jobs.
    pub reader: Arc<dyn JobReader>,
    /// Queues.
    pub queues: Arc<dyn QueueStore>,
    /// Tenants.
    pub tenants: Arc<dyn TenantStore>,
    /// Workers.
    pub workers: Arc<dyn WorkerStore>,
    /// Automation rules.
    pub rules: Arc<dyn RuleStore>,
    /// Events.
    pub events: Arc<dyn EventStore>,
    /// API keys.
    pub keys: Arc<dyn KeyStore>,
    /// What was done by whom.
    pub audit: Arc<dyn AuditStore>,
    /// Why jobs do not run.
    pub explain: Arc<dyn ExplainReader>,
    /// What happened over time.
    pub stats: Arc<dyn StatStore>,
    /// What may still be requested.
    pub allowances: Arc<dyn Allowances>,
}
