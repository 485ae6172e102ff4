//! Automation rules as they are asked for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{JobPriority, JobTarget, RetryPolicy, schema};

/// Whether a rule acts, or only records what it would do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RuleMode {
    /// It makes jobs.
    #[default]
    Live,
    /// It records what it would do, and makes nothing.
    Shadow,
}

/// How a cron expression is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CronDialect {
    /// Five fields, or six with seconds first; Sunday is 0 or 7.
    Standard,
    /// Six fields with seconds first, or seven with a year; Sunday is 1.
    Quartz,
}

/// What happens while the previous instance runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OverlapPolicy {
    /// Both run.
    Allow,
    /// The new one does not happen.
    Skip,
    /// The new one waits; at most one does.
    QueueOne,
    /// The previous one is cancelled.
    Replace,
}

/// What happens to occurrences that nobody fired in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MisfireChoice {
    /// Nothing.
    Skip,
    /// The latest of them fires.
    RunOnce,
    /// The latest `max` of them fire.
    RunAll,
}

/// The answer to missed occurrences.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MisfireRule {
    /// What happens to them; `run_once` if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<MisfireChoice>,
    /// How many `run_all` fires at most; 100 if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1000)]
    pub max: Option<u32>,
    /// Later ones are given up, whatever the policy, in milliseconds; 31 days if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1_000, maximum = 2_678_400_000_u64, example = 3_600_000)]
    pub max_lateness_ms: Option<u64>,
}

/// What becomes of a time that the clocks jump over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DstGap {
    /// It comes right after the jump.
    RunAfter,
    /// It is left out.
    Skip,
}

/// Which is meant of two equal times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DstOverlap {
    /// The first.
    First,
    /// The second.
    Second,
    /// Both.
    Both,
}

/// The answer to changes of the clocks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DstAnswer {
    /// When they jump ahead; `run_after` if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<DstGap>,
    /// When they go back; `first` if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap: Option<DstOverlap>,
}

/// How the deliveries of a webhook are signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SignatureScheme {
    /// Standard Webhooks.
    Standard,
    /// GitHub.
    Github,
    /// Stripe.
    Stripe,
    /// Slack.
    Slack,
    /// Any HMAC with SHA-256.
    HmacSha256,
    /// Not at all.
    None,
}

/// How the deliveries of a webhook are signed, and with what.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleSignature {
    /// The scheme; `none` if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<SignatureScheme>,
    /// The secret. It is kept sealed and never shown. A new one leaves the old one good for a day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(write_only, min_length = 8, max_length = 512, example = "It's a Secret to Everybody")]
    pub secret: Option<String>,
    /// Of `hmac-sha256`: the header of the signature; `X-Signature` if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// Of `hmac-sha256`: what stands before the signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Of `hmac-sha256`: `hex` (if not said) or `base64`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
    /// Of `hmac-sha256`: what is signed, of `{timestamp}`, `{id}` and `{body}`; `{body}` if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// Of `hmac-sha256`: the header of the time in seconds; `X-Timestamp` if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp_header: Option<String>,
    /// The header that names the delivery, where the scheme has no name of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id_header: Option<String>,
    /// How far the time of a delivery may be from now, in seconds; 300 if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 3600)]
    pub tolerance_s: Option<u64>,
}

/// What a rule waits for.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum RuleTrigger {
    /// The clock.
    Cron {
        /// When: five fields, six with seconds first, or a name such as `@daily`.
        #[schema(max_length = 256, example = "0 7 * * *")]
        expression: String,
        /// In which IANA zone; `UTC` if not said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schema(example = "Europe/Madrid")]
        timezone: Option<String>,
        /// How the expression is read; `standard` if not said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        dialect: Option<CronDialect>,
        /// What happens while the previous instance runs; `allow` if not said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        overlap: Option<OverlapPolicy>,
        /// What happens to missed occurrences.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        misfire: Option<MisfireRule>,
        /// What happens when the clocks change.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        dst: Option<DstAnswer>,
        /// The rule fires up to so many milliseconds later, always the same for one rule.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schema(minimum = 0, maximum = 3_600_000)]
        jitter_ms: Option<u64>,
    },
    /// A call from outside.
    Webhook {
        /// What the address ends in; made if not said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schema(min_length = 8, max_length = 128, pattern = "^[A-Za-z0-9_-]*$")]
        key: Option<String>,
        /// How deliveries are signed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signature: Option<RuleSignature>,
    },
    /// An event.
    Event {
        /// Which: `job.succeeded`, `job.failed`, `job.dead`, `job.cancelled`, or a type of CloudEvents, in
        /// which `*` stands for anything.
        #[schema(min_length = 1, max_length = 255, example = "com.acme.order.*")]
        event: String,
    },
    /// Somebody's hand.
    Manual,
}

/// A job template. `${…}` in a text of `queue`, `payload`, `labels`, `target`, `run_at` and `idempotency_key` is CEL.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleAction {
    /// What the job does.
    #[schema(min_length = 1, max_length = 100, example = "recalculate-billing")]
    pub kind: String,
    /// Where it waits; the queue `default` if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// How urgent it is; `medium` if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<JobPriority>,
    /// What it works on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>, example = json!({"tenant": "${tenant.slug}"}))]
    pub payload: Option<serde_json::Value>,
    /// What it can be found by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = schema::labels_or_null)]
    pub labels: Option<BTreeMap<String, String>>,
    /// Where it executes; a pulling worker if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<JobTarget>,
    /// How often it is tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_policy: Option<RetryPolicy>,
    /// How long one attempt may take, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 86_400_000)]
    pub timeout_ms: Option<u64>,
    /// When it is to run: RFC 3339, or a template of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_at: Option<String>,
    /// What makes a repeated job the same job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
}

/// A rule to be changed: a rule to be kept, and beside it whatever the engine shows of it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "name": "by-hand", "revision": 1, "trigger": {"type": "manual"}, "actions": [{"kind": "greet"}]
}))]
pub struct RulePut {
    /// For people.
    #[schema(min_length = 1, max_length = 200)]
    pub name: String,
    /// Whether it is on; it is if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Whether it acts; `live` if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<RuleMode>,
    /// What it waits for. A webhook keeps the key, the signature and the secret that are not said.
    pub trigger: RuleTrigger,
    /// For which tenants it acts. Needs an operator's key. Its own if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 4096)]
    pub for_each_tenant: Option<String>,
    /// What must hold; `true` if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 4096)]
    pub condition: Option<String>,
    /// The jobs that it makes: 1 to 50.
    #[schema(min_items = 1, max_items = 50)]
    pub actions: Vec<RuleAction>,
    /// The revision that the change is meant for: made only if the rule still has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub revision: Option<u32>,
    /// The rule, which cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "uuid")]
    pub id: Option<uuid::Uuid>,
    /// Its owner, which cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Ignored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_at: Option<serde_json::Value>,
    /// Ignored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued_at: Option<serde_json::Value>,
    /// Ignored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_streak: Option<serde_json::Value>,
    /// Ignored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing_since: Option<serde_json::Value>,
    /// Ignored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovered_at: Option<serde_json::Value>,
    /// Ignored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_at: Option<serde_json::Value>,
    /// Ignored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_outcome: Option<serde_json::Value>,
    /// Ignored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jobs_made: Option<serde_json::Value>,
    /// Ignored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<serde_json::Value>,
    /// Ignored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<serde_json::Value>,
}

/// A rule to be kept.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "name": "nightly-billing",
    "enabled": true,
    "mode": "live",
    "trigger": {
        "type": "cron", "expression": "0 7 * * *", "timezone": "Europe/Madrid", "overlap": "skip",
        "misfire": {"policy": "run_once", "max_lateness_ms": 3_600_000},
        "dst": {"gap": "run_after", "overlap": "first"}
    },
    "for_each_tenant": "tenant.attributes.plan == 'pro'",
    "condition": "true",
    "actions": [{
        "kind": "recalculate-billing", "queue": "billing", "priority": "high",
        "payload": {"tenant": "${tenant.slug}", "day": "${trigger.scheduled_at}"}
    }]
}))]
pub struct RuleRequest {
    /// For people.
    #[schema(min_length = 1, max_length = 200, example = "nightly-billing")]
    pub name: String,
    /// Whether it is on; it is if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Whether it acts; `live` if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<RuleMode>,
    /// What it waits for.
    pub trigger: RuleTrigger,
    /// For which tenants it acts: CEL over `tenant`. Needs an operator's key. Its own if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 4096, example = "tenant.attributes.plan == 'pro'")]
    pub for_each_tenant: Option<String>,
    /// What must hold: CEL over `tenant`, `trigger`, `event`, `job` and `now`; `true` if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 4096, example = "true")]
    pub condition: Option<String>,
    /// The jobs that it makes: 1 to 50.
    #[schema(min_items = 1, max_items = 50)]
    pub actions: Vec<RuleAction>,
}
