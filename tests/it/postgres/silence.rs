//! A server that falls silent: its connections are never heard of again, and no
//! error says so.

use taskflow_adapters::store::postgres::{PostgresOptions, PostgresStore};
use taskflow_application::ports::StoreError;
use taskflow_tests::builders::Scene;
use taskflow_tests::postgres::fresh_database;
use taskflow_tests::wire::{Trouble, Wire};

#[tokio::test]
async fn what_is_never_answered_is_given_up() -> anyhow::Result<()> {
    let database = fresh_database().await?;
    let (wire, url) = Wire::to_database(&database.url).await?;
    let options = PostgresOptions { max_connections: 2, ..PostgresOptions::default() };
    let store = PostgresStore::connect(&url, options).await?;
    store.migrate().await?;
    let stores = store.stores();
    let scene = Scene::new(&stores).await?;
    scene.put_one(scene.job(1)?).await?;
    wire.set(Trouble::Silence);
    let insert = stores.jobs.insert(vec![scene.job(2)?.0], false);
    let (write, read) = tokio::join!(insert, stores.queues.list());
    assert!(matches!(write, Err(StoreError::Unavailable(_))), "a write: {write:?}");
    assert!(matches!(read, Err(StoreError::Unavailable(_))), "a read: {read:?}");
    wire.set(Trouble::None);
    scene.put_one(scene.job(9)?).await?;
    store.close().await;
    Ok(())
}
