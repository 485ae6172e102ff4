//! Rules, firings and events for tests, and the use cases over a store with a
//! clock that is moved by hand.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use serde_json::json;
use taskflow_adapters::condition::CelEngine;
use taskflow_adapters::webhook::Verifier;
use taskflow_application::World;
use taskflow_application::automation::{Automation, RuleWish, Tools};
use taskflow_application::caller::Caller;
use taskflow_application::jobs::Jobs;
use taskflow_application::memory::ManualClock;
use taskflow_application::ports::{Clock as _, FiringPage, JobFilter, NewFiring, Page, Stores};
use taskflow_domain::rule::{Cause, Health, Mode, TriggerKind};
use taskflow_domain::{
    CorrelationId, EventId, Firing, FiringId, FiringOutcome, InboundEvent, Job, Json, Rule, RuleDocument,
    RuleId, TenantId, TenantSlug, Timestamp,
};
use uuid::Uuid;

use crate::builders::{START, job_id, world};

/// The id of rule number `n`, in the order of the numbers.
pub const fn rule_id(n: u32) -> RuleId {
    RuleId(Uuid::from_u128(job_id(n).0.as_u128() | (1 << 60)))
}

/// The id of event number `n`, in the order of the numbers.
pub const fn event_id(n: u32) -> EventId {
    EventId(job_id(n).0)
}

/// A rule that stands in a store, without the checks of the use cases.
#[derive(Clone, Debug)]
pub struct Draft(pub Rule);

impl Draft {
    fn of(tenant: TenantId, n: u32, trigger: &serde_json::Value) -> Self {
        let document =
            json!({ "name": format!("rule-{n}"), "trigger": trigger, "actions": [{ "kind": "work" }] });
        let document: RuleDocument = match serde_json::from_value(document) {
            Ok(document) => document,
            Err(fault) => unreachable!("the documents of these drafts are good: {fault}"),
        };
        Self(Rule {
            tenant,
            id: rule_id(n),
            enabled: true,
            mode: Mode::Live,
            revision: 1,
            document,
            next_at: None,
            queued_at: None,
            health: Health::default(),
            jobs_made: 0,
            created_at: START,
            updated_at: START,
        })
    }

    /// Started by the clock.
    pub fn cron(tenant: TenantId, n: u32, expression: &str) -> Self {
        Self::of(tenant, n, &json!({ "type": "cron", "expression": expression, "overlap": "allow" }))
    }

    /// Started by a webhook without a signature.
    pub fn webhook(tenant: TenantId, n: u32, key: &str) -> Self {
        Self::of(tenant, n, &json!({ "type": "webhook", "key": key }))
    }

    /// Started by an event.
    pub fn event(tenant: TenantId, n: u32, event: &str) -> Self {
        Self::of(tenant, n, &json!({ "type": "event", "event": event }))
    }

    /// Started by hand.
    pub fn manual(tenant: TenantId, n: u32) -> Self {
        Self::of(tenant, n, &json!({ "type": "manual" }))
    }

    /// With its cursor there.
    #[must_use]
    pub fn next(mut self, at: Timestamp) -> Self {
        self.0.next_at = Some(at);
        self
    }
}

/// Firing number `n` of a rule for its own tenant, which made nothing.
pub fn firing(rule: &Rule, n: u32, outcome: FiringOutcome, key: Option<&str>, at: Timestamp) -> NewFiring {
    let firing = Firing {
        id: FiringId(job_id(n).0),
        tenant: rule.tenant,
        rule_tenant: rule.tenant,
        rule: rule.id,
        revision: rule.revision,
        at,
        trigger: TriggerKind::Cron,
        cause: Cause { scheduled_at: Some(at), ..Cause::default() },
        key: key.map(ToOwned::to_owned),
        outcome,
        reason: None,
        detail: Some("in detail".into()),
        jobs: Vec::new(),
        duration_us: 7,
        depth: 3,
        correlation_id: CorrelationId(job_id(n).0),
    };
    NewFiring { firing, jobs: Vec::new() }
}

/// Event number `n`, which its source calls `id`.
pub fn event(tenant: TenantId, n: u32, kind: &str, id: Option<&str>, at: Timestamp) -> InboundEvent {
    InboundEvent {
        tenant,
        id: event_id(n),
        source: "/shop".into(),
        kind: kind.into(),
        external_id: id.map(ToOwned::to_owned),
        subject: None,
        at,
        received_at: at,
        headers: Json::object(),
        data: Json::from_valid(r#"{"amount": 5}"#),
        correlation_id: CorrelationId(event_id(n).0),
        traceparent: None,
        rejected: None,
    }
}

/// The use cases of automation over a store, with a clock that is moved by hand.
pub struct Stage {
    /// Rules.
    pub rules: Automation,
    /// Jobs.
    pub jobs: Jobs,
    /// The clock.
    pub clock: Arc<ManualClock>,
    /// The stores.
    pub stores: Stores,
    /// Who asks: the tenant `default`, who may do everything.
    pub caller: Caller,
    world: World,
}

impl Stage {
    /// At [`START`].
    pub fn new(stores: &Stores) -> Result<Self> {
        Self::seeded(stores, 7)
    }

    /// Another process on the same store: its ids are its own.
    pub fn seeded(stores: &Stores, seed: u64) -> Result<Self> {
        let clock = Arc::new(ManualClock::new(START));
        let world = world(stores.clone(), &clock, seed);
        let conditions = Arc::new(CelEngine::start(1)?);
        let tools = Tools { conditions, signatures: Arc::new(Verifier) };
        Ok(Self {
            rules: Automation::new(world.clone(), tools),
            jobs: Jobs::new(world.clone()),
            clock,
            stores: stores.clone(),
            caller: Caller::trusted(TenantSlug::fallback()),
            world,
        })
    }

    /// What everything here stands on.
    pub const fn world(&self) -> &World {
        &self.world
    }

    /// Makes a rule of a document.
    pub async fn create(&self, document: serde_json::Value) -> Result<Rule> {
        let wish = RuleWish {
            document: serde_json::from_value(document)?,
            enabled: true,
            mode: Mode::Live,
            secret: None,
            revision: None,
        };
        self.rules.create(&self.caller, wish).await.context("the rule is refused")
    }

    /// Lets the loops run until nothing is left to do.
    pub async fn settle(&self) -> Result<()> {
        for _ in 0..1_000 {
            let steps = [self.rules.tick().await?, self.rules.dispatch().await?, self.rules.fan_out().await?];
            if steps.iter().all(|step| !step.more && step.jobs == 0) {
                return Ok(());
            }
        }
        anyhow::bail!("the loops do not come to rest")
    }

    /// Moves the clock and lets the loops run.
    pub async fn pass(&self, ms: i64) -> Result<()> {
        self.clock.advance(ms);
        self.settle().await
    }

    /// A rule's firings, oldest first, as `OUTCOME reason`.
    pub async fn told(&self, rule: &Rule) -> Result<Vec<String>> {
        let word = |firing: &Firing| match &firing.reason {
            Some(reason) => format!("{} {reason}", firing.outcome.as_str()),
            None => firing.outcome.as_str().to_owned(),
        };
        Ok(self.firings(rule).await?.iter().map(word).collect())
    }

    /// A rule's firings, oldest first.
    pub async fn firings(&self, rule: &Rule) -> Result<Vec<Firing>> {
        let page = FiringPage { limit: 500, ..FiringPage::default() };
        let mut firings = self.stores.rules.firings(rule.tenant, rule.id, page).await?;
        firings.reverse();
        Ok(firings)
    }

    /// Jobs of a tenant, oldest first.
    pub async fn made(&self, tenant: TenantId) -> Result<Vec<Job>> {
        let page = Page { before: None, limit: 500 };
        let mut jobs = self.stores.reader.list(tenant, &JobFilter::default(), page, self.clock.now()).await?;
        jobs.reverse();
        Ok(jobs)
    }
}
