//! Fair sharing: worker time is divided over tenants by their weights.

use std::collections::BTreeMap;

use anyhow::Result;
use taskflow_application::ports::Stores;
use taskflow_domain::tenant::{Tenant, TenantSettings};
use taskflow_domain::{ClaimedJob, TenantId, fair};

use crate::builders::{Draft, Scene, at, report_after, success};

/// `count` jobs of `tenant` from number `first` on.
async fn backlog(scene: &Scene<'_>, tenant: &Tenant, first: u32, count: u32) -> Result<()> {
    let drafts: Result<Vec<_>> = (first..first + count).map(|n| Draft::new(tenant.id, n)).collect();
    scene.put(drafts?).await?;
    Ok(())
}

fn by_tenant<'a>(jobs: impl IntoIterator<Item = &'a ClaimedJob>) -> BTreeMap<TenantId, u32> {
    let mut counts = BTreeMap::new();
    for job in jobs {
        *counts.entry(job.spec.tenant).or_default() += 1;
    }
    counts
}

async fn weighted(scene: &Scene<'_>, name: &str, weight: u32) -> Result<Tenant> {
    scene.tenant_with(name, &TenantSettings { weight, ..TenantSettings::default() }).await
}

/// Claims `calls` times `max` jobs, without ending any.
async fn claims(scene: &Scene<'_>, calls: u32, max: u32) -> Result<BTreeMap<TenantId, u32>> {
    let mut jobs = Vec::new();
    for _ in 0..calls {
        jobs.extend(scene.claim(max, at(0)).await?);
    }
    Ok(by_tenant(&jobs))
}

fn assert_near(counts: &BTreeMap<TenantId, u32>, tenant: &Tenant, expected: u32, off: u32) {
    let count = counts.get(&tenant.id).copied().unwrap_or_default();
    assert!(count.abs_diff(expected) <= off, "{} got {count} of {counts:?}, not {expected}", tenant.slug);
}

/// A tenant with few jobs does not stand behind one with many.
pub async fn a_long_backlog_starves_nobody(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let (noisy, quiet) = (scene.tenant("noisy").await?, scene.tenant("quiet").await?);
    backlog(&scene, &noisy, 0, 200).await?;
    backlog(&scene, &quiet, 1_000, 10).await?;
    let counts = claims(&scene, 1, 20).await?;
    assert_near(&counts, &quiet, 10, 0);
    Ok(())
}

/// Tenants of one weight get one share, however few jobs each claim takes.
pub async fn equals_share_equally(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let tenants = [scene.tenant("a").await?, scene.tenant("b").await?, scene.tenant("c").await?];
    for (tenant, first) in tenants.iter().zip([0, 1_000, 2_000]) {
        backlog(&scene, tenant, first, 100).await?;
    }
    let counts = claims(&scene, 60, 1).await?;
    for tenant in &tenants {
        assert_near(&counts, tenant, 20, 1);
    }
    let counts = claims(&scene, 1, 120).await?;
    for tenant in &tenants {
        assert_near(&counts, tenant, 40, 10);
    }
    Ok(())
}

/// A tenant of thrice the weight gets thrice the share.
pub async fn weights_set_the_shares(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let (heavy, light) = (weighted(&scene, "heavy", 3).await?, weighted(&scene, "light", 1).await?);
    backlog(&scene, &light, 0, 100).await?;
    backlog(&scene, &heavy, 1_000, 300).await?;
    let counts = claims(&scene, 80, 1).await?;
    assert_near(&counts, &heavy, 60, 2);
    assert_near(&counts, &light, 20, 2);
    Ok(())
}

/// A new weight counts from the next claim on.
pub async fn a_new_weight_counts_at_once(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let (first, second) = (weighted(&scene, "a", 1).await?, weighted(&scene, "b", 1).await?);
    backlog(&scene, &first, 0, 200).await?;
    backlog(&scene, &second, 1_000, 200).await?;
    assert_near(&claims(&scene, 40, 1).await?, &first, 20, 1);
    weighted(&scene, "a", 4).await?;
    assert_near(&claims(&scene, 100, 1).await?, &first, 80, 4);
    Ok(())
}

/// What counts is worker time, not the number of jobs.
pub async fn long_jobs_cost_more_than_short_ones(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let (slow, quick) = (scene.tenant("slow").await?, scene.tenant("quick").await?);
    backlog(&scene, &slow, 0, 200).await?;
    backlog(&scene, &quick, 1_000, 200).await?;
    let mut jobs = Vec::new();
    for _ in 0..110 {
        let job = scene.claim_one(at(0)).await?;
        let took = if job.spec.tenant == slow.id { 100_000 } else { 10_000 };
        scene.done(&report_after(&job.lease, success(), at(0), took)).await?;
        jobs.push(job);
    }
    let counts = by_tenant(&jobs);
    assert_near(&counts, &slow, 10, 3);
    scene.healthy(at(0)).await
}

/// A tenant that comes back after a pause has saved nothing up.
pub async fn idleness_saves_nothing_up(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let (busy, late) = (scene.tenant("busy").await?, scene.tenant("late").await?);
    backlog(&scene, &late, 5_000, 1).await?;
    assert_near(&claims(&scene, 1, 10).await?, &late, 1, 0);
    backlog(&scene, &busy, 0, 400).await?;
    assert_near(&claims(&scene, 200, 1).await?, &busy, 200, 0);
    backlog(&scene, &late, 1_000, 100).await?;
    let counts = claims(&scene, 40, 1).await?;
    assert_near(&counts, &late, 20, 2);
    Ok(())
}

/// A tenant that was held back makes nothing up when its pause is lifted.
pub async fn a_pause_saves_nothing_up(stores: &Stores) -> Result<()> {
    let held = TenantSettings { paused: true, ..TenantSettings::default() };
    held_back_saves_nothing_up(stores, &held).await
}

/// A tenant that was kept small makes nothing up when its limit is lifted.
pub async fn a_limit_saves_nothing_up(stores: &Stores) -> Result<()> {
    let small = TenantSettings { max_running: Some(2), ..TenantSettings::default() };
    held_back_saves_nothing_up(stores, &small).await
}

async fn held_back_saves_nothing_up(stores: &Stores, settings: &TenantSettings) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let (free, held) = (scene.tenant("free").await?, scene.tenant_with("held", settings).await?);
    backlog(&scene, &free, 0, 400).await?;
    backlog(&scene, &held, 1_000, 100).await?;
    let counts = claims(&scene, 200, 1).await?;
    assert_near(&counts, &free, 200, 2);
    stores.tenants.put(&held.slug, &TenantSettings::default(), at(0), None).await?;
    let counts = claims(&scene, 40, 1).await?;
    assert_near(&counts, &held, 20, 2);
    scene.healthy(at(0)).await
}

/// Kinds that are pulled are shared as fairly as the engine's jobs.
pub async fn pulled_kinds_are_shared_too(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let (first, second) = (scene.tenant("a").await?, scene.tenant("b").await?);
    let mut drafts = Vec::new();
    for n in 0..100 {
        drafts.push(Draft::new(first.id, n)?.pulled());
    }
    for n in 1_000..1_100 {
        drafts.push(Draft::new(second.id, n)?.pulled());
    }
    scene.put(drafts).await?;
    let route = taskflow_application::ports::Route::Kinds(vec![crate::builders::kind("work")?]);
    let mut jobs = Vec::new();
    for _ in 0..40 {
        let request =
            taskflow_application::ports::ClaimRequest { route: route.clone(), ..scene.request(1, at(0)) };
        jobs.extend(stores.jobs.claim(&request).await?.jobs);
    }
    assert_near(&by_tenant(&jobs), &first, 20, 1);
    Ok(())
}

/// The lag of a queue is how far the lanes that compete in it are apart.
pub async fn the_lag_is_what_lanes_are_apart(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let (first, second) = (scene.tenant("a").await?, weighted(&scene, "b", 2).await?);
    assert_eq!(lag(stores).await?, 0, "nobody waits");
    backlog(&scene, &first, 0, 40).await?;
    assert_eq!(lag(stores).await?, 0, "one tenant alone lags behind nobody");
    backlog(&scene, &second, 1_000, 40).await?;
    let one = fair::UNKNOWN_COST_US.unsigned_abs();
    assert_eq!(claims(&scene, 1, 10).await?.len(), 1, "a claim gives one tenant its turn");
    let turn = u64::from(fair::QUANTUM) * one;
    let lead = lag(stores).await?;
    assert!([turn, turn / 2].contains(&lead), "a turn of one, by its weight: {lead}");
    claims(&scene, 1, 10).await?;
    assert_eq!(lag(stores).await?, turn / 2, "the turn of the other counts half or double");
    claims(&scene, 2, 40).await?;
    assert_eq!(lag(stores).await?, 0, "nobody waits any more");
    Ok(())
}

/// The lag keeps to the bound of `docs/fairness.md`, after every claim and every end,
/// while three tenants of different weights wait and jobs take what they like.
pub async fn the_lag_keeps_to_its_bound(stores: &Stores) -> Result<()> {
    const SLOTS: u32 = 4;
    const LONGEST_US: i64 = 50_000;
    let scene = Scene::new(stores).await?;
    for (n, weight) in [1, 2, 5].into_iter().enumerate() {
        let tenant = weighted(&scene, &format!("t-{n}"), weight).await?;
        backlog(&scene, &tenant, n as u32 * 1_000, 400).await?;
    }
    // Of the statement, with the size of a claim in place of the quantum: the lightest
    // lanes are the furthest apart, and no charge or correction is longer than a job.
    let bound = 5 * u64::from(SLOTS) * LONGEST_US.unsigned_abs();
    let (mut chance, mut served) = (7_u64, 0);
    for _ in 0..120 {
        let jobs = scene.claim(SLOTS, at(0)).await?;
        assert_eq!(jobs.len(), SLOTS as usize);
        let ahead = lag(stores).await?;
        assert!(ahead <= bound, "{ahead} us after a claim, and the bound is {bound} us");
        let mut ends = Vec::new();
        for job in &jobs {
            chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let took = 1_000 + (chance >> 33) as i64 % (LONGEST_US - 1_000);
            served += took;
            ends.push(report_after(&job.lease, success(), at(0), took));
        }
        stores.jobs.commit(&ends).await?;
        let ahead = lag(stores).await?;
        assert!(ahead <= bound, "{ahead} us after the ends, and the bound is {bound} us");
    }
    assert!(served.unsigned_abs() > 8 * bound, "an unfair store would have gone further");
    Ok(())
}

async fn lag(stores: &Stores) -> Result<u64> {
    let depths = stores.queues.depths().await?;
    Ok(depths.iter().filter(|depth| depth.name.as_str() == "default").map(|depth| depth.lag_us).sum())
}
