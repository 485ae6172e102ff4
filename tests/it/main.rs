//! The one integration test binary.
#![expect(clippy::unwrap_used, reason = "what helps a test fails the test")]

mod api;
mod conformance;
mod contract_memory;
mod docs;
mod e2e;
mod harness;
mod interleavings;
mod postgres;
mod simulation;
mod sqlite;
mod tidy;
