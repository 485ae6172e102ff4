//! The outbox: every event is seen by every rule that listens, at least once,
//! and each rule acts on it once.
//!
//! Tenants take turns at it, so that a flood of one delays the others by a turn
//! and not by the flood; and a turn that took long is followed by a shorter one,
//! so that heavy rules of one tenant do not make the turns long for all. Entries
//! are kept from others for a while. What comes of an entry, whatever it is, is committed together with its leaving the
//! outbox, so that a dispatcher that dies leaves it for another.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

use serde_json::{Value, json};
use taskflow_domain::rule::{Cause, Trigger, TriggerKind};
use taskflow_domain::tenant::Tenant;
use taskflow_domain::{
    Firing, InboundEvent, Job, JobId, JobState, Rule, TenantId, Timestamp, rule::EventPattern,
};

use super::Automation;
use super::judge::Occasion;
use crate::maintain::Step;
use crate::meter;
use crate::ports::{Fire, FireClaim, Fired, Happened, Pending, StoreResult};

/// The most entries that are taken at once.
const TAKE: u32 = 100;
/// The fewest.
const TAKE_LEAST: u32 = 5;
/// How long a turn may take before the next one is shorter, in microseconds.
const TURN_US: i64 = 250_000;
/// How long they are kept from others, in milliseconds.
const HOLD_MS: i64 = 30_000;

/// Whose turn it is, and how long a turn is.
#[derive(Debug)]
pub(super) struct Turn {
    after: AtomicI32,
    take: AtomicU32,
}

impl Default for Turn {
    fn default() -> Self {
        Self { after: AtomicI32::new(0), take: AtomicU32::new(TAKE) }
    }
}

impl Turn {
    /// After which tenant the next turn begins, and how many entries it takes.
    fn next(&self) -> (TenantId, u32) {
        (TenantId(self.after.load(Ordering::Relaxed)), self.take.load(Ordering::Relaxed))
    }

    /// After a turn of `take` entries, of these tenants.
    fn ended(&self, tenants: impl Iterator<Item = TenantId>, take: u32, took_us: i64) {
        let after = self.after.load(Ordering::Relaxed);
        // The last one on the way around.
        if let Some(last) = tenants.map(|tenant| tenant.0).max_by_key(|id| (*id <= after, *id)) {
            self.after.store(last, Ordering::Relaxed);
        }
        let next = if took_us > TURN_US { take / 2 } else { take.saturating_mul(2) };
        self.take.store(next.clamp(TAKE_LEAST, TAKE), Ordering::Relaxed);
    }
}

impl Automation {
    /// Dispatches what is in the outbox.
    pub async fn dispatch(&self) -> StoreResult<Step> {
        let now = self.world.clock.now();
        let (after, take) = self.turn.next();
        let events = &self.world.stores.events;
        let taken = events.pending(now, now.plus_millis(HOLD_MS), after, take).await?;
        let mut listeners: BTreeMap<TenantId, (Option<Tenant>, Vec<Rule>)> = BTreeMap::new();
        let mut fires = Vec::with_capacity(taken.len());
        for entry in &taken {
            if let std::collections::btree_map::Entry::Vacant(e) = listeners.entry(entry.tenant) {
                let tenant = self.world.stores.tenants.get_many(&[entry.tenant]).await?.pop();
                e.insert((tenant, self.world.stores.rules.listening(entry.tenant).await?));
            }
            let claim = FireClaim::Pending(entry.id);
            let mut fire = Fire { claim, firings: Vec::new(), fan_outs: Vec::new() };
            if let Some((Some(tenant), rules)) = listeners.get(&entry.tenant) {
                self.answer(entry, tenant, rules, now, &mut fire).await?;
            }
            fires.push(fire);
        }
        let fired = self.commit(fires).await?;
        let done = fired.iter().filter(|fired| matches!(fired, Fired::Done(_))).count();
        meter::dispatched(done);
        let took_us = self.world.clock.now().micros_since(now);
        self.turn.ended(taken.iter().map(|entry| entry.tenant), take, took_us);
        Ok(Step { jobs: done as u32, more: !taken.is_empty(), next: None })
    }

    /// What the rules make of an entry.
    async fn answer(
        &self,
        entry: &Pending,
        tenant: &Tenant,
        rules: &[Rule],
        now: Timestamp,
        fire: &mut Fire,
    ) -> StoreResult<()> {
        let name = match entry.what {
            Happened::Job { state, .. } => EventPattern::of_state(state).map(ToOwned::to_owned),
            Happened::Event(_) => None,
        };
        let listens = |rule: &Rule, name: &str, about_jobs: bool| match &rule.document.trigger {
            Trigger::Event { event } => event.is_about_jobs() == about_jobs && event.matches(name),
            _ => false,
        };
        let occasion = match entry.what {
            Happened::Job { job, seq, state } => {
                let name = name.clone().unwrap_or_default();
                if !rules.iter().any(|rule| listens(rule, &name, true)) {
                    return Ok(());
                }
                self.of_job(entry, job, seq, state, now).await?
            }
            Happened::Event(id) => {
                let event = self.world.stores.events.get(entry.tenant, id).await?;
                event.map(|event| (event.kind.clone(), of_event(&event, TriggerKind::Event, now)))
            }
        };
        let Some((name, occasion)) = occasion else { return Ok(()) };
        let about_jobs = matches!(entry.what, Happened::Job { .. });
        for rule in rules.iter().filter(|rule| listens(rule, &name, about_jobs)) {
            self.add(rule, tenant, &occasion, fire).await;
        }
        Ok(())
    }

    /// Adds what a rule makes of an occasion.
    pub(super) async fn add(&self, rule: &Rule, tenant: &Tenant, occasion: &Occasion, fire: &mut Fire) {
        if rule.document.for_each_tenant.is_some() {
            fire.fan_outs.push(self.fan_out_of(rule, occasion));
        } else {
            fire.firings.push(self.judge(rule, tenant, occasion).await);
        }
    }

    /// A job's end as rules see it; `None` if the job is gone.
    async fn of_job(
        &self,
        entry: &Pending,
        job: JobId,
        seq: u32,
        state: JobState,
        now: Timestamp,
    ) -> StoreResult<Option<(String, Occasion)>> {
        let Some(job) = self.world.stores.reader.get(entry.tenant, job, now).await? else { return Ok(None) };
        let name = EventPattern::of_state(state).unwrap_or("job.ended");
        let occasion = self.job_occasion(&job, name, entry.at, now).await?;
        let key = Some(Firing::job_key(job.spec.id, seq));
        Ok(Some((name.to_owned(), Occasion { key, ..occasion })))
    }

    pub(super) async fn job_occasion(
        &self,
        job: &Job,
        name: &str,
        at: Timestamp,
        now: Timestamp,
    ) -> StoreResult<Occasion> {
        let depth = match job.spec.firing_id {
            Some(firing) => {
                let firing = self.world.stores.rules.firing(job.spec.tenant, firing).await?;
                firing.map_or(0, |firing| firing.depth.saturating_add(1))
            }
            None => 0,
        };
        let shown = show(job);
        Ok(Occasion {
            kind: TriggerKind::Event,
            cause: Cause { job: Some(job.spec.id), ..Cause::default() },
            key: None,
            trigger: json!({ "type": "event", "event": name }),
            event: Some(json!({
                "type": name, "source": "taskflow", "time": at.to_string(), "data": shown, "headers": {},
            })),
            job: Some(shown),
            depth,
            correlation: job.spec.correlation_id,
            traceparent: job.spec.traceparent.clone(),
            now,
        })
    }
}

/// An event from outside as rules see it.
pub(super) fn of_event(event: &InboundEvent, kind: TriggerKind, now: Timestamp) -> Occasion {
    Occasion {
        kind,
        cause: Cause { event: Some(event.id), ..Cause::default() },
        key: Some(Firing::event_key(event.id)),
        trigger: json!({ "type": kind.as_str(), "event": event.kind, "delivery_id": event.external_id }),
        event: Some(json!({
            "id": event.external_id, "type": event.kind, "source": event.source, "subject": event.subject,
            "time": event.at.to_string(), "headers": event.headers.to_value(), "data": event.data.to_value(),
        })),
        job: None,
        depth: 0,
        correlation: event.correlation_id,
        traceparent: event.traceparent.clone(),
        now,
    }
}

/// A job as rules see it.
fn show(job: &Job) -> Value {
    let end = job.last_attempt.as_ref().and_then(|attempt| attempt.end.as_ref());
    let (spec, error) = (&job.spec, end.and_then(|end| end.error.as_ref()));
    let reason = match &job.standing {
        taskflow_domain::Standing::Ended { reason, .. } => reason.clone(),
        _ => None,
    };
    json!({
        "id": spec.id.to_string(), "kind": spec.kind.as_str(), "queue": spec.queue.as_str(),
        "tenant": job.slug.as_str(), "state": job.standing.state().as_str(), "state_reason": reason,
        "priority": spec.priority.as_str(), "payload": spec.payload.to_value(), "labels": spec.labels,
        "result": end.and_then(|end| end.result.as_ref()).map(taskflow_domain::Json::to_value),
        "last_error": error.map(|error| json!({ "type": error.kind, "message": error.message })),
        "attempts_made": job.counters.attempt, "correlation_id": spec.correlation_id.to_string(),
        "parent_job_id": spec.parent_job_id.map(|id| id.to_string()),
        "rule_id": spec.rule_id.map(|id| id.to_string()), "created_at": spec.created_at.to_string(),
    })
}
