//! Rehearsal: what a rule would do, without doing it.

use std::sync::Arc;

use serde_json::{Value, json};
use taskflow_domain::rule::{Cause, Trigger, TriggerKind, reason};
use taskflow_domain::schedule::Occurrence;
use taskflow_domain::tenant::Tenant;
use taskflow_domain::{Firing, FiringOutcome, InboundEvent, JobId, Json, Rule, RuleId, Scope, Timestamp};
use uuid::Uuid;

use super::by_hand::{HandStart, of_hand};
use super::dispatch::of_event;
use super::judge::Occasion;
use super::save::RuleWish;
use super::tick::cron;
use super::{Automation, AutomationError};
use crate::World;
use crate::caller::Caller;
use crate::jobs::JobWish;
use crate::ports::{EventFilter, Ids, JobFilter, Page};

/// The most occasions that a simulation looks at.
const MOST: usize = 2_000;
/// The most evaluations of one simulation: occasions times tenants.
const MOST_EVALUATIONS: u64 = 20_000;
/// Occurrences of a simulation that looks ahead.
const AHEAD: usize = 100;
/// How long a simulation evaluates at most, in microseconds.
const BUDGET_US: i64 = 5_000_000;
/// Samples that are shown.
const SAMPLES: usize = 20;

/// What a rule would have done.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Simulation {
    /// Events or occurrences that were looked at.
    pub events_seen: u64,
    /// Evaluations that would have made jobs.
    pub matched: u64,
    /// Evaluations that would have been ERROR.
    pub errors: u64,
    /// Jobs that would have been made.
    pub jobs: u64,
    /// The most jobs of one minute.
    pub peak_jobs_per_minute: u64,
    /// Whether there was more than a simulation looks at.
    pub truncated: bool,
    /// Some evaluations: the first of each outcome, errors and matches before the others.
    pub samples: Vec<Value>,
}

/// What is rehearsed.
#[derive(Clone, Debug, Default)]
pub struct Rehearsal {
    /// What is tried in the place of the rule.
    pub instead: Option<RuleWish>,
    /// From when on; of a cron rule from now on if it is not said.
    pub since: Option<Timestamp>,
    /// A start by hand with this input, and nothing of the past.
    pub input: Option<Json>,
}

/// Identities of what is only rehearsed. They have no order: made of the time of what is
/// rehearsed, they would lift the ids of everything that this process makes later to it.
struct Unkept(Arc<dyn Ids>);

impl Ids for Unkept {
    fn job(&self, _: Timestamp) -> JobId {
        JobId(Uuid::from_bytes(self.0.bytes()))
    }

    fn nonce(&self) -> u64 {
        self.0.nonce()
    }

    fn bytes(&self) -> [u8; 16] {
        self.0.bytes()
    }
}

impl Automation {
    /// A rule's next `count` occurrences after `from`.
    pub async fn schedule(
        &self,
        caller: &Caller,
        id: RuleId,
        from: Option<Timestamp>,
        count: usize,
    ) -> Result<Vec<Occurrence>, AutomationError> {
        let rule = self.get(caller, id).await?;
        if cron(&rule).is_none() {
            return Err(AutomationError::WrongTrigger("cron"));
        }
        let from = from.unwrap_or_else(|| self.world.clock.now());
        Ok(occurrences_after(&rule, from, count))
    }

    /// Runs a rule, or a changed version of it, over the events or the starts of
    /// the past, over the occurrences from then on, or with an input. Creates nothing.
    pub async fn simulate(
        &self,
        caller: &Caller,
        id: RuleId,
        rehearsal: Rehearsal,
    ) -> Result<Simulation, AutomationError> {
        let ids = Arc::new(Unkept(Arc::clone(&self.world.ids)));
        let apart = Self { world: World { ids, ..self.world.clone() }, ..self.clone() };
        apart.simulated(caller, id, rehearsal).await
    }

    async fn simulated(
        &self,
        caller: &Caller,
        id: RuleId,
        rehearsal: Rehearsal,
    ) -> Result<Simulation, AutomationError> {
        let now = self.world.clock.now();
        let mut rule = self.steered(caller, id).await?;
        if let Some(wish) = rehearsal.instead {
            if !caller.may(Scope::RulesWrite) {
                return Err(AutomationError::Forbidden("to try a changed rule needs the scope rules:write"));
            }
            rule.document = wish.document;
            rule.mode = wish.mode;
            let old = self.get(caller, id).await?;
            super::webhook_key::keep(&old.document, &mut rule.document);
            rule = self.prepare(caller, rule, Some(&old), true, now).await?;
        }
        if matches!(&rule.document.trigger, Trigger::Event { event } if event.is_about_jobs())
            && !caller.may(Scope::JobsRead)
        {
            return Err(AutomationError::Forbidden("to try a rule over jobs needs the scope jobs:read"));
        }
        // What is tried must not be taken for what is kept.
        rule.revision = u32::MAX;
        rule.mode = taskflow_domain::rule::Mode::Live;
        rule.id = RuleId(self.world.ids.job(now).0);
        let mut occasions = match rehearsal.input {
            Some(input) => vec![(now, self.start(&rule, input, now)?)],
            None => self.past(&rule, id, rehearsal.since, now).await?,
        };
        let mut simulation = Simulation { truncated: occasions.len() > MOST, ..Simulation::default() };
        occasions.truncate(MOST);
        let tenants = self.meant(&rule).await?;
        let mut minutes = std::collections::BTreeMap::<i64, u64>::new();
        let mut evaluations = 0;
        for (at, occasion) in &occasions {
            simulation.events_seen += 1;
            for tenant in &tenants {
                evaluations += 1;
                // Others want the thread too.
                tokio::task::yield_now().await;
                let spent = self.world.clock.now().micros_since(now);
                if evaluations > MOST_EVALUATIONS || spent > BUDGET_US {
                    simulation.truncated = true;
                    return Ok(finish(simulation, &minutes));
                }
                let jobs = self.rehearse(&rule, tenant, occasion, *at, &mut simulation).await;
                *minutes.entry(at.micros().div_euclid(60_000_000)).or_default() += jobs;
            }
        }
        Ok(finish(simulation, &minutes))
    }

    /// One evaluation; answers how many jobs it would make.
    async fn rehearse(
        &self,
        rule: &Rule,
        tenant: &Tenant,
        occasion: &Occasion,
        at: Timestamp,
        simulation: &mut Simulation,
    ) -> u64 {
        let verdict = match self.is_meant(rule, tenant, occasion).await {
            Ok(true) => self.verdict(rule, tenant, occasion).await,
            Ok(false) => return 0,
            Err(refused) => {
                let Firing { outcome, detail, .. } = refused.firing;
                Err((outcome, reason::TENANT_ERROR, detail))
            }
        };
        let mut sample = json!({ "at": at.to_string(), "tenant": tenant.slug.as_str() });
        let mut made = 0;
        match verdict {
            Ok(wishes) => {
                made = wishes.len() as u64;
                simulation.matched += 1;
                simulation.jobs += made;
                sample["outcome"] = FiringOutcome::Fired.as_str().into();
                sample["jobs"] = wishes.iter().map(shown).collect();
            }
            Err((outcome, why, detail)) => {
                simulation.errors += u64::from(outcome == FiringOutcome::Error);
                sample["outcome"] = outcome.as_str().into();
                sample["reason"] = why.into();
                sample["detail"] = detail.into();
            }
        }
        name_cause(&mut sample, occasion);
        simulation.samples.push(sample);
        if simulation.samples.len() > 2 * SAMPLES {
            keep_samples(&mut simulation.samples);
        }
        made
    }

    /// The tenants that the rule is evaluated for, or more of them than can be.
    async fn meant(&self, rule: &Rule) -> Result<Vec<Tenant>, AutomationError> {
        const READ: u32 = 1_000;
        let tenants = &self.world.stores.tenants;
        if rule.document.for_each_tenant.is_none() {
            return Ok(tenants.get_many(&[rule.tenant]).await?);
        }
        let mut meant: Vec<Tenant> = Vec::new();
        while meant.len() as u64 <= MOST_EVALUATIONS {
            let page = tenants.list(meant.last().map(|tenant| &tenant.slug), READ).await?;
            let last = page.len() < READ as usize;
            meant.extend(page);
            if last {
                break;
            }
        }
        Ok(meant)
    }

    /// A start by hand, as it would be.
    fn start(&self, rule: &Rule, input: Json, now: Timestamp) -> Result<Occasion, AutomationError> {
        if !matches!(rule.document.trigger, Trigger::Manual | Trigger::Cron(_)) {
            return Err(AutomationError::WrongTrigger("manual"));
        }
        let start = HandStart { input, key: None, traceparent: None };
        let occasion = of_hand(rule, &self.start_event(rule, start, now), now);
        // Nobody would find the event: it is not kept.
        Ok(Occasion { cause: Cause::default(), ..occasion })
    }

    /// What the rule, which is kept as `id`, would have seen, one more than a
    /// simulation looks at.
    async fn past(
        &self,
        rule: &Rule,
        id: RuleId,
        since: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Vec<(Timestamp, Occasion)>, AutomationError> {
        match &rule.document.trigger {
            Trigger::Cron(_) => {
                let (from, count) = since.map_or((now, AHEAD), |since| (since, MOST + 1));
                let until = if since.is_some_and(|since| since < now) { now } else { Timestamp::MAX };
                let occurrences = occurrences_after(rule, from, if until == now { count } else { AHEAD });
                let due = occurrences.into_iter().filter(|occurrence| occurrence.at <= until);
                Ok(due
                    .map(|occurrence| (occurrence.at, self.at(rule, occurrence.at, occurrence.at)))
                    .collect())
            }
            Trigger::Webhook(webhook) => {
                let source = Some(InboundEvent::webhook_source(&webhook.key));
                let filter = EventFilter { source, since, ..EventFilter::default() };
                self.events(rule, filter, |event| {
                    Some(of_event(event, TriggerKind::Webhook, event.received_at))
                })
                .await
            }
            Trigger::Event { event } if event.is_about_jobs() => {
                self.ends_of_jobs(rule, event.states(), since, now).await
            }
            Trigger::Event { event } => {
                let filter = EventFilter { webhook: Some(false), since, ..EventFilter::default() };
                self.events(rule, filter, |found| {
                    let meant = event.matches(&found.kind) && !found.is_by_hand();
                    meant.then(|| of_event(found, TriggerKind::Event, found.received_at))
                })
                .await
            }
            Trigger::Manual => {
                let source = Some(InboundEvent::hand_source(id));
                let filter = EventFilter { source, since, ..EventFilter::default() };
                let starts = |event: &InboundEvent| Some(of_hand(rule, event, event.received_at));
                let mut starts = self.events(rule, filter, starts).await?;
                if starts.is_empty() {
                    // Nobody has started it: so it would be without an input.
                    starts.push((now, self.start(rule, Json::null(), now)?));
                }
                Ok(starts)
            }
        }
    }

    async fn events(
        &self,
        rule: &Rule,
        mut filter: EventFilter,
        occasion: impl Fn(&InboundEvent) -> Option<Occasion>,
    ) -> Result<Vec<(Timestamp, Occasion)>, AutomationError> {
        const READ: u32 = 500;
        let mut found = Vec::new();
        while found.len() <= MOST {
            let page = self.world.stores.events.recent(rule.tenant, &filter, READ).await?;
            filter.before = page.last().map(|event| event.id);
            found.extend(page.iter().filter_map(|event| Some((event.received_at, occasion(event)?))));
            if page.len() < READ as usize {
                break;
            }
        }
        Ok(found)
    }

    async fn ends_of_jobs(
        &self,
        rule: &Rule,
        states: Vec<taskflow_domain::JobState>,
        since: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Vec<(Timestamp, Occasion)>, AutomationError> {
        const READ: u32 = 500;
        let filter = JobFilter { states, created_after: since, ..JobFilter::default() };
        let mut page = Page { before: None, limit: READ };
        let mut found = Vec::new();
        while found.len() <= MOST {
            let jobs = self.world.stores.reader.list(rule.tenant, &filter, page, now).await?;
            page.before = jobs.last().map(|job| job.spec.id);
            for job in &jobs {
                let name = taskflow_domain::rule::EventPattern::of_state(job.standing.state())
                    .unwrap_or("job.ended");
                found.push((
                    job.updated_at,
                    self.job_occasion(job, name, job.updated_at, job.updated_at).await?,
                ));
            }
            if jobs.len() < READ as usize {
                break;
            }
        }
        Ok(found)
    }
}

/// A rule's next `count` occurrences after `from`.
fn occurrences_after(rule: &Rule, from: Timestamp, count: usize) -> Vec<Occurrence> {
    let ready = super::ready::Ready::new(rule);
    let Some(Ok(schedule)) = &ready.schedule else { return Vec::new() };
    let next = std::iter::successors(schedule.next_after(from), |last| schedule.next_after(last.at));
    next.take(count).collect()
}

/// A job that would be made.
fn shown(wish: &JobWish) -> Value {
    json!({
        "kind": wish.kind.as_str(), "payload": wish.payload.to_value(),
        "queue": wish.queue.as_ref().map(taskflow_domain::QueueName::as_str),
        "labels": wish.labels, "idempotency_key": wish.idempotency_key,
        "run_at": wish.run_at.map(|at| at.to_string()),
    })
}

/// Says what the evaluation was about, by the names that a firing has for it, and
/// by the one that the event's source has.
fn name_cause(sample: &mut Value, occasion: &Occasion) {
    if let Some(event) = occasion.cause.event {
        sample["event_id"] = event.to_string().into();
    }
    if let Some(job) = occasion.cause.job {
        sample["job_id"] = job.to_string().into();
    }
    if let Some(id) = occasion.event.as_ref().and_then(|event| event.get("id")) {
        sample["external_id"] = id.clone();
    }
}

/// Keeps the samples that are shown: of each outcome the first, as many of one as
/// of another as far as there are; errors stand first, then matches.
fn keep_samples(samples: &mut Vec<Value>) {
    let rank = |sample: &Value| match sample["outcome"].as_str() {
        Some("ERROR") => 0_usize,
        Some("FIRED") => 1,
        Some("BLOCKED") => 2,
        _ => 3,
    };
    let mut seen = [0_usize; 4];
    let numbered = std::mem::take(samples).into_iter().map(|sample| {
        let rank = rank(&sample);
        seen[rank] += 1;
        (seen[rank], rank, sample)
    });
    let mut numbered: Vec<_> = numbered.collect();
    numbered.sort_by_key(|&(number, rank, _)| (number, rank));
    numbered.truncate(SAMPLES);
    numbered.sort_by_key(|&(number, rank, _)| (rank, number));
    samples.extend(numbered.into_iter().map(|(.., sample)| sample));
}

fn finish(mut simulation: Simulation, minutes: &std::collections::BTreeMap<i64, u64>) -> Simulation {
    keep_samples(&mut simulation.samples);
    simulation.peak_jobs_per_minute = minutes.values().copied().max().unwrap_or_default();
    simulation
}
