//! What becomes of occurrences while the previous instance runs, on each store.

use anyhow::{Context as _, Result};
use serde_json::json;
use taskflow_application::ports::{Clock as _, Stores};

use super::automation::{MINUTE, every_minute, times};
use crate::builders::{Scene, at, success};
use crate::rules::Stage;

/// While the previous instance runs, each policy does what it says.
pub async fn instances_overlap(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let stage = Stage::new(stores)?;
    let [allow, skip, queue, replace] = ["allow", "skip", "queue_one", "replace"];
    let allow = stage.create(every_minute(&json!({}), allow)).await?;
    let skip = stage.create(every_minute(&json!({}), skip)).await?;
    let queue = stage.create(every_minute(&json!({}), queue)).await?;
    let replace = stage.create(every_minute(&json!({}), replace)).await?;
    for _ in 0..3 {
        stage.pass(MINUTE).await?;
    }
    assert_eq!(stage.told(&allow).await?, ["FIRED"; 3]);
    let running = "SKIPPED previous_instance_running";
    assert_eq!(stage.told(&skip).await?, ["FIRED", running, running]);
    let blocked = "BLOCKED previous_instance_running";
    assert_eq!(stage.told(&queue).await?, ["FIRED", blocked, "SKIPPED already_queued"]);
    assert_eq!(stage.told(&replace).await?, ["FIRED"; 3]);
    let jobs = stage.made(replace.tenant).await?;
    let replaced = jobs.iter().filter(|job| job.spec.rule_id == Some(replace.id));
    let states: Vec<_> = replaced.map(|job| job.standing.state().as_str()).collect();
    assert_eq!(states, ["CANCELLED", "CANCELLED", "PENDING"]);
    // When the first instance has ended, what waits is fired.
    for job in scene.claim(20, stage.clock.now()).await? {
        scene.settle(&job, success(), stage.clock.now()).await?;
    }
    stage.settle().await?;
    assert_eq!(stage.told(&queue).await?[3], "FIRED");
    let jobs = stage.made(queue.tenant).await?;
    let last = jobs.iter().rfind(|job| job.spec.rule_id == Some(queue.id)).context("a job")?;
    assert_eq!(times(std::slice::from_ref(last)), [at(2 * MINUTE)], "the occurrence that waited");
    Ok(())
}

/// Of a rule that acts for many tenants, each has an instance of its own, and
/// its own occurrence waits for the end of it.
pub async fn each_tenant_waits_for_its_own(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let stage = Stage::new(stores)?;
    let other = scene.tenant("other").await?;
    let mut rule = every_minute(&json!({}), "queue_one");
    rule["for_each_tenant"] = json!("true");
    let rule = stage.create(rule).await?;
    stage.pass(MINUTE).await?;
    // The first instance ends for one of them only.
    let claimed = scene.claim(20, stage.clock.now()).await?;
    for job in claimed.iter().filter(|job| job.spec.tenant == other.id) {
        scene.settle(job, success(), stage.clock.now()).await?;
    }
    for _ in 0..2 {
        stage.pass(MINUTE).await?;
    }
    let minute = |n| Some(at(n * MINUTE));
    let told = async |tenant| {
        let firings = stage.firings(&rule).await?;
        let word = |firing: &taskflow_domain::Firing| {
            (firing.outcome.as_str(), firing.reason.clone().unwrap_or_default(), firing.cause.scheduled_at)
        };
        let own = firings.iter().filter(|firing| firing.tenant == tenant);
        anyhow::Ok(own.map(word).collect::<Vec<_>>())
    };
    let fired = |n| ("FIRED", String::new(), minute(n));
    let blocked = |n| ("BLOCKED", "previous_instance_running".to_owned(), minute(n));
    let skipped = |n| ("SKIPPED", "already_queued".to_owned(), minute(n));
    assert_eq!(told(scene.tenant.id).await?, [fired(1), blocked(2), skipped(3)]);
    assert_eq!(told(other.id).await?, [fired(1), fired(2), blocked(3)]);
    // Each goes on by itself.
    for job in scene.claim(20, stage.clock.now()).await? {
        scene.settle(&job, success(), stage.clock.now()).await?;
    }
    stage.settle().await?;
    assert_eq!(told(other.id).await?.last(), Some(&fired(3)));
    assert_eq!(told(scene.tenant.id).await?.len(), 3);
    for job in claimed.iter().filter(|job| job.spec.tenant == scene.tenant.id) {
        scene.settle(job, success(), stage.clock.now()).await?;
    }
    stage.settle().await?;
    assert_eq!(told(scene.tenant.id).await?.last(), Some(&fired(2)), "the occurrence that waited");
    Ok(())
}
