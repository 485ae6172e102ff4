//! The contract suite over PostgreSQL, each case in a database of its own.

use taskflow_adapters::store::postgres::{PostgresOptions, PostgresStore};
use taskflow_application::ports::Stores;
use taskflow_tests::postgres::Database;

pub(super) async fn make() -> anyhow::Result<(Stores, (PostgresStore, Database))> {
    let options = PostgresOptions { max_connections: 3, ..PostgresOptions::default() };
    let (store, database) = super::open(options).await?;
    Ok((store.stores(), (store, database)))
}

taskflow_tests::contract_suite!(super::make);
