//! `rule`, `firing`, `fan_out`, `event`: automation.

use taskflow_application::ports::{FanOut, Happened, Pending, RuleLine, StoreError, StoreResult};
use taskflow_domain::rule::{Cause, Health, Mode, TriggerKind};
use taskflow_domain::{
    CorrelationId, EventId, FanOutId, Firing, FiringId, FiringOutcome, InboundEvent, JobId, JobState, Json,
    Rule, RuleId, TenantId, TenantSlug, Timestamp,
};
use uuid::Uuid;

use super::{corrupt, row};

row! {
    /// A row of `rule`.
    RuleRow {
        tenant_id: i32,
        id: Uuid,
        enabled: bool,
        mode: i16,
        revision: i32,
        body: String,
        next_at: Option<i64>,
        queued_at: Option<i64>,
        streak: i32,
        failing_since: Option<i64>,
        recovered_at: Option<i64>,
        last_at: Option<i64>,
        last_outcome: Option<i16>,
        jobs_made: i64,
        created_at: i64,
        updated_at: i64,
    }
}

row! {
    /// What a list of all rules shows of a row of `rule`.
    RuleLineRow {
        id: Uuid,
        name: String,
        trigger_kind: i16,
        enabled: bool,
        mode: i16,
        revision: i32,
        next_at: Option<i64>,
        queued_at: Option<i64>,
        streak: i32,
        failing_since: Option<i64>,
        recovered_at: Option<i64>,
        last_at: Option<i64>,
        last_outcome: Option<i16>,
        jobs_made: i64,
    }
}

impl RuleLineRow {
    /// The rule, of the tenant with that slug.
    pub(crate) fn line(self, slug: &str) -> StoreResult<RuleLine> {
        let id = self.id;
        Ok(RuleLine {
            tenant: TenantSlug::new(slug)
                .map_err(|detail| corrupt("rule", "tenant_id", id, detail.to_string()))?,
            id: RuleId(id),
            name: self.name,
            trigger: trigger("rule", id, self.trigger_kind)?,
            enabled: self.enabled,
            mode: Mode::from_code(self.mode)
                .ok_or_else(|| corrupt("rule", "mode", id, self.mode.to_string()))?,
            revision: count(id, "revision", self.revision)?,
            next_at: time(self.next_at),
            queued_at: time(self.queued_at),
            health: Health {
                streak: count(id, "streak", self.streak)?,
                failing_since: time(self.failing_since),
                recovered_at: time(self.recovered_at),
                last_at: time(self.last_at),
                last_outcome: last_outcome(id, self.last_outcome)?,
            },
            jobs_made: u64::try_from(self.jobs_made).unwrap_or_default(),
        })
    }
}

fn count(rule: Uuid, column: &'static str, n: i32) -> StoreResult<u32> {
    u32::try_from(n).map_err(|detail| corrupt("rule", column, rule, detail.to_string()))
}

fn last_outcome(rule: Uuid, code: Option<i16>) -> StoreResult<Option<FiringOutcome>> {
    let outcome = |code: i16| {
        FiringOutcome::from_code(code).ok_or_else(|| corrupt("rule", "last_outcome", rule, code.to_string()))
    };
    code.map(outcome).transpose()
}

fn time(at: Option<i64>) -> Option<Timestamp> {
    at.map(Timestamp::from_micros)
}

impl RuleRow {
    /// The rule.
    pub(crate) fn rule(self) -> StoreResult<Rule> {
        let id = self.id;
        let fault = |column, detail: String| corrupt("rule", column, id, detail);
        Ok(Rule {
            tenant: TenantId(self.tenant_id),
            id: RuleId(id),
            enabled: self.enabled,
            mode: Mode::from_code(self.mode).ok_or_else(|| fault("mode", self.mode.to_string()))?,
            revision: count(id, "revision", self.revision)?,
            document: serde_json::from_str(&self.body).map_err(|detail| fault("body", detail.to_string()))?,
            next_at: time(self.next_at),
            queued_at: time(self.queued_at),
            health: Health {
                streak: count(id, "streak", self.streak)?,
                failing_since: time(self.failing_since),
                recovered_at: time(self.recovered_at),
                last_at: time(self.last_at),
                last_outcome: last_outcome(id, self.last_outcome)?,
            },
            jobs_made: u64::try_from(self.jobs_made).unwrap_or_default(),
            created_at: Timestamp::from_micros(self.created_at),
            updated_at: Timestamp::from_micros(self.updated_at),
        })
    }
}

/// A rule's document as it is stored.
pub(crate) fn document_text(rule: &Rule) -> StoreResult<String> {
    serde_json::to_string(&rule.document).map_err(|fault| StoreError::Rejected(fault.to_string()))
}

/// A rule's webhook key, if it has one.
pub(crate) fn webhook_key(rule: &Rule) -> Option<&str> {
    match &rule.document.trigger {
        taskflow_domain::rule::Trigger::Webhook(webhook) => Some(&webhook.key),
        _ => None,
    }
}

/// The ends of jobs that a rule listens to while it is on.
pub(crate) fn watched(rule: &Rule) -> Vec<i16> {
    match &rule.document.trigger {
        taskflow_domain::rule::Trigger::Event { event } if rule.enabled => {
            event.states().into_iter().map(JobState::code).collect()
        }
        _ => Vec::new(),
    }
}

row! {
    /// A row of `firing`.
    FiringRow {
        tenant_id: i32,
        id: Uuid,
        rule_tenant_id: i32,
        rule_id: Uuid,
        revision: i32,
        at: i64,
        trigger_kind: i16,
        key: Option<String>,
        scheduled_at: Option<i64>,
        event_id: Option<Uuid>,
        job_id: Option<Uuid>,
        outcome: i16,
        reason: Option<String>,
        detail: Option<String>,
        /// A JSON array of ids.
        jobs: String,
        duration_us: i64,
        depth: i16,
        correlation_id: Uuid,
    }
}

/// Ids of jobs as they are stored.
pub(crate) fn ids_to_text(jobs: &[JobId]) -> String {
    let ids: Vec<_> = jobs.iter().map(|job| format!("\"{job}\"")).collect();
    format!("[{}]", ids.join(","))
}

/// Ids of jobs from their stored form.
pub(crate) fn ids_from_text(text: &str) -> Result<Vec<JobId>, serde_json::Error> {
    let ids: Vec<Uuid> = serde_json::from_str(text)?;
    Ok(ids.into_iter().map(JobId).collect())
}

fn trigger(table: &'static str, id: Uuid, code: i16) -> StoreResult<TriggerKind> {
    TriggerKind::from_code(code).ok_or_else(|| corrupt(table, "trigger_kind", id, code))
}

impl FiringRow {
    /// The row of a firing.
    pub(crate) fn of(firing: &Firing) -> Self {
        Self {
            tenant_id: firing.tenant.0,
            id: firing.id.0,
            rule_tenant_id: firing.rule_tenant.0,
            rule_id: firing.rule.0,
            revision: i32::try_from(firing.revision).unwrap_or(i32::MAX),
            at: firing.at.micros(),
            trigger_kind: firing.trigger.code(),
            key: firing.key.clone(),
            scheduled_at: firing.cause.scheduled_at.map(Timestamp::micros),
            event_id: firing.cause.event.map(|id| id.0),
            job_id: firing.cause.job.map(|id| id.0),
            outcome: firing.outcome.code(),
            reason: firing.reason.clone(),
            detail: firing.detail.clone(),
            jobs: ids_to_text(&firing.jobs),
            duration_us: firing.duration_us,
            depth: i16::try_from(firing.depth).unwrap_or(i16::MAX),
            correlation_id: firing.correlation_id.0,
        }
    }

    /// The firing.
    pub(crate) fn firing(self) -> StoreResult<Firing> {
        let id = self.id;
        let fault = |column, detail: String| corrupt("firing", column, id, detail);
        Ok(Firing {
            id: FiringId(id),
            tenant: TenantId(self.tenant_id),
            rule_tenant: TenantId(self.rule_tenant_id),
            rule: RuleId(self.rule_id),
            revision: u32::try_from(self.revision).unwrap_or_default(),
            at: Timestamp::from_micros(self.at),
            trigger: trigger("firing", id, self.trigger_kind)?,
            cause: Cause {
                scheduled_at: time(self.scheduled_at),
                event: self.event_id.map(EventId),
                job: self.job_id.map(JobId),
            },
            key: self.key,
            outcome: FiringOutcome::from_code(self.outcome)
                .ok_or_else(|| fault("outcome", self.outcome.to_string()))?,
            reason: self.reason,
            detail: self.detail,
            jobs: ids_from_text(&self.jobs).map_err(|detail| fault("jobs", detail.to_string()))?,
            duration_us: self.duration_us,
            depth: u16::try_from(self.depth).unwrap_or_default(),
            correlation_id: CorrelationId(self.correlation_id),
        })
    }
}

row! {
    /// A row of `fan_out`.
    FanOutRow {
        id: Uuid,
        rule_tenant_id: i32,
        rule_id: Uuid,
        trigger_kind: i16,
        key: Option<String>,
        scheduled_at: Option<i64>,
        event_id: Option<Uuid>,
        job_id: Option<Uuid>,
        at: i64,
        depth: i16,
        correlation_id: Uuid,
        after_tenant: Option<String>,
    }
}

impl FanOutRow {
    /// The row of a fan-out.
    pub(crate) fn of(fan_out: &FanOut) -> Self {
        Self {
            id: fan_out.id.0,
            rule_tenant_id: fan_out.rule_tenant.0,
            rule_id: fan_out.rule.0,
            trigger_kind: fan_out.trigger.code(),
            key: fan_out.key.clone(),
            scheduled_at: fan_out.cause.scheduled_at.map(Timestamp::micros),
            event_id: fan_out.cause.event.map(|id| id.0),
            job_id: fan_out.cause.job.map(|id| id.0),
            at: fan_out.at.micros(),
            depth: i16::try_from(fan_out.depth).unwrap_or(i16::MAX),
            correlation_id: fan_out.correlation_id.0,
            after_tenant: fan_out.after.as_ref().map(|slug| slug.as_str().to_owned()),
        }
    }

    /// The fan-out.
    pub(crate) fn fan_out(self) -> StoreResult<FanOut> {
        let id = self.id;
        let after = self.after_tenant.as_deref().map(TenantSlug::new).transpose();
        Ok(FanOut {
            id: FanOutId(id),
            rule_tenant: TenantId(self.rule_tenant_id),
            rule: RuleId(self.rule_id),
            trigger: trigger("fan_out", id, self.trigger_kind)?,
            cause: Cause {
                scheduled_at: time(self.scheduled_at),
                event: self.event_id.map(EventId),
                job: self.job_id.map(JobId),
            },
            key: self.key,
            at: Timestamp::from_micros(self.at),
            depth: u16::try_from(self.depth).unwrap_or_default(),
            correlation_id: CorrelationId(self.correlation_id),
            after: after.map_err(|detail| corrupt("fan_out", "after_tenant", id, detail))?,
        })
    }
}

row! {
    /// A row of `event`.
    InboundRow {
        tenant_id: i32,
        id: Uuid,
        source: String,
        kind: String,
        external_id: Option<String>,
        subject: Option<String>,
        at: i64,
        received_at: i64,
        headers: String,
        data: String,
        correlation_id: Uuid,
        traceparent: Option<String>,
        rejected: Option<String>,
    }
}

impl InboundRow {
    /// The event.
    pub(crate) fn event(self) -> InboundEvent {
        InboundEvent {
            tenant: TenantId(self.tenant_id),
            id: EventId(self.id),
            source: self.source,
            kind: self.kind,
            external_id: self.external_id,
            subject: self.subject,
            at: Timestamp::from_micros(self.at),
            received_at: Timestamp::from_micros(self.received_at),
            headers: Json::from_valid(&self.headers),
            data: Json::from_valid(&self.data),
            correlation_id: CorrelationId(self.correlation_id),
            traceparent: self.traceparent,
            rejected: self.rejected,
        }
    }
}

row! {
    /// A row of `event_pending`.
    PendingRow {
        id: i64,
        tenant_id: i32,
        event_id: Option<Uuid>,
        job_id: Option<Uuid>,
        seq: Option<i32>,
        state: Option<i16>,
        at: i64,
    }
}

impl PendingRow {
    /// The entry.
    pub(crate) fn pending(self) -> StoreResult<Pending> {
        let fault = |column, detail: &str| corrupt("event_pending", column, self.id, detail);
        let what = match (self.event_id, self.job_id) {
            (Some(event), None) => Happened::Event(EventId(event)),
            (None, Some(job)) => Happened::Job {
                job: JobId(job),
                seq: self.seq.and_then(|seq| u32::try_from(seq).ok()).ok_or_else(|| fault("seq", "none"))?,
                state: self
                    .state
                    .and_then(JobState::from_code)
                    .ok_or_else(|| fault("state", "is no state"))?,
            },
            _ => return Err(fault("event_id", "neither an event nor a job, or both")),
        };
        Ok(Pending {
            id: self.id,
            tenant: TenantId(self.tenant_id),
            what,
            at: Timestamp::from_micros(self.at),
        })
    }
}
