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
    // From here on time passes as soon as everybody waits.
    tokio::time::pause();
    for number in 2..6 {
        let lost = stores.jobs.insert(vec![scene.job(number)?.0], false).await;
        assert!(matches!(lost, Err(StoreError::Unavailable(_))), "a write: {lost:?}");
        let lost = stores.queues.list().await;
        assert!(matches!(lost, Err(StoreError::Unavailable(_))), "a read: {lost:?}");
    }
    tokio::time::resume();
    wire.weather(Weather::Fair);
    scene.put_one(scene.job(9)?).await?;
    store.close().await;
    Ok(())
}
