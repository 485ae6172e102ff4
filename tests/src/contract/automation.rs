//! What makes rules fire, on each store, with a clock that is moved by hand.

use anyhow::{Context as _, Result};
use serde_json::json;
use taskflow_application::access::Access;
use taskflow_application::automation::{Delivered, Delivery, HandStart, NewEvent, Rehearsal};
use taskflow_application::ports::{Clock as _, Stores};
use taskflow_domain::tenant::TenantSettings;
use taskflow_domain::{Json, Rule, TenantId, Timestamp};

use crate::builders::{START, Scene, at, slug, success};
use crate::rules::Stage;

fn start(input: &str) -> HandStart {
    HandStart { input: Json::from_valid(input), key: None, traceparent: None }
}

pub(super) const MINUTE: i64 = 60_000;
const DAY: i64 = 1_440 * MINUTE;

/// A rule that fires every minute.
pub(super) fn every_minute(policy: &serde_json::Value, overlap: &str) -> serde_json::Value {
    json!({
        "name": "minutely",
        "trigger": { "type": "cron", "expression": "* * * * *", "misfire": policy, "overlap": overlap },
        "actions": [{ "kind": "work", "payload": { "at": "${trigger.scheduled_at}" },
            "target": { "type": "builtin", "name": "noop" } }],
    })
}

pub(super) fn times(jobs: &[taskflow_domain::Job]) -> Vec<Timestamp> {
    let at = |job: &taskflow_domain::Job| {
        let payload = job.spec.payload.to_value();
        payload["at"].as_str().and_then(Timestamp::parse_rfc3339).unwrap_or_default()
    };
    jobs.iter().map(at).collect()
}

/// Each occurrence is fired at its time, once, however many look.
pub async fn occurrences_are_fired(stores: &Stores) -> Result<()> {
    let (one, other) = (Stage::new(stores)?, Stage::seeded(stores, 8)?);
    let rule = one.create(every_minute(&json!({}), "allow")).await?;
    assert_eq!(rule.next_at, Some(at(MINUTE)));
    let step = one.rules.tick().await?;
    assert_eq!((step.jobs, step.next), (0, Some(at(MINUTE))));
    for _ in 0..3 {
        one.clock.advance(MINUTE);
        other.clock.set(one.clock.now());
        let (first, second) = tokio::join!(one.rules.tick(), other.rules.tick());
        assert_eq!(first?.jobs + second?.jobs, 1);
    }
    let jobs = one.made(rule.tenant).await?;
    assert_eq!(times(&jobs), [at(MINUTE), at(2 * MINUTE), at(3 * MINUTE)]);
    assert_eq!(one.told(&rule).await?, ["FIRED", "FIRED", "FIRED"]);
    let firing = &one.firings(&rule).await?[0];
    let spec = &jobs[0].spec;
    assert_eq!((spec.rule_id, spec.firing_id), (Some(rule.id), Some(firing.id)));
    assert_eq!(spec.correlation_id, firing.correlation_id);
    assert_eq!(spec.created_by.as_str(), format!("rule:{}", rule.id));
    Ok(())
}

/// After two days of nobody there, each policy does what it says, and says so.
pub async fn two_days_are_missed(stores: &Stores) -> Result<()> {
    let stage = Stage::new(stores)?;
    let day = serde_json::json!(DAY);
    let policy = |policy: &str| json!({ "policy": policy, "max_lateness_ms": day });
    let skip = stage.create(every_minute(&policy("skip"), "allow")).await?;
    let once = stage.create(every_minute(&policy("run_once"), "allow")).await?;
    let mut all = policy("run_all");
    all["max"] = json!(3);
    let all = stage.create(every_minute(&all, "allow")).await?;
    stage.pass(2 * DAY + 500).await?;
    let end = at(2 * DAY);
    let of = |rule: Rule| {
        let stage = &stage;
        async move {
            let firings = stage.firings(&rule).await?;
            let fired = firings.iter().filter(|firing| !firing.jobs.is_empty());
            let fired: Vec<_> = fired.filter_map(|firing| firing.cause.scheduled_at).collect();
            let missed = firings.iter().filter(|firing| firing.reason.as_deref() == Some("misfire"));
            let missed: Vec<_> = missed.filter_map(|firing| firing.detail.clone()).collect();
            anyhow::Ok((fired, missed))
        }
    };
    // The occurrence of this very moment, and the one of a minute ago, are no misfires.
    let (fired, missed) = of(skip).await?;
    assert_eq!(fired, [end]);
    assert!(missed[0].starts_with("2879 occurrences"), "{missed:?}");
    let (fired, missed) = of(once).await?;
    assert_eq!(fired, [at(2 * DAY - MINUTE), end]);
    assert!(missed[0].starts_with("2878 occurrences"), "{missed:?}");
    let (fired, missed) = of(all).await?;
    assert_eq!(fired, [3, 2, 1, 0].map(|back| at(2 * DAY - back * MINUTE)));
    assert!(missed[0].starts_with("2876 occurrences"), "{missed:?}");
    Ok(())
}

/// A missing field is an ERROR that names the field; a streak ends with the
/// first evaluation that succeeds.
pub async fn a_missing_field_is_told(stores: &Stores) -> Result<()> {
    let stage = Stage::new(stores)?;
    let rule = stage
        .create(json!({
            "name": "by hand", "trigger": { "type": "manual" }, "condition": "trigger.input.amount > 10",
            "actions": [{ "kind": "work", "payload": { "to": "${trigger.input.to}", "n": "${trigger.input.amount}" } }],
        }))
        .await?;
    let mut told = Vec::new();
    for input in [r#"{"to":"a"}"#, r#"{"amount":11}"#, r#"{"amount":5}"#, r#"{"amount":11,"to":"a"}"#] {
        let firings = stage.rules.trigger(&stage.caller, rule.id, start(input)).await?;
        let firing = firings.first().context("a firing")?;
        told.push((firing.outcome.as_str(), firing.detail.clone().unwrap_or_default()));
    }
    assert_eq!(told[0].0, "ERROR");
    assert!(told[0].1.contains("trigger.input.amount"), "{told:?}");
    assert_eq!(told[1].0, "ERROR");
    assert!(
        told[1].1.contains("trigger.input.to") && told[1].1.contains("/actions/0/payload/to"),
        "{told:?}"
    );
    assert_eq!((told[2].0, told[3].0), ("SKIPPED", "FIRED"));
    let job = stage.made(rule.tenant).await?.pop().context("a job")?;
    assert_eq!(job.spec.payload.to_value(), json!({ "to": "a", "n": 11 }), "alone it keeps its type");
    let stats = stage.rules.stats(&stage.caller, rule.id).await?;
    assert_eq!((stats.rule.health.streak, stats.rule.jobs_made, stats.counts.len()), (0, 1, 4));
    assert_eq!(stats.rule.health.recovered_at, Some(START));
    Ok(())
}

/// An event is seen by every rule that listens, and acted on once by each,
/// also when a dispatcher dies on the way.
pub async fn an_event_reaches_every_rule_once(stores: &Stores) -> Result<()> {
    let stage = Stage::new(stores)?;
    let rule = |name: &str, event: &str| {
        json!({
            "name": name, "trigger": { "type": "event", "event": event },
            "condition": "event.data.amount > 3",
            "actions": [{ "kind": "work", "payload": "${event.data}" }],
        })
    };
    let exact = stage.create(rule("exact", "com.acme.paid")).await?;
    let wide = stage.create(rule("wide", "com.acme.*")).await?;
    let other = stage.create(rule("other", "com.other.*")).await?;
    let event = |id: &str, amount: u32| NewEvent {
        id: id.into(),
        source: "/shop".into(),
        kind: "com.acme.paid".into(),
        subject: None,
        time: None,
        headers: Json::object(),
        data: Json::from(&json!({ "amount": amount })),
        traceparent: None,
    };
    stage.rules.ingest(&stage.caller, vec![event("a", 5), event("a", 6), event("b", 1)]).await?;
    let dead = stores
        .events
        .pending(stage.clock.now(), stage.clock.now().plus_millis(30_000), TenantId(0), 1)
        .await?;
    assert_eq!(dead.len(), 1, "one is taken by somebody who dies");
    stage.settle().await?;
    stage.pass(30_000).await?;
    stage.settle().await?;
    let mut told = stage.told(&exact).await?;
    told.sort();
    assert_eq!(told, ["FIRED", "SKIPPED condition_false"]);
    assert_eq!(stage.told(&wide).await?.len(), 2);
    assert!(stage.told(&other).await?.is_empty());
    assert_eq!(stage.made(exact.tenant).await?.len(), 2);
    Ok(())
}

/// A chain of rules and jobs is cut, and that is told.
pub async fn a_chain_is_cut(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let stage = Stage::new(stores)?;
    let rule = stage
        .create(json!({
            "name": "echo", "trigger": { "type": "event", "event": "job.succeeded" },
            "actions": [{ "kind": "again", "target": { "type": "builtin", "name": "noop" },
                "payload": { "after": "${job.kind}" } }],
        }))
        .await?;
    let first = scene.put_one(scene.job(1)?).await?;
    for _ in 0..15 {
        for job in scene.claim(5, stage.clock.now()).await? {
            scene.settle(&job, success(), stage.clock.now()).await?;
        }
        stage.pass(1).await?;
    }
    let told = stage.told(&rule).await?;
    assert_eq!(told.len(), 11, "{told:?}");
    assert!(told[..10].iter().all(|told| told == "FIRED"), "{told:?}");
    assert_eq!(told[10], "BLOCKED depth_limit");
    let jobs = stage.made(rule.tenant).await?;
    assert_eq!(jobs.len(), 11);
    assert_eq!(jobs[1].spec.parent_job_id, Some(first));
    assert!(jobs.iter().all(|job| job.spec.correlation_id.0 == first.0), "one cause");
    let trace = stage.rules.trace(&stage.caller, jobs[5].spec.id).await?;
    let mut depth = 0;
    let mut nodes = trace.roots;
    while let Some(node) = nodes.pop() {
        depth += 1;
        nodes = node.children;
    }
    assert_eq!(depth, 22, "eleven jobs and eleven firings in one line");
    Ok(())
}

/// A hundred repeats of one delivery, all at once, make one job; each hears what
/// came of the first.
pub async fn a_delivery_repeats(stores: &Stores) -> Result<()> {
    let stage = Stage::new(stores)?;
    let rule = stage
        .create(json!({
            "name": "hook",
            "trigger": { "type": "webhook", "key": "key-12345", "signature": { "scheme": "none", "id_header": "x-id" } },
            "actions": [{ "kind": "work", "payload": { "n": "${event.data.n}", "id": "${event.headers['x-id']}" } }],
        }))
        .await?;
    let delivery = Delivery {
        headers: vec![("x-id".into(), "d-1".into()), ("authorization".into(), "Bearer x".into())],
        body: br#"{"n":1}"#.to_vec(),
        traceparent: None,
    };
    let access = Access::default();
    let repeats = (0..100).map(|_| stage.rules.deliver(&access, "key-12345", delivery.clone()));
    let answers = futures_util::future::try_join_all(repeats).await?;
    let (mut first, mut ids) = (0, std::collections::BTreeSet::new());
    for answer in answers {
        let Delivered::Accepted { delivery_id, firings, repeated, .. } = answer else {
            anyhow::bail!("not accepted")
        };
        assert_eq!(delivery_id, "d-1");
        first += u32::from(!repeated);
        ids.insert(firings.iter().map(|firing| firing.id).collect::<Vec<_>>());
    }
    assert_eq!((first, ids.len()), (1, 1), "one is new, and all hear of its firing");
    let jobs = stage.made(rule.tenant).await?;
    assert_eq!(jobs.len(), 1);
    assert_eq!(jobs[0].spec.payload.to_value(), json!({ "n": 1, "id": "d-1" }));
    let kept = stage.rules.deliveries(&stage.caller, rule.id, None, None, 10).await?.items;
    assert_eq!(kept.len(), 1);
    assert!(!kept[0].headers.as_str().contains("Bearer"), "what lets somebody in is not kept");
    Ok(())
}

/// The example to the letter: every day at seven in Madrid, for each tenant of
/// the plan, a job if its usage changed; also when the fan-out is broken off.
pub async fn billing_is_recalculated(stores: &Stores) -> Result<()> {
    let stage = Stage::new(stores)?;
    let put = |name: String, plan: &'static str, usage: u32| async move {
        let attributes = Json::from(&json!({ "plan": plan, "usage": usage, "billed_usage": 3 }));
        let settings = TenantSettings { attributes, ..TenantSettings::default() };
        anyhow::Ok(stores.tenants.put(&slug(&name)?, &settings, START, None).await?)
    };
    let (mut changed, mut same) = (Vec::new(), Vec::new());
    for n in 0..700 {
        changed.push(put(format!("pro-{n:04}"), "pro", 5).await?);
    }
    for n in 0..5 {
        same.push(put(format!("quiet-{n}"), "pro", 3).await?);
        put(format!("free-{n}"), "free", 5).await?;
    }
    let rule = stage
        .create(json!({
            "name": "nightly-billing",
            "trigger": { "type": "cron", "expression": "0 7 * * *", "timezone": "Europe/Madrid", "overlap": "skip",
                "misfire": { "policy": "run_once", "max_lateness_ms": 3_600_000 },
                "dst": { "gap": "run_after", "overlap": "first" } },
            "for_each_tenant": "has(tenant.attributes.plan) && tenant.attributes.plan == 'pro'",
            "condition": "tenant.attributes.usage != tenant.attributes.billed_usage",
            "actions": [{ "kind": "recalculate-billing", "queue": "billing", "priority": "high",
                "payload": { "tenant": "${tenant.slug}", "day": "${trigger.scheduled_at}" } }],
        }))
        .await?;
    let seven = Timestamp::parse_rfc3339("2026-01-01T06:00:00Z").context("a time")?;
    assert_eq!(rule.next_at, Some(seven));
    stage.clock.set(seven);
    assert_eq!(stage.rules.tick().await?.jobs, 1);
    stage.rules.fan_out().await?;
    // Somebody takes the next part, and dies; another one goes on later.
    let now = stage.clock.now();
    assert_eq!(stores.rules.fan_outs(now, now.plus_millis(30_000), 1).await?.len(), 1);
    stage.settle().await?;
    stage.pass(30_000).await?;
    for tenant in changed.iter().step_by(99) {
        let jobs = stage.made(tenant.id).await?;
        assert_eq!(jobs.len(), 1, "{}", tenant.slug);
        let spec = &jobs[0].spec;
        assert_eq!((spec.kind.as_str(), spec.queue.as_str()), ("recalculate-billing", "billing"));
        let payload = json!({ "tenant": tenant.slug.as_str(), "day": seven.to_string() });
        assert_eq!(spec.payload.to_value(), payload);
    }
    let stats = stage.rules.stats(&stage.caller, rule.id).await?;
    let counts: Vec<_> = stats.counts.iter().map(|one| (one.outcome.as_str(), one.count)).collect();
    assert_eq!(counts, [("FIRED", 700), ("SKIPPED", 5)], "{:?}", stage.told(&rule).await?.first());
    assert!(stage.made(same[0].id).await?.is_empty());
    Ok(())
}

/// A simulation says what would happen, and nothing does.
pub async fn a_rehearsal_makes_nothing(stores: &Stores) -> Result<()> {
    let stage = Stage::new(stores)?;
    let document = json!({
        "name": "paid", "trigger": { "type": "event", "event": "paid" }, "condition": "event.data.amount > 10",
        "actions": [{ "kind": "work" }, { "kind": "more" }],
    });
    let rule = stage.create(document.clone()).await?;
    let events = (0..30u32).map(|n| NewEvent {
        id: n.to_string(),
        source: "/shop".into(),
        kind: if n % 3 == 0 { "refunded".into() } else { "paid".into() },
        subject: None,
        time: None,
        headers: Json::object(),
        data: if n == 1 { Json::object() } else { Json::from(&json!({ "amount": n })) },
        traceparent: None,
    });
    stage.rules.ingest(&stage.caller, events.collect()).await?;
    let simulation = stage.rules.simulate(&stage.caller, rule.id, Rehearsal::default()).await?;
    assert_eq!((simulation.events_seen, simulation.errors), (20, 1));
    assert_eq!((simulation.matched, simulation.jobs, simulation.peak_jobs_per_minute), (13, 26, 26));
    assert_eq!(simulation.samples[0]["outcome"], "ERROR");
    let mut changed = document;
    changed["condition"] = json!("has(event.data.amount) && event.data.amount > 28");
    let wish = taskflow_application::automation::RuleWish {
        document: serde_json::from_value(changed)?,
        enabled: true,
        mode: taskflow_domain::rule::Mode::Live,
        secret: None,
        revision: None,
    };
    let simulation = stage
        .rules
        .simulate(&stage.caller, rule.id, Rehearsal { instead: Some(wish), ..Rehearsal::default() })
        .await?;
    assert_eq!((simulation.matched, simulation.errors), (1, 0));
    assert!(stage.made(rule.tenant).await?.is_empty());
    assert!(stage.firings(&rule).await?.is_empty());
    let clock = stage.create(every_minute(&json!({}), "allow")).await?;
    let simulation = stage.rules.simulate(&stage.caller, clock.id, Rehearsal::default()).await?;
    assert_eq!((simulation.events_seen, simulation.jobs, simulation.peak_jobs_per_minute), (100, 100, 1));
    let next = stage.world().ids.job(stage.clock.now()).0.as_u128() >> 80;
    let now = u128::try_from(stage.clock.now().micros())? / 1_000;
    assert_eq!(next, now, "ids of what is made later are not of a time that was only rehearsed");
    let ahead = stage.rules.schedule(&stage.caller, clock.id, None, 2).await?;
    assert_eq!(ahead.iter().map(|one| one.at).collect::<Vec<_>>(), [at(MINUTE), at(2 * MINUTE)]);
    Ok(())
}

/// A rehearsal shows why it failed, also where a rule chooses its tenants, and names
/// events as a firing does.
pub async fn a_rehearsal_shows_each_outcome(stores: &Stores) -> Result<()> {
    let stage = Stage::new(stores)?;
    for n in 0..60 {
        let attributes = if n < 30 { json!({ "plan": "pro" }) } else { json!({}) };
        let settings = TenantSettings { attributes: Json::from(&attributes), ..TenantSettings::default() };
        stores.tenants.put(&slug(&format!("t-{n}"))?, &settings, START, None).await?;
    }
    let rule = stage
        .create(json!({
            "name": "billing", "trigger": { "type": "event", "event": "paid" },
            "for_each_tenant": "tenant.attributes.plan == 'pro'",
            "condition": "tenant.slug != 't-29'", "actions": [{ "kind": "work" }],
        }))
        .await?;
    let event = NewEvent {
        id: "b149".into(),
        source: "/shop".into(),
        kind: "paid".into(),
        subject: None,
        time: None,
        headers: Json::object(),
        data: Json::object(),
        traceparent: None,
    };
    stage.rules.ingest(&stage.caller, vec![event]).await?;
    let simulation = stage.rules.simulate(&stage.caller, rule.id, Rehearsal::default()).await?;
    // The tenant `default` has no plan either.
    assert_eq!((simulation.errors, simulation.matched), (31, 29));
    let told: Vec<_> = simulation.samples.iter().map(|one| one["outcome"].as_str().unwrap_or("-")).collect();
    let shown = |outcome: &str| told.iter().filter(|one| **one == outcome).count();
    assert_eq!((shown("ERROR"), shown("FIRED"), shown("SKIPPED")), (10, 9, 1), "{told:?}");
    let first = &simulation.samples[0];
    assert_eq!((&first["outcome"], &first["reason"]), (&json!("ERROR"), &json!("for_each_tenant_error")));
    assert!(first["detail"].as_str().is_some_and(|detail| detail.contains("plan")), "{first}");
    stage.settle().await?;
    let fired = &stage.firings(&rule).await?[0];
    let id = fired.cause.event.context("a firing of an event")?;
    assert_eq!((&first["event_id"], &first["external_id"]), (&json!(id.to_string()), &json!("b149")));
    Ok(())
}
