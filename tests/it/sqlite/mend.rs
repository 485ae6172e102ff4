//! What a sweep mends, after somebody has meddled with the file.

use sqlx::{Connection as _, SqliteConnection};
use taskflow_adapters::store::sqlite::SqliteOptions;
use taskflow_application::ports::Discrepancies;
use taskflow_domain::queue::QueueSettings;
use taskflow_domain::tenant::TenantSettings;
use taskflow_tests::builders::{Draft, Scene, at};

#[tokio::test]
async fn flags_and_counters_follow_the_jobs() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let store = super::open(folder.path(), SqliteOptions::default()).await?;
    let stores = store.stores();
    let scene = Scene::new(&stores).await?;
    let limited = TenantSettings { max_running: Some(2), ..TenantSettings::default() };
    let small = scene.tenant_with("small", &limited).await?;
    let settings = QueueSettings { max_running: Some(5), ..QueueSettings::default() };
    scene.queue_with("q", &settings).await?;
    for n in 0..6 {
        scene.put_one(Draft::new(small.id, n)?.queue("q")?).await?;
    }
    assert_eq!(scene.claim(10, at(0)).await?.len(), 2);
    scene.healthy(at(0)).await?;
    let path = folder.path().join("taskflow.db");
    let mut meddler = SqliteConnection::connect(&format!("sqlite://{}", path.display())).await?;
    for meddling in [
        "update lane set active = 0",
        "update queue set running = 5 where name = 'q'",
        "update limit_slot set running = 0",
    ] {
        sqlx::query(meddling).execute(&mut meddler).await?;
    }
    assert!(scene.claim(10, at(1)).await?.is_empty());
    // The slot counts right again, so the lane may not start more, and is no longer asleep.
    let found = stores.jobs.sweep(at(1)).await?;
    assert_eq!(found, Discrepancies { sleeping_lanes: 1, blocked_lanes: 0, counters: 2 });
    assert!(scene.claim(10, at(1)).await?.is_empty(), "the limit holds again");
    scene.healthy(at(1)).await?;
    for meddling in
        ["update limit_slot set max_running = 3", "update tenant set max_running = 3 where slug = 'small'"]
    {
        sqlx::query(meddling).execute(&mut meddler).await?;
    }
    let found = stores.jobs.sweep(at(1)).await?;
    assert_eq!(found, Discrepancies { sleeping_lanes: 0, blocked_lanes: 1, counters: 0 });
    assert_eq!(scene.claim(10, at(1)).await?.len(), 1);
    scene.healthy(at(1)).await
}
