//! The REST API.

pub mod server;
