//! The SQLite store: the contract, and what is its own.

use std::path::Path;

use taskflow_adapters::store::sqlite::{SqliteOptions, SqliteStore};

mod admin;
mod cancel;
mod contract;
mod full;
mod mend;
mod several;

/// A store over a file of this folder.
async fn open(folder: &Path, options: SqliteOptions) -> anyhow::Result<SqliteStore> {
    let url = format!("sqlite://{}", folder.join("taskflow.db").display());
    let store = SqliteStore::connect(&url, options).await?;
    store.migrate().await?;
    Ok(store)
}
