//! The SQLite store: the contract, and what is its own.

mod contract;
