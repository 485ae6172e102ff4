//! Several processes over one file, played by several stores.

use std::collections::BTreeSet;

use taskflow_adapters::store::sqlite::{SqliteOptions, SqliteStore};
use taskflow_application::ports::Discrepancies;
use taskflow_tests::builders::{Scene, at, report, success, worker};

/// All of them start at once and migrate; one does it, the others find it done.
async fn start(folder: &std::path::Path, count: usize) -> anyhow::Result<Vec<SqliteStore>> {
    let url = format!("sqlite://{}", folder.join("taskflow.db").display());
    let mut starts = Vec::new();
    for _ in 0..count {
        let url = url.clone();
        starts.push(tokio::spawn(async move {
            let store = SqliteStore::connect(&url, SqliteOptions::default()).await?;
            store.migrate().await?;
            anyhow::Ok(store)
        }));
    }
    let mut stores = Vec::new();
    for start in starts {
        stores.push(start.await??);
    }
    Ok(stores)
}

/// Each job is claimed once, whichever store finds it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_job_is_claimed_once() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let stores = start(folder.path(), 4).await?;
    let mut workers = Vec::new();
    for (index, store) in stores.iter().enumerate() {
        let stores = store.stores();
        workers.push(tokio::spawn(async move {
            let scene = Scene::new(&stores).await?;
            let scene = Scene { worker: worker(&format!("w-{index}"))?, ..scene };
            scene.beat(&scene.worker, at(0), at(1_000)).await?;
            let mut done = Vec::new();
            for round in 0..40u32 {
                let first = u32::try_from(index)? * 10_000 + round * 10;
                let drafts: Result<Vec<_>, _> =
                    (first..first + 5).map(|n| scene.job(n)?.queue(&format!("q-{}", n % 3))).collect();
                scene.put(drafts?).await?;
                let jobs = scene.claim(6, at(1)).await?;
                let changes: Vec<_> = jobs.iter().map(|job| report(&job.lease, success(), at(2))).collect();
                stores.jobs.commit(&changes).await?;
                done.extend(jobs.iter().map(|job| job.spec.id));
            }
            anyhow::Ok(done)
        }));
    }
    let mut done = Vec::new();
    for worker in workers {
        done.extend(worker.await??);
    }
    let distinct: BTreeSet<_> = done.iter().copied().collect();
    assert_eq!(distinct.len(), done.len(), "no job ran twice");
    let last = stores[0].stores();
    let scene = Scene::new(&last).await?;
    let mut rest = 0;
    loop {
        let jobs = scene.claim(50, at(3)).await?.len();
        if jobs == 0 {
            break;
        }
        rest += jobs;
    }
    assert_eq!(done.len() + rest, 4 * 40 * 5, "no job is lost");
    assert_eq!(last.jobs.sweep(at(4)).await?, Discrepancies::default());
    Ok(())
}
