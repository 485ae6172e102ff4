//! `taskflow migrate`: brings the schema up to date.

use anyhow::Result;

use crate::config::Config;
use crate::database::Database;

/// Brings the schema up to date. Other processes may go on.
pub(crate) async fn run(config: &Config) -> Result<()> {
    let database = Database::open(&config.database).await?;
    database.migrate().await?;
    tracing::info!("the schema is up to date");
    Ok(())
}
