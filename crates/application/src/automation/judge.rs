//! One evaluation of a rule for one tenant: the condition, then the templates,
//! then the jobs. Every way of firing comes through here.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use taskflow_domain::rule::{Action, Cause, MAX_DEPTH, Mode, TriggerKind, reason};
use taskflow_domain::tenant::Tenant;
use taskflow_domain::{
    Actor, CorrelationId, Delay, Firing, FiringId, FiringOutcome, JobId, JobSpec, Json, Kind, Labels,
    Priority, QueueName, Rule, Standing, Target, Timestamp,
};

use super::Automation;
use crate::document::{MAX_NESTING, depth, has_nul};
use crate::jobs::{JobWish, header_value, idempotency_key, label_value, target_url};
use crate::ports::{EvaluationFault, NewFiring, NewJob, Scope, Wanted};
use crate::template::{Template, TemplateFault, push_key};

/// What happened, as rules see it.
#[derive(Clone, Debug)]
pub(super) struct Occasion {
    pub(super) kind: TriggerKind,
    pub(super) cause: Cause,
    pub(super) key: Option<String>,
    pub(super) trigger: Value,
    pub(super) event: Option<Value>,
    pub(super) job: Option<Value>,
    pub(super) depth: u16,
    pub(super) correlation: CorrelationId,
    pub(super) traceparent: Option<String>,
    pub(super) now: Timestamp,
}

impl Occasion {
    /// What an expression sees for `tenant`.
    pub(super) fn scope(&self, tenant: &Tenant) -> Scope {
        let mut scope = Scope::at(self.now)
            .with(
                "tenant",
                json!({
                    "slug": tenant.slug.as_str(),
                    "attributes": tenant.settings.attributes.to_value(),
                    "weight": tenant.settings.weight,
                }),
            )
            .with("trigger", self.trigger.clone());
        if let Some(event) = &self.event {
            scope = scope.with("event", event.clone());
        }
        if let Some(job) = &self.job {
            scope = scope.with("job", job.clone());
        }
        scope
    }
}

/// Why an evaluation made no jobs.
type Refusal = (FiringOutcome, &'static str, Option<String>);

impl Automation {
    /// A firing of the rule for a tenant that made no jobs.
    pub(super) fn plain(
        &self,
        rule: &Rule,
        tenant: taskflow_domain::TenantId,
        occasion: &Occasion,
        (outcome, why, detail): Refusal,
    ) -> NewFiring {
        let firing = Firing {
            id: FiringId(self.world.ids.job(occasion.now).0),
            tenant,
            rule_tenant: rule.tenant,
            rule: rule.id,
            revision: rule.revision,
            at: occasion.now,
            trigger: occasion.kind,
            cause: occasion.cause,
            key: occasion.key.clone(),
            outcome,
            reason: (!why.is_empty()).then(|| why.to_owned()),
            detail,
            jobs: Vec::new(),
            duration_us: 0,
            depth: occasion.depth,
            correlation_id: occasion.correlation,
        };
        NewFiring { firing, jobs: Vec::new() }
    }

    /// Evaluates the rule for a tenant.
    pub(super) async fn judge(&self, rule: &Rule, tenant: &Tenant, occasion: &Occasion) -> NewFiring {
        let began = self.world.clock.now();
        let verdict = self.verdict(rule, tenant, occasion).await;
        let mut new = match verdict {
            Err(refusal) => self.plain(rule, tenant.id, occasion, refusal),
            Ok(wishes) if rule.mode == Mode::Shadow => {
                let kinds: Vec<_> = wishes.iter().map(|wish| wish.kind.as_str().to_owned()).collect();
                let detail = format!("would make {} jobs: {}", kinds.len(), kinds.join(", "));
                self.plain(rule, tenant.id, occasion, (FiringOutcome::Shadow, "", Some(detail)))
            }
            Ok(wishes) if let Some(queue) = self.draining(&wishes) => {
                let detail = format!("the queue {queue} is drained and takes no new jobs");
                let why = (FiringOutcome::Blocked, reason::DRAINING, Some(detail));
                self.plain(rule, tenant.id, occasion, why)
            }
            Ok(wishes) => {
                let mut new = self.plain(rule, tenant.id, occasion, (FiringOutcome::Fired, "", None));
                new.jobs = wishes.into_iter().map(|wish| self.new_job(&new.firing, wish, occasion)).collect();
                new.firing.jobs = new.jobs.iter().map(|job| job.spec.id).collect();
                new
            }
        };
        new.firing.duration_us = self.world.clock.now().micros_since(began).max(0);
        new
    }

    /// Whether a condition holds; of one that is `true` nobody is asked.
    pub(super) async fn holds(&self, source: &Arc<str>, scope: &Arc<Scope>) -> Result<bool, EvaluationFault> {
        if source.trim() == "true" {
            return Ok(true);
        }
        let answers = self
            .tools
            .conditions
            .evaluate(vec![(Arc::clone(source), Wanted::Verdict)], Arc::clone(scope))
            .await;
        match answers.into_iter().next() {
            Some(Ok(Value::Bool(verdict))) => Ok(verdict),
            Some(Ok(_)) => Err(EvaluationFault::Type("the condition answers neither true nor false".into())),
            Some(Err(fault)) => Err(fault),
            None => Err(EvaluationFault::Broken),
        }
    }

    /// The jobs that the rule wants.
    pub(super) async fn verdict(
        &self,
        rule: &Rule,
        tenant: &Tenant,
        occasion: &Occasion,
    ) -> Result<Vec<JobWish>, Refusal> {
        if occasion.depth >= MAX_DEPTH {
            let detail = format!("{MAX_DEPTH} firings stand before this one");
            return Err((FiringOutcome::Blocked, reason::DEPTH_LIMIT, Some(detail)));
        }
        if tenant.settings.suspended {
            let detail = "the tenant is suspended: no job of it is made".to_owned();
            return Err((FiringOutcome::Blocked, reason::TENANT_SUSPENDED, Some(detail)));
        }
        let ready = self.ready(rule);
        let scope = Arc::new(occasion.scope(tenant));
        match self.holds(&ready.condition, &scope).await {
            Ok(true) => {}
            Ok(false) => return Err((FiringOutcome::Skipped, reason::CONDITION_FALSE, None)),
            Err(fault) => {
                return Err((FiringOutcome::Error, reason::CONDITION_ERROR, Some(fault.to_string())));
            }
        }
        let refuse = |faults: Vec<TemplateFault>| {
            let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
            (FiringOutcome::Error, reason::TEMPLATE_ERROR, Some(faults.join("; ")))
        };
        let templates = ready.templates.as_ref().map_err(|faults| refuse(faults.clone()))?;
        let sources = templates.iter().flat_map(Template::placeholders);
        let sources: Vec<_> = sources.map(|one| (Arc::clone(&one.source), Wanted::Any)).collect();
        let answers = if sources.is_empty() {
            Vec::new()
        } else {
            self.tools.conditions.evaluate(sources, scope).await
        };
        let mut answers = answers.as_slice();
        let (mut wishes, mut faults) = (Vec::new(), Vec::new());
        for (index, (action, template)) in rule.document.actions.iter().zip(templates).enumerate() {
            let (own, rest) = answers.split_at(template.placeholders().len().min(answers.len()));
            answers = rest;
            match template.render(own) {
                Ok(rendered) => match self.wish(rule, tenant, action, &rendered, index) {
                    Ok(wish) => wishes.push(with_fingerprint(wish, rule, index)),
                    Err(fault) => faults.push(fault),
                },
                Err(found) => faults.extend(found),
            }
        }
        if faults.is_empty() { Ok(wishes) } else { Err(refuse(faults)) }
    }

    /// The job of a rendered action, with its credentials sealed for whose it is.
    fn wish(
        &self,
        rule: &Rule,
        tenant: &Tenant,
        action: &Action,
        rendered: &Value,
        index: usize,
    ) -> Result<JobWish, TemplateFault> {
        let mut wish = wish(action, rendered, index)?;
        if let Some(target) = &mut wish.target {
            self.world.pass_target(rule.tenant, tenant.id, target).map_err(|error| TemplateFault {
                pointer: format!("/actions/{index}/target/headers"),
                message: error.to_string(),
            })?;
        }
        Ok(wish)
    }

    fn new_job(&self, firing: &Firing, wish: JobWish, occasion: &Occasion) -> NewJob {
        let now = occasion.now;
        let fingerprint = wish.fingerprint;
        let run_at = wish.run_at.unwrap_or(now);
        let spec = JobSpec {
            id: JobId(self.world.ids.job(now).0),
            tenant: firing.tenant,
            queue: wish.queue.unwrap_or_else(QueueName::fallback),
            kind: wish.kind,
            priority: wish.priority,
            payload: wish.payload,
            labels: wish.labels,
            target: wish.target,
            retry_policy: wish.retry_policy,
            timeout_ms: wish.timeout_ms,
            idempotency_key: wish.idempotency_key,
            correlation_id: occasion.correlation,
            // A job of another tenant is nobody's parent.
            parent_job_id: occasion.cause.job.filter(|_| firing.tenant == firing.rule_tenant),
            rule_id: Some(firing.rule),
            firing_id: Some(firing.id),
            traceparent: occasion.traceparent.clone(),
            created_by: Actor::from_stored(format!("rule:{}", firing.rule)),
            created_at: now,
            run_at,
        };
        NewJob { standing: Standing::due_at(run_at.max(now), Delay::Requested, now), spec, fingerprint }
    }
}

/// Two jobs of one action with one key are the same job, whatever they carry.
fn with_fingerprint(mut wish: JobWish, rule: &Rule, index: usize) -> JobWish {
    let digest = Sha256::new().chain_update(rule.id.0.as_bytes()).chain_update((index as u64).to_be_bytes());
    wish.fingerprint = digest.finalize().into();
    wish
}

/// The job of a rendered action.
fn wish(action: &Action, rendered: &Value, index: usize) -> Result<JobWish, TemplateFault> {
    let fault = |field: &str, message: String| TemplateFault {
        pointer: format!("/actions/{index}/{field}").trim_end_matches('/').to_owned(),
        message,
    };
    let text = |field: &str| match rendered.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(Value::Number(number)) => Ok(Some(number.to_string())),
        Some(_) => Err(fault(field, "must render to a text".to_owned())),
    };
    if has_nul(rendered) {
        return Err(fault("", "must not render to a text with U+0000".to_owned()));
    }
    if rendered.get("payload").is_some_and(|payload| depth(payload) > MAX_NESTING) {
        return Err(fault("payload", format!("must not nest deeper than {MAX_NESTING}")));
    }
    let kind = Kind::new(&action.kind).map_err(|error| fault("kind", error.to_string()))?;
    let mut wish = JobWish::new(kind);
    if let Some(queue) = text("queue")? {
        wish.queue = Some(QueueName::new(&queue).map_err(|error| fault("queue", error.to_string()))?);
    }
    if let Some(at) = text("run_at")? {
        let at = Timestamp::parse_rfc3339(&at);
        wish.run_at = Some(at.ok_or_else(|| fault("run_at", "must render to an RFC 3339 time".to_owned()))?);
    }
    if let Some(key) = text("idempotency_key")? {
        idempotency_key(&key).map_err(|message| fault("idempotency_key", message))?;
        wish.idempotency_key = Some(key);
    }
    if let Some(priority) = &action.priority {
        wish.priority = Priority::parse(priority)
            .ok_or_else(|| fault("priority", format!("{priority} is no priority")))?;
    }
    wish.payload = Json::from(rendered.get("payload").unwrap_or(&Value::Null));
    wish.labels = labels(rendered.get("labels")).map_err(|(field, message)| fault(&field, message))?;
    wish.target = target(rendered).map_err(|(field, message)| fault(&field, message))?;
    wish.retry_policy = action.retry_policy.unwrap_or_default();
    wish.timeout_ms = action.timeout_ms.unwrap_or(JobWish::DEFAULT_TIMEOUT_MS);
    Ok(wish)
}

/// Where a rendered action executes. What a worker may reach is the worker's to say.
fn target(rendered: &Value) -> Result<Option<Target>, (String, String)> {
    let Some(target) = rendered.get("target").filter(|target| !target.is_null()) else { return Ok(None) };
    let mut target = target.clone();
    // An expression that stands alone keeps its type, and a header is a text.
    for (name, value) in target.get_mut("headers").and_then(Value::as_object_mut).into_iter().flatten() {
        if value.is_number() || value.is_boolean() {
            *value = Value::String(value.to_string());
        } else if !value.is_string() {
            return Err((member("target/headers", name), "must render to a text".to_owned()));
        }
    }
    let target = Target::deserialize(target)
        .map_err(|_| ("target".to_owned(), "does not render to a target as jobs have it".to_owned()))?;
    if let Target::Http(http) = &target {
        target_url(&http.url).map_err(|message| ("target/url".to_owned(), message))?;
        for (name, value) in &http.headers {
            header_value(value).map_err(|message| (member("target/headers", name), message))?;
        }
    }
    Ok(Some(target))
}

/// The place of a member of an object.
fn member(object: &str, key: &str) -> String {
    let mut place = object.to_owned();
    push_key(&mut place, key);
    place
}

fn labels(rendered: Option<&Value>) -> Result<Labels, (String, String)> {
    let mut labels: Labels = BTreeMap::new();
    for (key, value) in rendered.and_then(Value::as_object).into_iter().flatten() {
        let value = match value {
            Value::String(text) => text.clone(),
            Value::Number(_) | Value::Bool(_) => value.to_string(),
            _ => return Err((member("labels", key), "must render to a text".to_owned())),
        };
        label_value(&value).map_err(|message| (member("labels", key), message))?;
        labels.insert(key.clone(), value);
    }
    Ok(labels)
}
