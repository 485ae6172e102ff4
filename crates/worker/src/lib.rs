//! Running jobs: lease, run, keep alive, report.
//!
//! The loop is written once. Where the leases come from is a [`LeaseSource`]:
//! the use cases in the same process, or the network. What a job does is an
//! [`Executor`]. A [`Worker`] ties the two together.

mod attempt;
mod backoff;
mod beat;
mod claim;
pub mod config;
mod control;
pub mod executor;
mod held;
mod settle;
mod shared;
mod slots;
pub mod source;
mod start;
pub mod stats;
mod tenure;
pub mod text;
pub mod worker;

#[cfg(test)]
mod tests;

pub use config::{Placement, WorkerConfig};
pub use executor::{Execution, Executor, RunContext};
pub use source::{Claimed, Finished, Held, LeaseSource, Settled, SourceError};
pub use stats::{StatsSnapshot, WorkerStats};
pub use worker::Worker;
