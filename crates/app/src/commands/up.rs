//! `taskflow up`: everything in one process.

use anyhow::Result;

use crate::config::Config;
use crate::process::{Parts, serve};

/// Runs until a signal.
pub(crate) async fn run(config: Config) -> Result<()> {
    let listen = Some(config.http.listen);
    serve(config, Parts { listen, api: true, worker: true }).await
}
