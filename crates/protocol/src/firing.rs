//! Automation rules as they stand, and what they came to.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{RuleAction, RuleMode, RuleTrigger, Time};

/// A rule.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Rule {
    /// The rule.
    #[schema(value_type = String, format = "uuid")]
    pub id: Uuid,
    /// Its owner.
    #[schema(example = "default")]
    pub tenant: String,
    /// For people.
    pub name: String,
    /// Whether it is on.
    pub enabled: bool,
    /// Whether it acts.
    pub mode: RuleMode,
    /// 1, and one more with each change.
    pub revision: u32,
    /// What it waits for, without any secret.
    #[schema(value_type = RuleTrigger)]
    pub trigger: serde_json::Value,
    /// For which tenants it acts; null means its own.
    pub for_each_tenant: Option<String>,
    /// What must hold.
    pub condition: String,
    /// The jobs that it makes.
    #[schema(value_type = Vec<RuleAction>)]
    pub actions: Vec<serde_json::Value>,
    /// Of a cron rule that is on, its next occurrence.
    pub next_at: Option<Time>,
    /// The occurrence that waits for the end of the previous instance.
    pub queued_at: Option<Time>,
    /// Firings in a row that were ERROR, up to the last one.
    pub error_streak: u32,
    /// Since when it has been failing, while it does.
    pub failing_since: Option<Time>,
    /// When it last stopped failing.
    pub recovered_at: Option<Time>,
    /// When it was last evaluated.
    pub last_at: Option<Time>,
    /// What that came to.
    #[schema(example = "FIRED")]
    pub last_outcome: Option<String>,
    /// Jobs that it made.
    pub jobs_made: u64,
    /// Since when it exists.
    pub created_at: Time,
    /// When it last changed.
    pub updated_at: Time,
}

/// One evaluation of a rule.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Firing {
    /// The firing.
    #[schema(value_type = String, format = "uuid")]
    pub id: Uuid,
    /// The tenant that it was for, and whose the jobs are.
    #[schema(example = "acme")]
    pub tenant: String,
    /// The rule.
    #[schema(value_type = String, format = "uuid")]
    pub rule_id: Uuid,
    /// The rule as it then was.
    pub revision: u32,
    /// When.
    pub at: Time,
    /// What kind of trigger: `cron`, `webhook`, `event` or `manual`.
    #[schema(example = "cron")]
    pub trigger: String,
    /// Of a cron rule, the occurrence.
    pub scheduled_at: Option<Time>,
    /// The event or the delivery, by its id inside the engine.
    #[schema(value_type = Option<String>, format = "uuid")]
    pub event_id: Option<Uuid>,
    /// The job whose end it was.
    #[schema(value_type = Option<String>, format = "uuid")]
    pub caused_by_job_id: Option<Uuid>,
    /// `FIRED`, `SKIPPED`, `BLOCKED`, `SHADOW` or `ERROR`.
    #[schema(example = "FIRED")]
    pub outcome: String,
    /// Why, in a word.
    #[schema(example = "condition_false")]
    pub reason: Option<String>,
    /// Particulars for people.
    pub detail: Option<String>,
    /// The jobs that it made, or found.
    #[schema(value_type = Vec<String>)]
    pub job_ids: Vec<Uuid>,
    /// How long the evaluation took, in microseconds.
    pub duration_us: i64,
    /// How many firings stand before it in its chain.
    pub depth: u16,
    /// What ties it to its cause.
    #[schema(value_type = String, format = "uuid")]
    pub correlation_id: Uuid,
}

/// One occurrence of a schedule.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ScheduleEntry {
    /// The instant.
    pub at: Time,
    /// The same on the wall clock of the rule's zone.
    #[schema(example = "2026-03-29T03:00:00+02:00")]
    pub local: String,
    /// What the clocks had to do with it: `dst_gap`, `dst_overlap` or null.
    #[schema(example = "dst_gap")]
    pub note: Option<String>,
}

/// The next occurrences of a rule.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ScheduleList {
    /// The occurrences, the next one first.
    pub items: Vec<ScheduleEntry>,
}

/// Firings of one kind.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct FiringCount {
    /// What they came to.
    #[schema(example = "SKIPPED")]
    pub outcome: String,
    /// Why.
    #[schema(example = "condition_false")]
    pub reason: Option<String>,
    /// How many.
    pub count: u64,
}

/// What a rule came to, all in all.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RuleStats {
    /// Firings by what they came to, and why.
    pub firings: Vec<FiringCount>,
    /// Firings that made jobs.
    pub fired: u64,
    /// Firings with nothing to do.
    pub skipped: u64,
    /// Firings that must not happen, or not yet.
    pub blocked: u64,
    /// Evaluations that failed.
    pub errors: u64,
    /// Firings that only recorded what they would do.
    pub shadow: u64,
    /// Jobs made.
    pub jobs: u64,
    /// When it was last evaluated.
    pub last_at: Option<Time>,
    /// What that came to.
    pub last_outcome: Option<String>,
    /// Its next occurrence.
    pub next_at: Option<Time>,
    /// Errors in a row, up to the last firing.
    pub error_streak: u32,
    /// Since when it has been failing, while it does.
    pub failing_since: Option<Time>,
    /// When it last stopped failing.
    pub recovered_at: Option<Time>,
}

/// What a rule is started with by hand.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"input": {"day": "2026-01-31"}}))]
pub struct TriggerRequest {
    /// What expressions see as `trigger.input`: any JSON of at most 262,144 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub input: Option<serde_json::Value>,
}

/// The firings that a call brought about.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct FiringItems {
    /// The firings.
    pub items: Vec<Firing>,
}

/// A rehearsal. Any field of a rule may stand beside `since`, to be tried instead of the rule's own.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"since": "2026-01-01T00:00:00Z", "condition": "true"}))]
pub struct SimulateRequest {
    /// From when on; a week ago if not said. Of a cron rule, occurrences from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// A start by hand with this input, instead of what is stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub input: Option<serde_json::Value>,
    /// Another name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Another trigger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<RuleTrigger>,
    /// Another choice of tenants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_each_tenant: Option<String>,
    /// Another condition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// Other actions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actions: Option<Vec<RuleAction>>,
}

/// What a rule would have done. Nothing was made.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct SimulateAnswer {
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
    /// Whether there was more than a rehearsal looks at.
    pub truncated: bool,
    /// Some evaluations, at most 20: the first of each outcome, errors and matches
    /// before the others. `event_id` is the event's id inside the engine, as in a
    /// firing, and `external_id` what its source calls it.
    pub samples: Vec<serde_json::Value>,
}
