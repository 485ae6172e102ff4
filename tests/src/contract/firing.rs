//! Firing: the claim, the firings, their jobs and what is counted, together.

use anyhow::{Context as _, Result};
use taskflow_application::ports::{
    FanOut, Fire, FireClaim, Fired, FiringPage, Queued, Stores, Wait, Waiting,
};
use taskflow_domain::rule::{Cause, TriggerKind, reason};
use taskflow_domain::tenant::TenantSettings;
use taskflow_domain::{Actor, CorrelationId, FanOutId, FiringOutcome, Rule, TenantId, TenantSlug};

use crate::builders::{Draft as Job, Scene, at, job_id, success};
use crate::rules::{Draft, event, firing, rule_id};

fn occurrence(rule: &Rule, before: i64, after: i64) -> FireClaim {
    FireClaim::Occurrence {
        tenant: rule.tenant,
        rule: rule.id,
        revision: rule.revision,
        before: at(before),
        after: Some(at(after)),
        queued: Queued::Keep,
    }
}

fn fire(claim: FireClaim, firings: Vec<taskflow_application::ports::NewFiring>) -> Fire {
    Fire { claim, firings, fan_outs: Vec::new() }
}

async fn cron(stores: &Stores, tenant: TenantId, n: u32) -> Result<Rule> {
    let rule = Draft::cron(tenant, n, "* * * * *").next(at(100)).0;
    stores.rules.put(&rule, None, &Actor::api(), None).await?;
    Ok(rule)
}

/// Of two who fire one occurrence one does; with it go its jobs and the counts.
pub async fn an_occurrence_is_fired_once(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let rule = cron(stores, scene.tenant.id, 1).await?;
    let attempt = |n: u32| -> Result<Fire> {
        let mut new = firing(&rule, n, FiringOutcome::Fired, Some("at:100"), at(100));
        let mut job = scene.job(n + 50)?.0;
        (job.spec.rule_id, job.spec.firing_id) = (Some(rule.id), Some(new.firing.id));
        new.firing.jobs = vec![job.spec.id];
        new.jobs.push(job);
        Ok(fire(occurrence(&rule, 100, 200), vec![new]))
    };
    let first = stores.rules.fire(vec![attempt(1)?]).await?;
    let [Fired::Done(firings)] = &first[..] else { anyhow::bail!("the first one fires: {first:?}") };
    assert_eq!(firings.len(), 1);
    assert_eq!(stores.rules.fire(vec![attempt(2)?]).await?, [Fired::Lost]);
    let kept = stores.rules.get(scene.tenant.id, rule.id).await?.context("the rule")?;
    assert_eq!((kept.next_at, kept.jobs_made), (Some(at(200)), 1));
    assert_eq!((kept.health.last_at, kept.health.last_outcome), (Some(at(100)), Some(FiringOutcome::Fired)));
    let page = FiringPage { limit: 10, ..FiringPage::default() };
    assert_eq!(stores.rules.firings(scene.tenant.id, rule.id, page).await?, *firings);
    assert_eq!(stores.rules.firing(scene.tenant.id, firings[0].id).await?, Some(firings[0].clone()));
    assert_eq!(stores.rules.firings_of(rule.id, "at:100").await?, *firings);
    let cause = CorrelationId(job_id(1).0);
    assert_eq!(stores.rules.firings_by_cause(scene.tenant.id, cause, 10).await?, *firings);
    let counts = stores.rules.counts(scene.tenant.id, rule.id).await?;
    assert_eq!((counts.len(), counts[0].outcome, counts[0].count), (1, FiringOutcome::Fired, 1));
    assert_eq!(scene.claim_ids(10, at(100)).await?, [job_id(51)], "its jobs are due at once");
    scene.healthy(at(100)).await
}

/// A rule that was changed, switched off or moved on is not fired.
pub async fn a_claim_that_does_not_hold_changes_nothing(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let mut rule = cron(stores, scene.tenant.id, 1).await?;
    let new = |n| vec![firing(&rule, n, FiringOutcome::Fired, None, at(100))];
    let lost = vec![
        fire(occurrence(&rule, 99, 200), new(1)),
        fire(FireClaim::Waiting { tenant: rule.tenant, rule: rule.id, of: None, at: at(100) }, new(2)),
        fire(FireClaim::Pending(77), new(3)),
        fire(
            FireClaim::FanOut { id: FanOutId(job_id(1).0), before: None, after: None, waits: Vec::new() },
            new(4),
        ),
    ];
    assert_eq!(stores.rules.fire(lost).await?, vec![Fired::Lost; 4]);
    let stale = occurrence(&rule, 100, 200);
    rule.revision = 2;
    rule.enabled = false;
    stores.rules.put(&rule, None, &Actor::api(), None).await?;
    let now = occurrence(&rule, 100, 200);
    let new = |n| vec![firing(&rule, n, FiringOutcome::Fired, None, at(100))];
    assert_eq!(stores.rules.fire(vec![fire(stale, new(5)), fire(now, new(6))]).await?, vec![Fired::Lost; 2]);
    let page = FiringPage { limit: 10, ..FiringPage::default() };
    assert!(stores.rules.firings(scene.tenant.id, rule.id, page).await?.is_empty());
    assert!(stores.rules.counts(scene.tenant.id, rule.id).await?.is_empty());
    Ok(())
}

/// For one key a rule fires once for each tenant, whatever the claim.
pub async fn a_key_counts_once_for_each_tenant(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let rule = cron(stores, scene.tenant.id, 1).await?;
    let other = scene.tenant("other").await?;
    let mut foreign = firing(&rule, 3, FiringOutcome::Fired, Some("k"), at(1));
    foreign.firing.tenant = other.id;
    let first =
        fire(FireClaim::Free, vec![firing(&rule, 1, FiringOutcome::Fired, Some("k"), at(1)), foreign]);
    let again = fire(FireClaim::Free, vec![firing(&rule, 2, FiringOutcome::Fired, Some("k"), at(2))]);
    let fired = stores.rules.fire(vec![first]).await?;
    assert!(matches!(&fired[..], [Fired::Done(firings)] if firings.len() == 2), "{fired:?}");
    assert_eq!(stores.rules.fire(vec![again]).await?, [Fired::Done(Vec::new())]);
    assert_eq!(stores.rules.firings_of(rule.id, "k").await?.len(), 2);
    assert!(stores.rules.firing(scene.tenant.id, taskflow_domain::FiringId(job_id(3).0)).await?.is_none());
    Ok(())
}

/// What a tenant's limit or a known key makes of a firing is its outcome.
pub async fn jobs_that_cannot_be_made_change_the_outcome(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let rule = cron(stores, scene.tenant.id, 1).await?;
    let settings = TenantSettings { max_backlog: Some(1), ..TenantSettings::default() };
    let full = scene.tenant_with("full", &settings).await?;
    let with = |n: u32, tenant: TenantId, jobs: Vec<Job>| {
        let mut new = firing(&rule, n, FiringOutcome::Fired, None, at(1));
        new.firing.tenant = tenant;
        new.jobs = jobs.into_iter().map(|job| job.0).collect();
        new
    };
    let keyed = |n: u32, print: u8| -> Result<Job> {
        let mut job = scene.job(n)?;
        job.0.spec.idempotency_key = Some("usage-1".into());
        job.0.fingerprint = [print; 32];
        Ok(job)
    };
    let blocked = with(1, full.id, vec![Job::new(full.id, 11)?, Job::new(full.id, 12)?]);
    let fired = with(2, scene.tenant.id, vec![keyed(21, 1)?]);
    let double = with(3, scene.tenant.id, vec![keyed(31, 1)?]);
    let reused = with(4, scene.tenant.id, vec![scene.job(40)?, keyed(41, 2)?]);
    let mut outcomes = Vec::new();
    for new in [blocked, fired, double, reused] {
        let done = stores.rules.fire(vec![fire(FireClaim::Free, vec![new])]).await?;
        let [Fired::Done(firings)] = &done[..] else { anyhow::bail!("{done:?}") };
        outcomes.push((firings[0].outcome, firings[0].reason.clone(), firings[0].jobs.clone()));
    }
    let why = |text: &str| Some(text.to_owned());
    assert_eq!(outcomes[0], (FiringOutcome::Blocked, why(reason::BACKLOG_CAP), Vec::new()));
    assert_eq!(outcomes[1], (FiringOutcome::Fired, None, vec![job_id(21)]));
    assert_eq!(outcomes[2], (FiringOutcome::Skipped, why(reason::DUPLICATE), vec![job_id(21)]));
    assert_eq!(outcomes[3], (FiringOutcome::Error, why(reason::KEY_REUSED), Vec::new()));
    assert_eq!(scene.claim_ids(10, at(1)).await?, [job_id(21)], "all jobs of a firing, or none");
    let kept = stores.rules.get(scene.tenant.id, rule.id).await?.context("the rule")?;
    assert_eq!((kept.jobs_made, kept.health.streak, kept.health.failing_since), (1, 1, Some(at(1))));
    scene.healthy(at(1)).await
}

/// A delivery is kept with what comes of it; of one source one id counts once.
pub async fn a_delivery_counts_once(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let rule = Draft::webhook(scene.tenant.id, 1, "key-12345").0;
    stores.rules.put(&rule, None, &Actor::api(), None).await?;
    let deliver = |n: u32, id: &str| {
        let event = event(scene.tenant.id, n, "webhook", Some(id), at(1));
        let claim = FireClaim::Delivery(Box::new(event));
        stores.rules.fire(vec![fire(claim, vec![firing(&rule, n, FiringOutcome::Fired, None, at(1))])])
    };
    assert!(matches!(&deliver(1, "a").await?[..], [Fired::Done(_)]));
    assert_eq!(deliver(2, "a").await?, [Fired::Lost]);
    assert!(matches!(&deliver(3, "b").await?[..], [Fired::Done(_)]));
    assert!(stores.events.get(scene.tenant.id, crate::rules::event_id(1)).await?.is_some());
    assert!(stores.events.get(scene.tenant.id, crate::rules::event_id(2)).await?.is_none());
    assert!(
        stores.events.pending(at(9), at(10), TenantId(0), 9).await?.is_empty(),
        "nobody else is to see it"
    );
    Ok(())
}

/// Fan-out number `n` of a rule.
fn fan_out_of(rule: &Rule, n: u32, ms: i64) -> FanOut {
    FanOut {
        id: FanOutId(job_id(n).0),
        rule_tenant: rule.tenant,
        rule: rule.id,
        trigger: TriggerKind::Cron,
        cause: Cause { scheduled_at: Some(at(ms)), ..Cause::default() },
        key: Some(format!("at:{ms}")),
        at: at(ms),
        depth: 0,
        correlation_id: CorrelationId(job_id(n).0),
        after: None,
    }
}

/// A step of fan-out number `n`.
fn step(n: u32, before: Option<TenantSlug>, after: Option<TenantSlug>, waits: Vec<Wait>) -> Fire {
    fire(FireClaim::FanOut { id: FanOutId(job_id(n).0), before, after, waits }, Vec::new())
}

/// Of one rule, the next occurrence is taken when the one before has been told
/// to all tenants; events and hands wait for nobody.
pub async fn occurrences_come_one_after_the_other(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let (rule, other) = (cron(stores, scene.tenant.id, 1).await?, cron(stores, scene.tenant.id, 2).await?);
    let mut by_hand = fan_out_of(&rule, 3, 100);
    (by_hand.trigger, by_hand.cause, by_hand.key) = (TriggerKind::Manual, Cause::default(), None);
    let begun =
        vec![fan_out_of(&rule, 1, 100), fan_out_of(&rule, 2, 200), by_hand, fan_out_of(&other, 4, 100)];
    stores.rules.fire(vec![Fire { claim: FireClaim::Free, firings: Vec::new(), fan_outs: begun }]).await?;
    let ids = |open: Vec<FanOut>| open.into_iter().map(|open| open.id.0).collect::<Vec<_>>();
    let of = |numbers: &[u32]| numbers.iter().map(|n| job_id(*n).0).collect::<Vec<_>>();
    let mut open = ids(stores.rules.fan_outs(at(100), at(900), 10).await?);
    open.sort_unstable();
    assert_eq!(open, of(&[1, 3, 4]));
    assert!(stores.rules.fan_outs(at(200), at(900), 10).await?.is_empty());
    stores.rules.fire(vec![step(1, None, None, Vec::new())]).await?;
    assert_eq!(ids(stores.rules.fan_outs(at(200), at(900), 10).await?), of(&[2]));
    Ok(())
}

/// What waits of a rule that acts for many is released once, for each tenant by
/// itself, and is forgotten with the trigger.
pub async fn what_waits_is_released(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let other = scene.tenant("other").await?;
    let mut rule = cron(stores, scene.tenant.id, 1).await?;
    let wait = |tenant| Wait { rule_tenant: rule.tenant, rule: rule.id, tenant, at: at(100) };
    let waits = vec![wait(scene.tenant.id), wait(other.id)];
    assert_eq!(stores.rules.waiting(9).await?, Waiting::default());
    // The previous instance of one of them runs.
    let mut new = firing(&rule, 1, FiringOutcome::Fired, None, at(1));
    new.jobs = vec![scene.job(10)?.0];
    let begun = Fire {
        claim: FireClaim::Free,
        firings: vec![new],
        fan_outs: vec![fan_out_of(&rule, 1, 100), fan_out_of(&rule, 2, 200)],
    };
    stores.rules.fire(vec![begun]).await?;
    let lost = step(1, Some(crate::builders::slug("m")?), None, waits.clone());
    assert_eq!(stores.rules.fire(vec![lost]).await?, [Fired::Lost]);
    assert!(!stores.rules.waiting(9).await?.any, "what is lost lets nobody wait");
    stores.rules.fire(vec![step(1, None, None, waits.clone())]).await?;
    let later: Vec<_> = waits.iter().map(|wait| Wait { at: at(200), ..*wait }).collect();
    stores.rules.fire(vec![step(2, None, None, later)]).await?;
    let both = [scene.tenant.id, other.id, TenantId(77)];
    assert_eq!(stores.rules.waits(rule.id, &both).await?.len(), 2);
    let ready = |waiting: Waiting| waiting.ready.into_iter().map(|one| (one.of, one.at)).collect::<Vec<_>>();
    assert_eq!(ready(stores.rules.waiting(9).await?), [(Some(other.id), at(100))], "the first stays");
    let release = |of, ms| {
        let claim = FireClaim::Waiting { tenant: rule.tenant, rule: rule.id, of: Some(of), at: at(ms) };
        stores.rules.fire(vec![fire(claim, Vec::new())])
    };
    assert_eq!(release(other.id, 200).await?, [Fired::Lost]);
    assert_eq!(release(other.id, 100).await?, [Fired::Done(Vec::new())]);
    assert_eq!(release(other.id, 100).await?, [Fired::Lost]);
    let left = stores.rules.waiting(9).await?;
    assert!(left.any && left.ready.is_empty(), "the other one waits for its own: {left:?}");
    for job in scene.claim(1, at(2)).await? {
        scene.settle(&job, success(), at(3)).await?;
    }
    assert_eq!(ready(stores.rules.waiting(9).await?), [(Some(scene.tenant.id), at(100))]);
    // Another name changes nothing of it, another trigger does.
    (rule.revision, rule.document.name) = (2, "renamed".into());
    stores.rules.put(&rule, None, &Actor::api(), None).await?;
    assert!(stores.rules.waiting(9).await?.any);
    let mut changed = Draft::cron(scene.tenant.id, 1, "0 * * * *").next(at(900)).0;
    changed.revision = 3;
    stores.rules.put(&changed, None, &Actor::api(), None).await?;
    assert_eq!(stores.rules.waiting(9).await?, Waiting::default());
    Ok(())
}

/// A fan-out goes on from where it stands, and ends once.
pub async fn a_fan_out_goes_on(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let rule = cron(stores, scene.tenant.id, 1).await?;
    let fan_out = |n: u32| FanOut { key: Some("at:100".into()), ..fan_out_of(&rule, n, 100) };
    for n in [1, 2] {
        let fan_outs = vec![fan_out(n)];
        stores.rules.fire(vec![Fire { claim: FireClaim::Free, firings: Vec::new(), fan_outs }]).await?;
    }
    let open = stores.rules.fan_outs(at(100), at(200), 10).await?;
    assert_eq!(open, [fan_out(1)], "one for each key");
    assert!(stores.rules.fan_outs(at(199), at(300), 10).await?.is_empty(), "it is kept from others");
    assert_eq!(stores.rules.fan_outs(at(200), at(300), 10).await?.len(), 1, "for a while");
    let middle = Some(crate::builders::slug("m")?);
    assert_eq!(
        stores.rules.fire(vec![step(1, None, middle.clone(), Vec::new())]).await?,
        [Fired::Done(Vec::new())]
    );
    assert_eq!(stores.rules.fire(vec![step(1, None, middle.clone(), Vec::new())]).await?, [Fired::Lost]);
    let open = stores.rules.fan_outs(at(201), at(301), 10).await?;
    assert_eq!(open.first().and_then(|open| open.after.clone()), middle, "a step lets go of it");
    assert_eq!(
        stores.rules.fire(vec![step(1, middle.clone(), None, Vec::new())]).await?,
        [Fired::Done(Vec::new())]
    );
    assert_eq!(stores.rules.fire(vec![step(1, middle, None, Vec::new())]).await?, [Fired::Lost]);
    assert!(stores.rules.fan_outs(at(999), at(1_000), 10).await?.is_empty());
    Ok(())
}

/// What runs of a rule for a tenant are the unfinished jobs of its last firing.
pub async fn unfinished_jobs_are_those_of_the_last_firing(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let rule = cron(stores, scene.tenant.id, 1).await?;
    let with = |n: u32| -> Result<Fire> {
        let mut new = firing(&rule, n, FiringOutcome::Fired, None, at(1));
        new.jobs = vec![scene.job(10 * n)?.0, scene.job(10 * n + 1)?.0];
        Ok(fire(FireClaim::Free, vec![new]))
    };
    let of = [(rule.id, scene.tenant.id), (rule_id(9), scene.tenant.id)];
    assert_eq!(stores.rules.unfinished(&of).await?, [vec![], vec![]]);
    stores.rules.fire(vec![with(1)?]).await?;
    stores.rules.fire(vec![with(2)?]).await?;
    let skipped = fire(FireClaim::Free, vec![firing(&rule, 3, FiringOutcome::Skipped, None, at(1))]);
    stores.rules.fire(vec![skipped]).await?;
    let mut unfinished = stores.rules.unfinished(&of).await?;
    unfinished[0].sort_unstable();
    assert_eq!(unfinished, [vec![job_id(20), job_id(21)], vec![]]);
    for job in scene.claim(4, at(2)).await? {
        scene.settle(&job, success(), at(3)).await?;
    }
    assert_eq!(stores.rules.unfinished(&of).await?, [vec![], vec![]]);
    assert_eq!(stores.rules.prune_firings(at(9), 10).await?, 2, "the last firing with jobs stays");
    Ok(())
}
