//! What the tests stand on: builders, the contract suite that holds every store
//! to the promises of its ports, the simulation with its planted defects, private
//! PostgreSQL servers, the real binary, faults to do to it, the kill run, and the yardstick that
//! the engine's speed is measured with.

pub mod builders;
pub mod contract;
pub mod faults;
pub mod kill;
pub mod planted;
pub mod postgres;
pub mod process;
pub mod rules;
pub mod schedulers;
pub mod sim;
pub mod stepping;
pub mod wire;
pub mod yardstick;

/// Bytes in hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or_default();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}
