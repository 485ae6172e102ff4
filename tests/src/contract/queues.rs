//! Queues: their settings, and how full they are.

use anyhow::{Context as _, Result};
use taskflow_application::ports::{QueueDepth, Stores};
use taskflow_domain::queue::{Pause, QueueSettings, Rate};
use taskflow_domain::{Actor, JobState, Timestamp, Verdict, change};

use crate::builders::{Draft, Scene, at, failure, job_id, policy, queue, success};

fn all_set() -> QueueSettings {
    QueueSettings {
        max_running: Some(7),
        max_running_per_tenant: Some(3),
        rate: Some(Rate { limit: 100, period_ms: 60_000 }),
        pause: Some(Pause {
            reason: Some("maintenance".into()),
            actor: "api".into(),
            since: at(5),
            until: Some(at(9_000_000)),
        }),
    }
}

/// Settings come back as they were set, by the answer, one by one and in the list.
pub async fn settings_come_back(stores: &Stores) -> Result<()> {
    let name = queue("billing:eu/1")?;
    assert_eq!(stores.queues.get(&name).await?, None);
    let forever = Pause { reason: None, actor: "api".into(), since: at(6), until: None };
    let steps = [
        all_set(),
        QueueSettings { pause: Some(forever), ..all_set() },
        QueueSettings { max_running: Some(0), ..QueueSettings::default() },
        QueueSettings::default(),
    ];
    for settings in steps {
        let put = stores.queues.put(&name, &settings, at(10)).await?;
        assert_eq!((&put.name, &put.settings), (&name, &settings));
        assert_eq!(stores.queues.get(&name).await?, Some(put.clone()));
        assert!(stores.queues.list().await?.contains(&put));
    }
    Ok(())
}

/// All queues, by name.
pub async fn queues_are_listed_by_name(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    scene.put_one(scene.job(1)?.queue("m")?).await?;
    for name in ["z", "a", "B"] {
        scene.queue_with(name, &QueueSettings::default()).await?;
    }
    let names: Vec<_> = stores.queues.list().await?.into_iter().map(|queue| queue.name).collect();
    assert!(names.is_sorted(), "{names:?}");
    for name in ["z", "a", "B", "m"] {
        assert!(names.contains(&queue(name)?));
    }
    let depths: Vec<_> = stores.queues.depths().await?.into_iter().map(|depth| depth.name).collect();
    assert_eq!(depths, names, "each queue has a depth, in the same order");
    Ok(())
}

async fn depth(stores: &Stores, name: &str) -> Result<QueueDepth> {
    let name = queue(name)?;
    stores.queues.depths().await?.into_iter().find(|depth| depth.name == name).context("the queue")
}

async fn assert_depth(stores: &Stores, counts: &[(JobState, u64)], oldest: Option<Timestamp>) -> Result<()> {
    let mut by_state = [0; 9];
    for (state, count) in counts {
        by_state[*state as usize] = *count;
    }
    let depth = depth(stores, "q").await?;
    assert_eq!((depth.by_state, depth.oldest_due), (by_state, oldest));
    Ok(())
}

/// The counts follow each step of the jobs.
pub async fn depths_follow_the_jobs(stores: &Stores) -> Result<()> {
    use JobState::{Cancelled, Dead, Failed, Paused, Pending, Running, Scheduled, Succeeded, Waiting};
    let scene = Scene::new(stores).await?;
    let other = scene.tenant("other").await?;
    let job = |n| scene.job(n)?.policy(policy(1, 0)).queue("q");
    scene
        .put([
            job(1)?.due(at(-20)),
            job(2)?.due(at(-10)),
            job(3)?.scheduled(at(100)),
            job(4)?.waiting(),
            Draft::new(other.id, 5)?.queue("q")?.due(at(-30)),
            scene.job(6)?.queue("elsewhere")?,
        ])
        .await?;
    assert_depth(stores, &[(Waiting, 1), (Scheduled, 1), (Pending, 3)], Some(at(-30))).await?;
    let request = taskflow_application::ports::ClaimRequest {
        queues: vec![queue("q")?],
        tenant: Some(scene.tenant.id),
        ..scene.request(10, at(0))
    };
    let claimed = stores.jobs.claim(&request).await?.jobs;
    assert_depth(stores, &[(Waiting, 1), (Scheduled, 1), (Pending, 1), (Running, 2)], Some(at(-30))).await?;
    scene.settle(&claimed[0], success(), at(1)).await?;
    scene.settle(&claimed[1], failure(), at(1)).await?;
    let held = change::pause(&scene.look(job_id(4), at(1)).await?, Actor::api(), at(1))?;
    scene.done(&held).await?;
    let counts = [(Paused, 1), (Scheduled, 1), (Pending, 1), (Succeeded, 1), (Dead, 1)];
    assert_depth(stores, &counts, Some(at(-30))).await?;
    stores.jobs.promote(at(100), 10).await?;
    let counts = [(Paused, 1), (Pending, 2), (Succeeded, 1), (Dead, 1)];
    assert_depth(stores, &counts, Some(at(-30))).await?;
    let ended = change::cancel(&scene.look(job_id(4), at(1)).await?, Actor::api(), None, at(1))?;
    scene.done(&ended.context("a change")?).await?;
    let again = change::redrive(&scene.look(job_id(2), at(1)).await?, Actor::api(), at(2))?;
    scene.done(&again).await?;
    assert_depth(stores, &[(Pending, 3), (Succeeded, 1), (Cancelled, 1)], Some(at(-30))).await?;
    let claimed = stores.jobs.claim(&request).await?.jobs;
    scene.settle(&claimed[0], crate::builders::permanent_failure(), at(3)).await?;
    scene.settle(&claimed[1], Verdict::Snoozed { for_ms: 100 }, at(3)).await?;
    let counts = [(Pending, 1), (Scheduled, 1), (Failed, 1), (Succeeded, 1), (Cancelled, 1)];
    assert_depth(stores, &counts, Some(at(-30))).await
}

/// An empty queue says so.
pub async fn an_empty_queue_has_no_depth(stores: &Stores) -> Result<()> {
    Scene::new(stores).await?.queue_with("q", &QueueSettings::default()).await?;
    assert_depth(stores, &[], None).await
}
