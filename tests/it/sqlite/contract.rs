//! The contract suite over SQLite, each case in a file of its own.

use taskflow_adapters::store::sqlite::{SqliteOptions, SqliteStore};
use taskflow_application::ports::Stores;
use tempfile::TempDir;

pub(super) async fn make() -> anyhow::Result<(Stores, TempDir)> {
    let folder = tempfile::tempdir()?;
    let url = format!("sqlite://{}", folder.path().join("taskflow.db").display());
    let store = SqliteStore::connect(&url, SqliteOptions::default()).await?;
    store.migrate().await?;
    Ok((store.stores(), folder))
}

taskflow_tests::contract_suite!(super::make);
