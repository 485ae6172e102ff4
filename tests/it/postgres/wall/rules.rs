//! The same for rules and what belongs to them, asked of the use cases: what is
//! not behind the wall itself begins with a look that is.

use anyhow::{Context as _, Result};
use serde_json::json;
use taskflow_adapters::store::postgres::{PostgresOptions, PostgresStore};
use taskflow_application::Caller;
use taskflow_application::access::Access;
use taskflow_application::automation::{Delivery, HandStart, Rehearsal};
use taskflow_application::insight::Insight;
use taskflow_application::ports::{FiringPage, RulePage};
use taskflow_domain::{FiringId, JobId, RuleId};
use taskflow_tests::builders::slug;
use taskflow_tests::postgres::execute;
use taskflow_tests::rules::Stage;

use super::super::open;
use super::proxy::Proxy;
use super::walled;

/// What somebody else owns.
struct Owned {
    rule: RuleId,
    firing: FiringId,
    job: JobId,
}

/// Every look of a tenant that owns nothing, and whether it was shown something.
async fn looks(stage: &Stage, caller: &Caller, owned: &Owned) -> Result<Vec<(&'static str, bool)>> {
    let rules = &stage.rules;
    let page = FiringPage { limit: 9, ..FiringPage::default() };
    let insight = Insight::new(stage.world().clone());
    let start =
        HandStart { input: taskflow_domain::Json::null(), key: Some("key".into()), traceparent: None };
    Ok(vec![
        ("rule", rules.get(caller, owned.rule).await.is_ok()),
        ("rules", !rules.list(caller, RulePage { after: None, limit: 9 }).await?.items.is_empty()),
        ("firings", rules.firings(caller, owned.rule, None, page).await.is_ok()),
        ("firing", rules.firing(caller, owned.firing).await.is_ok()),
        ("stats", rules.stats(caller, owned.rule).await.is_ok()),
        ("deliveries", rules.deliveries(caller, owned.rule, None, None, 9).await.is_ok()),
        ("simulate", rules.simulate(caller, owned.rule, Rehearsal::default()).await.is_ok()),
        ("trigger", rules.trigger(caller, owned.rule, start).await.is_ok()),
        ("disable", rules.disable(caller, owned.rule).await.is_ok()),
        ("trace", rules.trace(caller, owned.job).await.is_ok()),
        ("explain", insight.explain(caller, owned.job).await.is_ok()),
        ("job", stage.jobs.get(caller, owned.job).await.is_ok()),
    ])
}

#[tokio::test]
async fn rules_and_events_without_their_tenant_show_nothing() -> Result<()> {
    let (store, database) = open(PostgresOptions::default()).await?;
    let stage = Stage::new(&store.stores())?;
    let rule = stage
        .create(json!({
            "name": "hook", "actions": [{ "kind": "k" }],
            "trigger": { "type": "webhook", "key": "somebodys-hook", "signature": { "scheme": "none" } },
        }))
        .await?;
    let delivery = Delivery { headers: Vec::new(), body: b"{}".to_vec(), traceparent: None };
    let access = Access::default();
    stage.rules.deliver(&access, "somebodys-hook", delivery).await?;
    let page = FiringPage { limit: 9, ..FiringPage::default() };
    let firing =
        stage.rules.firings(&stage.caller, rule.id, None, page).await?.items.pop().context("a firing")?;
    let owned = Owned { rule: rule.id, firing: firing.id, job: *firing.jobs.first().context("a job")? };
    let own = looks(&stage, &stage.caller, &owned).await?;
    for (name, shown) in &own {
        // A webhook rule is not started by hand.
        assert!(*shown || *name == "trigger", "{name} shows its owner nothing");
    }
    store.stores().tenants.ensure(&slug("stranger")?, taskflow_tests::builders::START).await?;
    let stranger = Caller::trusted(slug("stranger")?);
    let proxy = Proxy::start(&database.url).await?;
    let faulty = PostgresStore::connect(&proxy.url, PostgresOptions::default()).await?;
    faulty.migrate().await?;
    let stage = Stage::new(&faulty.stores())?;
    let behind = looks(&stage, &stranger, &owned).await?;
    let leaks: Vec<_> = behind.iter().filter(|(_, shown)| *shown).collect();
    assert!(leaks.is_empty(), "behind the wall: {leaks:?}");
    for table in walled(&database.url).await? {
        execute(&database.url, &format!("alter table {table} disable row level security")).await?;
    }
    let before = looks(&stage, &stranger, &owned).await?;
    for name in ["rule", "rules", "firing", "stats", "deliveries", "simulate", "explain", "job"] {
        assert!(before.contains(&(name, true)), "{name} lost nothing: {before:?}");
    }
    println!("{} statements lost their tenant; {} looks, shown 0", proxy.lost().len(), before.len());
    Ok(())
}
