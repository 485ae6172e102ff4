//! What the tests stand on: builders, the contract suite that holds every store
//! to the promises of its ports, private PostgreSQL servers and the real binary.

pub mod builders;
pub mod contract;
pub mod postgres;
pub mod process;
