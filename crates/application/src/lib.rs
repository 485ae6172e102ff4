//! What TaskFlow does: the use cases, and the ports that they stand on.
//!
//! A use case asks the domain what a wish means and a port to commit it. No
//! transaction crosses a port: what must happen together is one port method.

pub mod access;
pub mod audit;
pub mod automation;
pub mod caller;
pub mod document;
pub mod drains;
mod group;
pub mod insight;
pub mod jobs;
pub mod keys;
pub mod maintain;
pub mod memory;
pub mod meter;
pub mod ports;
pub mod queues;
pub mod sealing;
pub mod tally;
pub mod template;
pub mod tenants;
pub mod work;

use std::sync::Arc;

pub use caller::Caller;

/// The ports that every use case stands on.
#[derive(Clone)]
pub struct World {
    /// The database.
    pub stores: ports::Stores,
    /// Time.
    pub clock: Arc<dyn ports::Clock>,
    /// Identity.
    pub ids: Arc<dyn ports::Ids>,
    /// Chance.
    pub jitter: Arc<dyn ports::Jitter>,
    /// News.
    pub wakeups: Arc<dyn ports::Wakeups>,
    /// What this process counted and has not written away yet.
    pub tally: tally::Tally,
    /// The queues that take no new jobs.
    pub drains: drains::Drains,
    /// Keeps secrets. Without it no rule can have one, and credentials in the headers
    /// of targets stand in the database as they are.
    pub vault: Option<Arc<dyn ports::Vault>>,
}
