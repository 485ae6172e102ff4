//! `taskflow api`: the API, as one of several processes on one PostgreSQL.

use anyhow::Result;

use crate::config::Config;
use crate::process::{Parts, serve};

/// Runs until a signal.
pub(crate) async fn run(config: Config) -> Result<()> {
    let listen = Some(config.http.listen);
    serve(config, Parts { listen, api: true, worker: false }).await
}
