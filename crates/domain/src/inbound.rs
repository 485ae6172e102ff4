//! What came from outside: a webhook delivery or a `CloudEvent`.

use crate::id::{CorrelationId, EventId, RuleId, TenantId};
use crate::job::Json;
use crate::time::Timestamp;

/// What came from outside, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboundEvent {
    /// For whom.
    pub tenant: TenantId,
    /// Inside the engine. A `UUIDv7` of the time of its coming.
    pub id: EventId,
    /// From where. A delivery's is `webhook:` and the rule's key, that of a start
    /// by hand `manual:` and the rule's id.
    pub source: String,
    /// Its type.
    pub kind: String,
    /// What its source calls it: of one source, one id counts once.
    pub external_id: Option<String>,
    /// What it is about.
    pub subject: Option<String>,
    /// When it happened, as its source says.
    pub at: Timestamp,
    /// When it came.
    pub received_at: Timestamp,
    /// Headers of the request that a rule may look at: an object of texts.
    pub headers: Json,
    /// What it says: a document.
    pub data: Json,
    /// What ties it to what follows.
    pub correlation_id: CorrelationId,
    /// W3C trace context of the request.
    pub traceparent: Option<String>,
    /// Why it was refused. What was refused is kept to be looked at, and does
    /// nothing.
    pub rejected: Option<String>,
}

impl InboundEvent {
    /// The source of deliveries to a rule.
    pub fn webhook_source(key: &str) -> String {
        format!("webhook:{key}")
    }

    /// The source of a rule's starts by hand.
    pub fn hand_source(rule: RuleId) -> String {
        format!("manual:{rule}")
    }

    /// Whether it is a start by hand.
    pub fn is_by_hand(&self) -> bool {
        self.source.starts_with("manual:")
    }
}
