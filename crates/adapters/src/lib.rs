//! How TaskFlow meets the world: databases, HTTP in and out, clock, telemetry.

pub mod condition;
pub mod executor;
pub mod rest;
pub mod store;
pub mod system;
pub mod telemetry;
pub mod webhook;
