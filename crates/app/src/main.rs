//! The binary: one command of [`cli`], run with the configuration in force.
//!
//! It ends with 0 when all went well, with 2 when it was told something that
//! cannot be right, and with 1 when something failed on the way.

mod automation;
mod bench;
mod cli;
mod commands;
mod config;
mod database;
mod loops;
mod process;
mod runner;
mod secrets;
mod shutdown;
mod source;
mod wiring;

use std::process::ExitCode;

use clap::ArgMatches;

use crate::config::{Config, Faults};

fn main() -> ExitCode {
    let matches = cli::command().get_matches();
    let Some((name, matches)) = matches.subcommand() else { return ExitCode::from(2) };
    let layers = cli::layers(matches);
    if name == "config" {
        return commands::config::run(&layers, matches.get_flag("json"));
    }
    match cli::need(name).map(|need| Config::read(&layers, need)) {
        Some(Ok(config)) => run(name, config, matches),
        Some(Err(faults)) => wrong(&faults),
        None => ExitCode::from(2),
    }
}

/// Says what is wrong with the configuration.
fn wrong(faults: &Faults) -> ExitCode {
    eprintln!("{faults}");
    ExitCode::from(2)
}

fn run(name: &str, config: Config, matches: &ArgMatches) -> ExitCode {
    let begin = || -> anyhow::Result<()> {
        taskflow_adapters::telemetry::start_logs(config.logs.format, &config.logs.filter)
            .map_err(anyhow::Error::msg)?;
        // More than one could be chosen otherwise, and choosing none panics at the first use.
        if rustls::crypto::ring::default_provider().install_default().is_err() {
            anyhow::bail!("another TLS provider was installed before");
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let outcome = runtime.block_on(commands::run(name, config, matches));
        // A task that does not end must not keep the process.
        runtime.shutdown_background();
        outcome
    };
    match begin() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
