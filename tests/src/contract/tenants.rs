//! Tenants: their settings, and the wall between them.

use anyhow::{Context as _, Result};
use taskflow_application::ports::{Inserted, JobFilter, Page, Stores};
use taskflow_domain::queue::Rate;
use taskflow_domain::tenant::TenantSettings;
use taskflow_domain::{Json, TenantSlug};

use crate::builders::{Draft, Scene, at, job_id, slug, success};

/// The tenant `default` exists from the start, with default settings.
pub async fn the_default_tenant_is_there(stores: &Stores) -> Result<()> {
    let tenant = stores.tenants.get(&TenantSlug::fallback()).await?.context("the tenant")?;
    assert_eq!((tenant.slug, tenant.settings), (TenantSlug::fallback(), TenantSettings::default()));
    Ok(())
}

/// A tenant is made once.
pub async fn a_tenant_is_made_once(stores: &Stores) -> Result<()> {
    let name = slug("acme")?;
    assert_eq!(stores.tenants.get(&name).await?, None);
    let made = stores.tenants.ensure(&name, at(5)).await?;
    assert_eq!((&made.slug, &made.settings), (&name, &TenantSettings::default()));
    assert_eq!((made.created_at, made.updated_at), (at(5), at(5)));
    assert_eq!(stores.tenants.ensure(&name, at(9)).await?, made);
    assert_eq!(stores.tenants.get(&name).await?, Some(made.clone()));
    let other = stores.tenants.ensure(&slug("other")?, at(9)).await?;
    assert_ne!(other.id, made.id);
    Ok(())
}

/// Settings come back as they were set; the tenant remains the same.
pub async fn settings_come_back(stores: &Stores) -> Result<()> {
    let name = slug("acme")?;
    let settings = TenantSettings {
        attributes: Json::from_valid("{\"plan\": \"pro\",  \"n\":1.0}"),
        weight: 1_000,
        max_running: Some(3),
        max_backlog: Some(0),
        request_rate: Some(Rate { limit: 7, period_ms: 1_500 }),
        paused: true,
        suspended: true,
    };
    let made = stores.tenants.put(&name, &settings, at(5), None).await?;
    assert_eq!((&made.settings, made.created_at, made.updated_at), (&settings, at(5), at(5)));
    let changed = stores.tenants.put(&name, &TenantSettings::default(), at(9), None).await?;
    assert_eq!((changed.id, changed.created_at, changed.updated_at), (made.id, at(5), at(9)));
    assert_eq!(changed.settings, TenantSettings::default());
    assert_eq!(stores.tenants.get(&name).await?, Some(changed));
    Ok(())
}

/// Tenants are listed page by page in the order of their slugs.
pub async fn tenants_are_listed_in_pages(stores: &Stores) -> Result<()> {
    for name in ["b", "zz", "a", "c-1"] {
        stores.tenants.ensure(&slug(name)?, at(0)).await?;
    }
    let mut names = Vec::new();
    let mut after = None;
    loop {
        let page = stores.tenants.list(after.as_ref(), 2).await?;
        assert!(page.len() <= 2);
        let Some(last) = page.last() else { break };
        after = Some(last.slug.clone());
        names.extend(page.iter().map(|tenant| tenant.slug.to_string()));
    }
    assert_eq!(names, ["a", "b", "c-1", "default", "zz"]);
    Ok(())
}

/// A suspended tenant has room for no job; what it has stands still.
pub async fn a_suspended_tenant_submits_nothing(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    scene.put([scene.job(1)?]).await?;
    let held =
        TenantSettings { paused: true, suspended: true, max_backlog: Some(9), ..TenantSettings::default() };
    stores.tenants.put(&scene.tenant.slug, &held, at(1), None).await?;
    let refused = stores.jobs.insert(vec![scene.job(2)?.0], false).await?;
    assert_eq!(refused, [Inserted::BacklogFull(0)]);
    assert_eq!(scene.claim(10, at(2)).await?.len(), 0);
    stores.tenants.put(&scene.tenant.slug, &TenantSettings::default(), at(3), None).await?;
    assert_eq!(stores.jobs.insert(vec![scene.job(2)?.0], false).await?, [Inserted::New]);
    assert_eq!(scene.claim(10, at(4)).await?.len(), 2);
    Ok(())
}

/// To another tenant a job does not exist, whatever is asked.
pub async fn a_stranger_sees_nothing(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let stranger = scene.tenant("stranger").await?;
    scene.put([scene.job(1)?.label("a", "1"), scene.job(2)?.label("a", "1"), scene.job(3)?]).await?;
    let jobs = scene.claim(2, at(1)).await?;
    scene.settle(&jobs[0], success(), at(2)).await?;
    let ids = [1, 2, 3].map(job_id);
    let reader = &stores.reader;
    for id in ids {
        assert_eq!(reader.get(stranger.id, id, at(2)).await?, None);
        assert_eq!(reader.attempts(stranger.id, id, 0, 10).await?, None);
        assert_eq!(reader.events(stranger.id, id, 0, 10).await?, None);
    }
    assert_eq!(reader.get_many(stranger.id, &ids, at(2)).await?, []);
    let page = Page { before: None, limit: 10 };
    let labelled = JobFilter { labels: [("a".into(), "1".into())].into(), ..JobFilter::default() };
    for filter in [JobFilter::default(), labelled] {
        assert_eq!(reader.list(stranger.id, &filter, page, at(2)).await?, []);
        assert_eq!(reader.ids(stranger.id, &filter, page, at(2)).await?, []);
        assert_eq!(reader.count(stranger.id, &filter, at(2)).await?, 0);
    }
    Ok(())
}

/// Two tenants may have jobs of one id.
pub async fn ids_belong_to_their_tenant(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let other = scene.tenant("other").await?;
    scene.put([scene.job(1)?.label("a", "1"), Draft::new(other.id, 1)?.queue("q")?.label("a", "2")]).await?;
    let jobs = scene.claim(10, at(1)).await?;
    assert_eq!(jobs.len(), 2);
    let own = jobs.iter().find(|job| job.spec.tenant == scene.tenant.id).context("the own job")?;
    scene.settle(own, success(), at(2)).await?;
    let theirs = stores.reader.get(other.id, job_id(1), at(2)).await?.context("the other job")?;
    assert_eq!((theirs.standing.state(), theirs.seq), (taskflow_domain::JobState::Running, 2));
    assert_eq!(scene.consistent(job_id(1), at(2)).await?.seq, 3);
    Ok(())
}
