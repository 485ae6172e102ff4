//! A database that is full: what does not fit is refused as a whole, what is
//! there stays, and with new room the work goes on.

use taskflow_adapters::store::sqlite::SqliteOptions;
use taskflow_application::ports::{JobFilter, StoreError};
use taskflow_domain::Json;
use taskflow_tests::builders::{Scene, at, report, success};

#[tokio::test]
async fn a_full_database_refuses_by_whole_calls() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let small = SqliteOptions { max_bytes: Some(1_000_000), ..SqliteOptions::default() };
    let mut fitted = 0;
    {
        let store = super::open(folder.path(), small).await?;
        let stores = store.stores();
        let scene = Scene::new(&stores).await?;
        let payload = Json::from_valid(&format!("\"{}\"", "x".repeat(10_000)));
        let refused = loop {
            let mut drafts = [scene.job(2 * fitted)?, scene.job(2 * fitted + 1)?];
            for draft in &mut drafts {
                draft.0.spec.payload = payload.clone();
            }
            let jobs = drafts.into_iter().map(|draft| draft.0).collect();
            match stores.jobs.insert(jobs, true).await {
                Ok(_) => fitted += 1,
                Err(fault) => break fault,
            }
            assert!(fitted < 200, "20 kB each time and still room in 1 MB");
        };
        assert!(matches!(refused, StoreError::Full(_)), "{refused}");
        let count = stores.reader.count(scene.tenant.id, &JobFilter::default(), at(1)).await?;
        assert_eq!(count, u64::from(fitted) * 2, "nothing by halves");
        let later = stores.jobs.insert(vec![scene.job(999)?.0], false).await;
        assert!(later.is_ok() || matches!(later, Err(StoreError::Full(_))), "the connection still serves");
        store.close().await;
    }
    let store = super::open(folder.path(), SqliteOptions::default()).await?;
    let stores = store.stores();
    let scene = Scene::new(&stores).await?;
    scene.put_one(scene.job(1_000)?).await?;
    let mut ended = 0;
    loop {
        let jobs = scene.claim(10, at(2)).await?;
        if jobs.is_empty() {
            break;
        }
        let changes: Vec<_> = jobs.iter().map(|job| report(&job.lease, success(), at(3))).collect();
        ended += stores.jobs.commit(&changes).await?.len();
    }
    assert!(ended as u32 > fitted * 2);
    scene.healthy(at(3)).await
}
