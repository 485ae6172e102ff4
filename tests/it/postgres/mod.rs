//! What is PostgreSQL's own, besides the contract.

mod admin;
mod cancel;
mod claims;
mod contract;
mod crowd;
mod cut;
mod looks;
mod plans;
mod rows;
mod rules;
mod silence;
mod wakeups;
mod wall;

use taskflow_adapters::store::postgres::{PostgresOptions, PostgresStore};
use taskflow_tests::postgres::{Database, fresh_database};

/// A store over a database of its own.
pub(crate) async fn open(options: PostgresOptions) -> anyhow::Result<(PostgresStore, Database)> {
    let database = fresh_database().await?;
    let store = PostgresStore::connect(&database.url, options).await?;
    store.migrate().await?;
    Ok((store, database))
}
