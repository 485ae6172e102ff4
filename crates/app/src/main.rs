//! The binary.

mod config;
mod runner;
mod source;

fn main() {}
