//! Queues: their settings, and how full they are.

use anyhow::{Context as _, Result};
use taskflow_application::ports::{QueueDepth, QueuePut, QueueWas, Stores};
use taskflow_domain::queue::{Drain, Pause, QueueSettings, Rate};
use taskflow_domain::{Actor, JobState, Timestamp, Verdict, change};

use crate::builders::{Draft, Scene, at, failure, job_id, policy, queue, success};

fn all_set() -> QueueSettings {
    QueueSettings {
        drain: Some(Drain { reason: Some("it goes away".into()), actor: "api".into(), since: at(6) }),
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
        let put = stores.queues.put(QueuePut::new(name.clone(), settings.clone(), at(10))).await?;
        let put = put.context("it may be anything")?;
        assert_eq!((&put.name, &put.settings), (&name, &settings));
        assert_eq!(stores.queues.get(&name).await?, Some(put.clone()));
        assert!(stores.queues.list().await?.contains(&put));
    }
    Ok(())
}

/// A change of settings names those that it changes; whoever comes second looks again.
pub async fn settings_that_moved_on_are_not_changed(stores: &Stores) -> Result<()> {
    let name = queue("q")?;
    let (some, none) = (all_set(), QueueSettings::default());
    let put = async |was: Option<&QueueSettings>, to: &QueueSettings| {
        let was = was.cloned().map_or(QueueWas::Absent, QueueWas::Like);
        let put = QueuePut { was, ..QueuePut::new(name.clone(), to.clone(), at(10)) };
        anyhow::Ok(stores.queues.put(put).await?.map(|queue| queue.settings))
    };
    assert_eq!(put(Some(&none), &some).await?, None, "there is no queue yet");
    assert_eq!(put(None, &some).await?.as_ref(), Some(&some));
    assert_eq!(put(None, &none).await?, None, "there is one");
    let others = [
        none.clone(),
        QueueSettings { drain: None, ..all_set() },
        QueueSettings { max_running: Some(8), ..all_set() },
        QueueSettings { max_running_per_tenant: None, ..all_set() },
        QueueSettings { rate: Some(Rate { limit: 100, period_ms: 1_000 }), ..all_set() },
        QueueSettings { pause: all_set().pause.map(|pause| Pause { until: None, ..pause }), ..all_set() },
        QueueSettings { pause: all_set().pause.map(|pause| Pause { reason: None, ..pause }), ..all_set() },
    ];
    for other in &others {
        assert_eq!(put(Some(other), &none).await?, None, "{other:?}");
    }
    assert_eq!(stores.queues.get(&name).await?.map(|queue| queue.settings), Some(some.clone()));
    assert_eq!(put(Some(&some), &none).await?.as_ref(), Some(&none));

    let counts = (0..8).map(|_| {
        let (queues, name) = (stores.queues.clone(), name.clone());
        tokio::spawn(async move {
            loop {
                let was = queues.get(&name).await?.context("the queue")?.settings;
                let more =
                    QueueSettings { max_running: Some(was.max_running.unwrap_or(0) + 1), ..was.clone() };
                let put = QueuePut { was: QueueWas::Like(was), ..QueuePut::new(name.clone(), more, at(10)) };
                if queues.put(put).await?.is_some() {
                    return anyhow::Ok(());
                }
            }
        })
    });
    for count in counts.collect::<Vec<_>>() {
        count.await??;
    }
    let queue = stores.queues.get(&name).await?.context("the queue")?;
    assert_eq!(queue.settings.max_running, Some(8), "no change is lost");
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

/// A purge deletes what stands in a state of a queue, and nothing else.
pub async fn a_purge_deletes_one_state_of_a_queue(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let other = scene.tenant("other").await?;
    let (q, r) = (queue("q")?, queue("r")?);
    let due = scene.put([scene.job(1)?.queue("q")?.key("k", 1), scene.job(2)?.queue("q")?]).await?;
    scene.put([Draft::new(other.id, 3)?.queue("q")?.label("a", "b")]).await?;
    let later = scene.put_one(scene.job(4)?.queue("q")?.scheduled(at(9_000))).await?;
    let elsewhere = scene.put_one(scene.job(5)?.queue("r")?).await?;
    let purge = |state, before, most| stores.queues.purge(&q, state, before, most);
    assert_eq!(stores.queues.purgeable(&q, JobState::Pending, None, 2).await?, 2, "counted so far");
    assert_eq!(stores.queues.purgeable(&q, JobState::Pending, None, 9).await?, 3);
    assert_eq!(purge(JobState::Pending, Some(at(0)), 9).await?, 0, "none is older");
    assert_eq!(purge(JobState::Pending, Some(at(1)), 1).await?, 1);
    assert_eq!(purge(JobState::Pending, None, 9).await?, 2);
    assert!(scene.look(due[0], at(1)).await.is_err() && scene.look(due[1], at(1)).await.is_err());
    assert_eq!(scene.look(later, at(1)).await?.standing.state(), JobState::Scheduled);
    assert_eq!(purge(JobState::Scheduled, None, 9).await?, 1);
    scene.put_one(scene.job(6)?.queue("q")?.key("k", 2)).await?;
    let claimed = scene.claim(9, at(2)).await?;
    assert_eq!(claimed.len(), 2, "the key is free again");
    assert_eq!(purge(JobState::Running, None, 9).await?, 0, "what runs is left alone");
    for job in &claimed {
        scene.settle(job, success(), at(3)).await?;
    }
    assert_eq!(purge(JobState::Succeeded, Some(at(3)), 9).await?, 0);
    assert_eq!(purge(JobState::Succeeded, Some(at(4)), 9).await?, 1);
    assert_eq!(scene.look(elsewhere, at(4)).await?.standing.state(), JobState::Succeeded);
    let depths = stores.queues.depths().await?;
    let total =
        |name| depths.iter().find(|depth| depth.name == name).map(|depth| depth.by_state.iter().sum());
    assert_eq!((total(q.clone()), total(r)), (Some(0_u64), Some(1)));
    assert_eq!(stores.queues.purge(&queue("nowhere")?, JobState::Pending, None, 9).await?, 0);
    scene.healthy(at(5)).await
}

/// Queues that take no new jobs are known by name.
pub async fn draining_queues_are_listed(stores: &Stores) -> Result<()> {
    assert_eq!(stores.queues.draining().await?, []);
    for name in ["b", "a", "c"] {
        stores.queues.put(QueuePut::new(queue(name)?, all_set(), at(0))).await?;
    }
    stores.queues.put(QueuePut::new(queue("c")?, QueueSettings::default(), at(1))).await?;
    assert_eq!(stores.queues.draining().await?, [queue("a")?, queue("b")?]);
    Ok(())
}
