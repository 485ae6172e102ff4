//! Running jobs: lease, run, keep alive, report.
//!
//! The loop is written once. Where the leases come from is a [`LeaseSource`]:
//! the use cases in the same process, or the network. What a job does is an
//! [`Executor`].

pub mod executor;
pub mod source;

pub use executor::{Execution, Executor, RunContext};
pub use source::{Claimed, Finished, Held, LeaseSource, Settled, SourceError};
