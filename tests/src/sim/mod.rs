//! Deterministic simulation: the real use cases, the real domain, the real worker
//! loop and the memory stores, as several processes in one thread, under a clock
//! that jumps from one event to the next and with everything that can go wrong.
//!
//! A run follows from its seed alone, so a run that failed can be repeated, and
//! made smaller until only what matters is left (see [`shrink()`]).

mod api;
mod client;
mod client_rules;
mod driver;
mod executor;
mod health;
mod link;
mod link_jobs;
mod link_rest;
mod link_rules;
mod log;
mod node;
pub mod plan;
mod plan_rules;
mod remote;
pub mod rng;
mod shrink;
mod source;
pub mod tables;
mod tables_rules;
mod tools;
mod world;

use taskflow_domain::Kind;

pub use driver::{Report, run};
pub use executor::payload_of;
pub use log::{job_name, token_name};
pub use plan::Plan;
pub use shrink::shrink;
pub use tables_rules::{firing_row, inbound_row};

/// The kind of jobs that pulling workers run.
pub fn pulled_kind() -> Kind {
    kind("pulled")
}

/// The kind of jobs that the engine runs itself.
pub fn own_kind() -> Kind {
    kind("own")
}

#[expect(clippy::expect_used, reason = "the two names are in this file, and they are names")]
fn kind(name: &str) -> Kind {
    Kind::new(name).expect("a name")
}
