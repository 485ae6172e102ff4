//! A server that falls silent: its connections are never heard of again, and no
//! error says so.

use taskflow_adapters::store::postgres::{PostgresOptions, PostgresStore};
use taskflow_application::ports::StoreError;
use taskflow_tests::builders::Scene;
use taskflow_tests::faults::wire::{Weather, Wire};
use taskflow_tests::postgres::fresh_database;

#[tokio::test]
async fn what_is_never_answered_is_given_up() -> anyhow::Result<()> {
    let database = fresh_database().await?;
    let port = database.url.rsplit_once('/').and_then(|(head, _)| head.rsplit_once(':')).unwrap().1;
    let wire = Wire::before(port.parse()?).await?;
    let options = PostgresOptions { max_connections: 2, ..PostgresOptions::default() };
    let store = PostgresStore::connect(&wire.url(&database.url), options).await?;
    store.migrate().await?;
    let stores = store.stores();
    let scene = Scene::new(&stores).await?;
    scene.put_one(scene.job(1)?).await?;
    wire.weather(Weather::Lost);
    let insert = stores.jobs.insert(vec![scene.job(2)?.0], false);
    let (write, read) = tokio::join!(insert, stores.queues.list());
    assert!(matches!(write, Err(StoreError::Unavailable(_))), "a write: {write:?}");
    assert!(matches!(read, Err(StoreError::Unavailable(_))), "a read: {read:?}");
    wire.weather(Weather::Fair);
    scene.put_one(scene.job(9)?).await?;
    store.close().await;
    Ok(())
}
