//! `taskflow worker`: worker and scheduler, as one of several processes on one
//! PostgreSQL. Its listener answers for health and metrics alone.

use anyhow::Result;

use crate::config::Config;
use crate::process::{Parts, serve};

/// Runs until a signal.
pub(crate) async fn run(config: Config) -> Result<()> {
    let listen = config.http.worker_listen;
    serve(config, Parts { listen, api: false, worker: true }).await
}
