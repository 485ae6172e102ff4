//! `taskflow config`: what is in force, and where each value came from.

use std::io::Write as _;
use std::process::ExitCode;

use crate::config::{Config, Layers, Need, show};

/// Shows everything, and then what is wrong with it.
pub(crate) fn run(layers: &Layers, as_json: bool) -> ExitCode {
    // Whoever reads this may stop reading, as `head` does.
    let _ = std::io::stdout().write_all(show(layers, as_json).as_bytes());
    match Config::read(layers, Need::Listener) {
        Ok(_) => ExitCode::SUCCESS,
        Err(faults) => crate::wrong(&faults),
    }
}
