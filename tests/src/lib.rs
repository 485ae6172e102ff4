//! What the tests stand on: builders, the contract suite that holds every store
//! to the promises of its ports, the simulation with its planted defects, private
//! PostgreSQL servers, the real binary, faults to do to it, and the yardstick that
//! the engine's speed is measured with.

pub mod builders;
pub mod contract;
pub mod faults;
pub mod planted;
pub mod postgres;
pub mod process;
pub mod rules;
pub mod schedulers;
pub mod sim;
pub mod stepping;
pub mod wire;
pub mod yardstick;
