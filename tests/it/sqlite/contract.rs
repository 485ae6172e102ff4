//! The contract suite over SQLite, each case in a file of its own.

use taskflow_adapters::store::sqlite::{SqliteOptions, SqliteStore};
use taskflow_application::ports::Stores;
use taskflow_tests::builders::{Scene, at, success};
use tempfile::TempDir;

pub(super) async fn make() -> anyhow::Result<(Stores, TempDir)> {
    let folder = tempfile::tempdir()?;
    let store = super::open(folder.path(), SqliteOptions::default()).await?;
    Ok((store.stores(), folder))
}

taskflow_tests::contract_suite!(super::make);

/// A database in memory lives as long as its store.
#[tokio::test]
async fn memory_will_do() -> anyhow::Result<()> {
    let store = SqliteStore::connect("sqlite::memory:", SqliteOptions::default()).await?;
    store.migrate().await?;
    store.migrate().await?;
    store.ping().await?;
    let stores = store.stores();
    let scene = Scene::new(&stores).await?;
    let id = scene.put_one(scene.job(1)?).await?;
    let job = scene.claim_one(at(0)).await?;
    scene.settle(&job, success(), at(1)).await?;
    assert_eq!(scene.consistent(id, at(2)).await?.seq, 3);
    assert_eq!(store.stats().open, 1, "one connection writes and reads");
    Ok(())
}
