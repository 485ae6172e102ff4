//! `taskflow api`: the API, as one of several processes on one PostgreSQL.

use anyhow::Result;

use crate::config::Config;
use crate::process::{Parts, Process};

/// Runs until a signal.
pub(crate) async fn run(config: Config) -> Result<()> {
    let listen = Some(config.http.listen);
    Process::start(config, Parts { listen, api: true, worker: false }).await?.run().await
}
