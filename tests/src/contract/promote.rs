//! Promoting: scheduled jobs become due.

use anyhow::Result;
use taskflow_application::ports::{Promoted, Stores};
use taskflow_domain::{JobState, Standing};

use crate::builders::{Scene, at, job_id};

/// Jobs become claimable at their time, not before, and the next time is told.
pub async fn due_jobs_become_claimable(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    assert_eq!(stores.jobs.promote(at(0), 10).await?, Promoted { jobs: 0, next_due: None });
    scene
        .put([
            scene.job(1)?.scheduled(at(100)),
            scene.job(2)?.scheduled(at(200)),
            scene.job(3)?.scheduled(at(200)),
            scene.job(4)?.scheduled(at(9_000)),
            scene.job(5)?,
        ])
        .await?;
    let early = stores.jobs.promote(at(99), 10).await?;
    assert_eq!(early, Promoted { jobs: 0, next_due: Some(at(100)) });
    assert_eq!(scene.claim_ids(10, at(99)).await?, [job_id(5)]);
    let on_time = stores.jobs.promote(at(200), 10).await?;
    assert_eq!(on_time, Promoted { jobs: 3, next_due: Some(at(9_000)) });
    assert_eq!(scene.claim_ids(10, at(200)).await?, [1, 2, 3].map(job_id));
    assert_eq!(stores.jobs.promote(at(200), 10).await?.jobs, 0);
    assert_eq!(stores.jobs.promote(at(9_000), 10).await?, Promoted { jobs: 1, next_due: None });
    scene.healthy(at(9_000)).await
}

/// No more than asked for at once, the earliest first.
pub async fn promoting_knows_its_measure(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    for n in 0..5u32 {
        scene.put_one(scene.job(n)?.scheduled(at(100 - i64::from(n)))).await?;
    }
    let some = stores.jobs.promote(at(500), 2).await?;
    assert_eq!(some, Promoted { jobs: 2, next_due: Some(at(98)) });
    assert_eq!(scene.claim_ids(10, at(500)).await?, [job_id(4), job_id(3)]);
    assert_eq!(stores.jobs.promote(at(500), 10).await?, Promoted { jobs: 3, next_due: None });
    scene.healthy(at(500)).await
}

/// Promoting is no change of the job: no entry, no version.
pub async fn promoting_leaves_no_trace(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let id = scene.put_one(scene.job(1)?.scheduled(at(100))).await?;
    assert_eq!(scene.look(id, at(99)).await?.standing.state(), JobState::Scheduled);
    let due = scene.consistent(id, at(100)).await?;
    assert_eq!(due.standing, Standing::Pending { due: at(100) }, "due before it is promoted");
    stores.jobs.promote(at(100), 10).await?;
    let promoted = scene.consistent(id, at(100)).await?;
    assert_eq!((promoted.standing, promoted.seq), (due.standing, 1));
    Ok(())
}

/// Jobs that wait for other things than time are left alone.
pub async fn only_scheduled_jobs_are_promoted(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    scene.put([scene.job(1)?.waiting(), scene.job(2)?.scheduled(at(100))]).await?;
    let job = scene.look(job_id(2), at(1)).await?;
    scene.done(&taskflow_domain::change::pause(&job, taskflow_domain::Actor::api(), at(1))?).await?;
    assert_eq!(stores.jobs.promote(at(500), 10).await?, Promoted { jobs: 0, next_due: None });
    assert_eq!(scene.look(job_id(1), at(500)).await?.standing.state(), JobState::Waiting);
    assert_eq!(scene.look(job_id(2), at(500)).await?.standing.state(), JobState::Paused);
    Ok(())
}
