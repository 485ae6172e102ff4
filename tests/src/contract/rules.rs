//! Rules as they are kept.

use anyhow::{Context as _, Result};
use taskflow_application::ports::{RulePage, RulePut, SealedSecret, Stores};
use taskflow_domain::{Actor, JobState, RuleId, TenantId};

use crate::builders::{Scene, at, success};
use crate::rules::{Draft, rule_id};

/// A rule comes back as it was put, to its owner only.
pub async fn a_rule_comes_back(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let rule = Draft::cron(scene.tenant.id, 1, "0 7 * * *").next(at(5_000)).0;
    assert_eq!(stores.rules.put(&rule, None, &Actor::api(), None).await?, RulePut::Done);
    assert_eq!(stores.rules.get(scene.tenant.id, rule.id).await?, Some(rule.clone()));
    let stranger = scene.tenant("stranger").await?;
    assert_eq!(stores.rules.get(stranger.id, rule.id).await?, None);
    assert!(stores.rules.list(stranger.id, RulePage { after: None, limit: 9 }).await?.is_empty());
    assert!(!stores.rules.delete(stranger.id, rule.id, at(1), None).await?);
    assert!(stores.rules.delete(scene.tenant.id, rule.id, at(1), None).await?);
    assert!(!stores.rules.delete(scene.tenant.id, rule.id, at(1), None).await?);
    assert_eq!(stores.rules.get(scene.tenant.id, rule.id).await?, None);
    assert!(stores.rules.due(at(9_000), 9, 0.0).await?.rules.is_empty(), "a deleted rule is never due");
    assert_eq!(stores.rules.put(&rule, None, &Actor::api(), None).await?, RulePut::Conflict);
    Ok(())
}

/// A change stands on the revision before it.
pub async fn a_change_names_its_revision(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let mut rule = Draft::cron(scene.tenant.id, 1, "0 7 * * *").0;
    stores.rules.put(&rule, None, &Actor::api(), None).await?;
    assert_eq!(stores.rules.put(&rule, None, &Actor::api(), None).await?, RulePut::Conflict);
    rule.revision = 2;
    rule.document.name = "renamed".into();
    assert_eq!(stores.rules.put(&rule, None, &Actor::api(), None).await?, RulePut::Done);
    assert_eq!(stores.rules.put(&rule, None, &Actor::api(), None).await?, RulePut::Conflict);
    rule.revision = 4;
    assert_eq!(stores.rules.put(&rule, None, &Actor::api(), None).await?, RulePut::Conflict);
    let kept = stores.rules.get(scene.tenant.id, rule.id).await?.context("the rule")?;
    assert_eq!((kept.revision, kept.document.name.as_str()), (2, "renamed"));
    Ok(())
}

/// Rules are listed by their ids, in pages.
pub async fn rules_are_listed_in_pages(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    for n in [3, 1, 2] {
        let rule = Draft::manual(scene.tenant.id, n).0;
        stores.rules.put(&rule, None, &Actor::api(), None).await?;
    }
    let list = |after, limit| stores.rules.list(scene.tenant.id, RulePage { after, limit });
    let ids = |rules: Vec<taskflow_domain::Rule>| rules.iter().map(|rule| rule.id).collect::<Vec<_>>();
    assert_eq!(ids(list(None, 2).await?), [rule_id(1), rule_id(2)]);
    assert_eq!(ids(list(Some(rule_id(2)), 2).await?), [rule_id(3)]);
    Ok(())
}

/// The rules of all tenants are listed by their ids in pages, and those of one.
pub async fn rules_of_all_tenants_are_listed(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let other = scene.tenant("other").await?;
    for (tenant, n) in [(other.id, 3), (scene.tenant.id, 1), (other.id, 2), (scene.tenant.id, 4)] {
        let rule = Draft::cron(tenant, n, "0 7 * * *").next(at(5_000)).0;
        stores.rules.put(&rule, None, &Actor::api(), None).await?;
    }
    stores.rules.delete(scene.tenant.id, rule_id(4), at(1), None).await?;
    let lines = async |tenant, after, limit| -> Result<Vec<(String, RuleId)>> {
        let lines = stores.rules.lines(tenant, RulePage { after, limit }).await?;
        Ok(lines.into_iter().map(|line| (line.tenant.as_str().to_owned(), line.id)).collect())
    };
    let own = || (scene.tenant.slug.as_str().to_owned(), rule_id(1));
    let others = |n| ("other".to_owned(), rule_id(n));
    assert_eq!(lines(None, None, 2).await?, [own(), others(2)]);
    assert_eq!(lines(None, Some(rule_id(2)), 2).await?, [others(3)]);
    assert_eq!(lines(Some(other.id), None, 9).await?, [others(2), others(3)]);
    assert_eq!(lines(Some(other.id), Some(rule_id(2)), 9).await?, [others(3)]);
    let rule = stores.rules.get(other.id, rule_id(2)).await?.context("the rule")?;
    let line = stores.rules.lines(Some(other.id), RulePage { after: None, limit: 1 }).await?.remove(0);
    assert_eq!((line.name, line.trigger), (rule.document.name.clone(), rule.document.trigger.kind()));
    assert_eq!((line.enabled, line.mode, line.revision), (rule.enabled, rule.mode, rule.revision));
    assert_eq!((line.next_at, line.queued_at, line.health), (rule.next_at, rule.queued_at, rule.health));
    Ok(())
}

/// A webhook key leads to one rule, and is free again when that is gone.
pub async fn a_webhook_key_has_one_rule(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let (first, second) =
        (Draft::webhook(scene.tenant.id, 1, "key-12345"), Draft::webhook(scene.tenant.id, 2, "key-12345"));
    assert_eq!(stores.rules.put(&first.0, None, &Actor::api(), None).await?, RulePut::Done);
    assert_eq!(stores.rules.put(&second.0, None, &Actor::api(), None).await?, RulePut::KeyTaken);
    let stranger = Draft::webhook(scene.tenant("stranger").await?.id, 3, "key-12345").0;
    assert_eq!(stores.rules.put(&stranger, None, &Actor::api(), None).await?, RulePut::KeyElsewhere);
    assert_eq!(stores.rules.by_webhook_key("key-12345").await?, Some(first.0.clone()));
    assert_eq!(stores.rules.by_webhook_key("key-54321").await?, None);
    stores.rules.delete(scene.tenant.id, first.0.id, at(1), None).await?;
    assert_eq!(stores.rules.put(&second.0, None, &Actor::api(), None).await?, RulePut::Done);
    Ok(())
}

/// Secrets are kept by slot until others take their places or the rule goes.
pub async fn secrets_are_kept_apart(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let mut rule = Draft::webhook(scene.tenant.id, 1, "key-12345").0;
    let secret =
        |slot, byte| SealedSecret { slot, sealed: vec![byte; 40], expires_at: (slot == 1).then_some(at(9)) };
    let secrets = [secret(0, 1), secret(1, 2)];
    stores.rules.put(&rule, Some(&secrets), &Actor::api(), None).await?;
    assert_eq!(stores.rules.secrets(scene.tenant.id, rule.id).await?, secrets);
    rule.revision = 2;
    stores.rules.put(&rule, None, &Actor::api(), None).await?;
    assert_eq!(stores.rules.secrets(scene.tenant.id, rule.id).await?, secrets, "unless new ones come");
    rule.revision = 3;
    stores.rules.put(&rule, Some(&[secret(0, 3)]), &Actor::api(), None).await?;
    assert_eq!(stores.rules.secrets(scene.tenant.id, rule.id).await?, [secret(0, 3)]);
    stores.rules.delete(scene.tenant.id, rule.id, at(1), None).await?;
    assert!(stores.rules.secrets(scene.tenant.id, rule.id).await?.is_empty());
    Ok(())
}

/// What is due comes in the order of its time, and the next time is told.
pub async fn rules_become_due(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    for (n, ms) in [(1, 300), (2, 100), (3, 200), (4, 900)] {
        let rule = Draft::cron(scene.tenant.id, n, "* * * * *").next(at(ms)).0;
        stores.rules.put(&rule, None, &Actor::api(), None).await?;
    }
    let mut off = Draft::cron(scene.tenant.id, 5, "* * * * *").next(at(50)).0;
    off.enabled = false;
    stores.rules.put(&off, None, &Actor::api(), None).await?;
    let due = stores.rules.due(at(99), 10, 0.5).await?;
    assert_eq!((due.rules.len(), due.next), (0, Some(at(100))));
    let due = stores.rules.due(at(300), 2, 0.0).await?;
    let ids: Vec<_> = due.rules.iter().map(|rule| rule.id).collect();
    assert_eq!((ids, due.next), (vec![rule_id(2), rule_id(3)], Some(at(300))));
    // Who begins elsewhere gets others.
    let due = stores.rules.due(at(300), 2, 0.99).await?;
    let ids: Vec<_> = due.rules.iter().map(|rule| rule.id).collect();
    assert_eq!((ids, due.next), (vec![rule_id(3), rule_id(1)], Some(at(300))));
    let due = stores.rules.due(at(300), 10, 0.9).await?;
    assert_eq!((due.rules.len(), due.next), (3, Some(at(900))));
    Ok(())
}

/// The end of a job enters the outbox with its commit, where a rule of its
/// tenant listens to such ends, and nowhere else.
pub async fn only_watched_ends_are_told(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let mut rule = Draft::event(scene.tenant.id, 1, "job.succeeded").0;
    stores.rules.put(&rule, None, &Actor::api(), None).await?;
    let stranger = scene.tenant("stranger").await?;
    scene.put([scene.job(1)?, crate::builders::Draft::new(stranger.id, 2)?]).await?;
    for job in scene.claim(2, at(0)).await? {
        scene.settle(&job, success(), at(1)).await?;
    }
    let pending = stores.events.pending(at(2), at(100), TenantId(0), 10).await?;
    let [entry] = pending[..] else { anyhow::bail!("one end is told: {pending:?}") };
    assert_eq!((entry.tenant, entry.at), (scene.tenant.id, at(1)));
    let told = taskflow_application::ports::Happened::Job {
        job: crate::builders::job_id(1),
        seq: 3,
        state: JobState::Succeeded,
    };
    assert_eq!(entry.what, told);
    assert!(
        stores.events.pending(at(99), at(200), TenantId(0), 10).await?.is_empty(),
        "it is kept from others"
    );
    assert_eq!(stores.events.pending(at(100), at(200), TenantId(0), 10).await?.len(), 1, "for a while");
    // A job that was cancelled, and one that ended when nobody listened any more.
    let cancelled = scene.put_one(scene.job(3)?).await?;
    let job = scene.look(cancelled, at(3)).await?;
    let change = taskflow_domain::change::cancel(&job, Actor::api(), None, at(3))?.context("a change")?;
    scene.done(&change).await?;
    rule.revision = 2;
    rule.enabled = false;
    stores.rules.put(&rule, None, &Actor::api(), None).await?;
    scene.put_one(scene.job(4)?).await?;
    let job = scene.claim_one(at(4)).await?;
    scene.settle(&job, success(), at(5)).await?;
    assert_eq!(
        stores.events.pending(at(300), at(400), TenantId(0), 10).await?.len(),
        1,
        "nothing more was told"
    );
    // Whoever listens to cancels hears of them, by whatever way they come.
    let rule = Draft::event(scene.tenant.id, 2, "job.*").0;
    stores.rules.put(&rule, None, &Actor::api(), None).await?;
    let waiting = scene.put_one(scene.job(5)?.scheduled(at(9_000))).await?;
    let job = scene.look(waiting, at(6)).await?;
    let change = taskflow_domain::change::cancel(&job, Actor::api(), None, at(6))?.context("a change")?;
    scene.done(&change).await?;
    assert_eq!(stores.events.pending(at(500), at(600), TenantId(0), 10).await?.len(), 2);
    Ok(())
}
