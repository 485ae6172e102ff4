//! What came from outside, what came of it, and one tick of the engine.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{Attempt, Firing, Job, Time};

/// What came of a webhook delivery.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct DeliveryAnswer {
    /// What the delivery is called; of one rule, it counts once.
    pub delivery_id: String,
    /// What came of it.
    pub firings: Vec<Firing>,
}

/// A delivery or an event, as it was kept.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct InboundEvent {
    /// Inside the engine.
    #[schema(value_type = String, format = "uuid")]
    pub id: Uuid,
    /// From where.
    pub source: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// What its source calls it.
    pub external_id: Option<String>,
    /// What it is about.
    pub subject: Option<String>,
    /// When it happened.
    pub at: Time,
    /// When it came.
    pub received_at: Time,
    /// Why it was refused, if it was.
    pub rejected: Option<String>,
    /// What it says.
    pub data: serde_json::Value,
}

/// Deliveries to a rule, the newest first, with those that were refused.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct DeliveryList {
    /// The deliveries.
    pub items: Vec<InboundEvent>,
    /// Where the next page begins; null on the last one.
    #[schema(example = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")]
    pub next_cursor: Option<String>,
}

/// A `CloudEvent` in its JSON form. Extension attributes may stand beside these.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "specversion": "1.0", "id": "A234-1234-1234", "source": "/shop/orders", "type": "com.acme.order.paid",
    "time": "2026-01-31T09:30:00Z", "datacontenttype": "application/json", "data": {"order": 17}
}))]
pub struct CloudEvent {
    /// `1.0`.
    #[schema(pattern = "^1\\.0$", example = "1.0")]
    pub specversion: String,
    /// Of one source, one id counts once.
    #[schema(min_length = 1)]
    pub id: String,
    /// From where: a URI or a path.
    #[schema(min_length = 1)]
    pub source: String,
    /// Its type.
    #[serde(rename = "type")]
    #[schema(min_length = 1)]
    pub kind: String,
    /// `subject`, `time`, `datacontenttype`, `data` or `data_base64`, and extension attributes.
    #[serde(flatten)]
    pub more: BTreeMap<String, serde_json::Value>,
}

/// What became of one event.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct EventReceipt {
    /// Its id.
    pub id: String,
    /// Its source.
    pub source: String,
    /// Whether it had come before.
    pub duplicate: bool,
}

/// What became of events.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct EventReceipts {
    /// In the order of the request.
    pub items: Vec<EventReceipt>,
}

/// The bounds of one tick.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"max_jobs": 10, "budget_ms": 5000}))]
pub struct PulseRequest {
    /// Jobs that it runs at most; 10 if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 1000)]
    pub max_jobs: Option<u32>,
    /// How long it begins new work, in milliseconds; 5000 if not said. What runs
    /// then has as long again, of which the last quarter, at most a second, is for
    /// handing back what has not ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 30_000)]
    pub budget_ms: Option<u64>,
}

/// What one tick did.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
pub struct PulseAnswer {
    /// Rules that fired by the clock.
    pub rules: u32,
    /// Events that were dispatched.
    pub events: u32,
    /// Firings of rules that act for many tenants.
    pub fan_out: u32,
    /// Scheduled jobs that became due.
    pub promoted: u32,
    /// Jobs that were run.
    pub jobs: u32,
    /// Whether something due may be left, a job that was handed back included.
    pub more: bool,
}

/// What stands in a tree of causes: one of `event`, `firing` and `job`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TraceNode {
    /// `event`, `firing` or `job`.
    #[serde(rename = "type")]
    #[schema(example = "job")]
    pub kind: String,
    /// A delivery or an event.
    pub event: Option<InboundEvent>,
    /// A firing.
    pub firing: Option<Firing>,
    /// The name of the firing's rule, unless it is gone.
    pub rule_name: Option<String>,
    /// A job.
    pub job: Option<Box<Job>>,
    /// The job's attempts.
    pub attempts: Vec<Attempt>,
    /// What it caused.
    #[schema(no_recursion)]
    pub children: Vec<TraceNode>,
}

/// What caused what.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Trace {
    /// What ties it together.
    #[schema(value_type = String, format = "uuid")]
    pub correlation_id: Uuid,
    /// Whether there is more than a tree shows.
    pub truncated: bool,
    /// What nothing here caused, oldest first.
    pub roots: Vec<TraceNode>,
}
