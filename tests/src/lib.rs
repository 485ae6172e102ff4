//! What the tests stand on: private PostgreSQL servers and the real binary.

pub mod postgres;
pub mod process;
