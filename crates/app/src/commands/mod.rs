//! The commands, one file each.

mod api;
pub(crate) mod config;
mod migrate;
mod up;
mod worker;

use anyhow::Result;

use crate::config::Config;

/// Runs a command to its end.
pub(crate) async fn run(name: &str, config: Config) -> Result<()> {
    match name {
        "up" => up::run(config).await,
        "api" => api::run(config).await,
        "worker" => worker::run(config).await,
        "migrate" => migrate::run(&config).await,
        _ => anyhow::bail!("there is no command {name}"),
    }
}
