//! The commands, one file each.

mod api;
pub(crate) mod audit;
pub(crate) mod bench;
pub(crate) mod config;
pub(crate) mod doctor;
mod migrate;
mod up;
mod worker;

use anyhow::Result;
use clap::ArgMatches;

use crate::config::Config;

/// Runs a command to its end.
pub(crate) async fn run(name: &str, config: Config, matches: &ArgMatches) -> Result<()> {
    match name {
        "up" => up::run(config).await,
        "api" => api::run(config).await,
        "worker" => worker::run(config).await,
        "audit" => audit::run(&config, matches).await,
        "bench" => bench::run(&config, matches).await,
        "doctor" => doctor::run(&config, matches).await,
        "migrate" => migrate::run(&config).await,
        _ => anyhow::bail!("there is no command {name}"),
    }
}
