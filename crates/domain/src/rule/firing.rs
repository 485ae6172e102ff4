//! One evaluation of a rule, for one tenant.

use crate::id::{CorrelationId, EventId, FiringId, JobId, RuleId, TenantId};
use crate::rule::TriggerKind;
use crate::time::Timestamp;

/// What an evaluation came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i16)]
pub enum FiringOutcome {
    /// Its jobs were made.
    Fired = 0,
    /// Nothing was to be done.
    Skipped = 1,
    /// Something was to be done and must not, or not yet.
    Blocked = 2,
    /// It could not be evaluated.
    Error = 3,
    /// Its jobs would have been made, were the rule live.
    Shadow = 4,
}

impl FiringOutcome {
    /// All outcomes, in the order of their numbers.
    pub const ALL: [Self; 5] = [Self::Fired, Self::Skipped, Self::Blocked, Self::Error, Self::Shadow];

    /// The name in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fired => "FIRED",
            Self::Skipped => "SKIPPED",
            Self::Blocked => "BLOCKED",
            Self::Error => "ERROR",
            Self::Shadow => "SHADOW",
        }
    }

    /// The outcome of that name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.as_str() == text)
    }

    /// The number under which the databases keep it.
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// The outcome of that number.
    pub fn from_code(code: i16) -> Option<Self> {
        usize::try_from(code).ok().and_then(|code| Self::ALL.get(code).copied())
    }
}

/// The reasons of firings: a closed list of words.
pub mod reason {
    /// The condition does not hold.
    pub const CONDITION_FALSE: &str = "condition_false";
    /// The jobs of the previous instance have not ended.
    pub const PREVIOUS_RUNNING: &str = "previous_instance_running";
    /// A later occurrence already waits for the end of the previous instance.
    pub const ALREADY_QUEUED: &str = "already_queued";
    /// A later occurrence takes its place.
    pub const REPLACED: &str = "replaced";
    /// The occurrence was missed, and the rule says not to make up for it.
    pub const MISFIRE: &str = "misfire";
    /// All its jobs exist already, by their idempotency keys.
    pub const DUPLICATE: &str = "duplicate";
    /// The chain of rules and jobs is too long.
    pub const DEPTH_LIMIT: &str = "depth_limit";
    /// The tenant may have no more jobs waiting.
    pub const BACKLOG_CAP: &str = "backlog_cap";
    /// The tenant that it is for is suspended.
    pub const TENANT_SUSPENDED: &str = "tenant_suspended";
    /// A queue that its jobs are meant for is drained.
    pub const DRAINING: &str = "draining";
    /// The condition could not be evaluated.
    pub const CONDITION_ERROR: &str = "condition_error";
    /// `for_each_tenant` could not be evaluated.
    pub const TENANT_ERROR: &str = "for_each_tenant_error";
    /// A template could not be rendered, or did not give a job.
    pub const TEMPLATE_ERROR: &str = "template_error";
    /// The database refused what was asked for.
    pub const NOT_STORED: &str = "not_stored";
    /// A job's idempotency key belongs to another request.
    pub const KEY_REUSED: &str = "idempotency_key_reused";
    /// The schedule cannot be read any more.
    pub const SCHEDULE_ERROR: &str = "schedule_error";
}

/// What a rule was evaluated for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cause {
    /// The occurrence.
    pub scheduled_at: Option<Timestamp>,
    /// The event or the delivery.
    pub event: Option<EventId>,
    /// The job whose end it was.
    pub job: Option<JobId>,
}

/// One evaluation of a rule, for one tenant.
#[derive(Clone, Debug, PartialEq)]
pub struct Firing {
    /// The firing. A `UUIDv7`.
    pub id: FiringId,
    /// For whom: the owner of the jobs.
    pub tenant: TenantId,
    /// The rule's owner.
    pub rule_tenant: TenantId,
    /// The rule.
    pub rule: RuleId,
    /// The rule as it then was.
    pub revision: u32,
    /// When.
    pub at: Timestamp,
    /// What kind of trigger.
    pub trigger: TriggerKind,
    /// For what.
    pub cause: Cause,
    /// What there is one firing of, for each rule and tenant: an occurrence, a
    /// delivery, an event, a start by hand.
    pub key: Option<String>,
    /// What it came to.
    pub outcome: FiringOutcome,
    /// Why, one of [`reason`].
    pub reason: Option<String>,
    /// Particulars for people.
    pub detail: Option<String>,
    /// The jobs that it made, or found.
    pub jobs: Vec<JobId>,
    /// How long the evaluation took, in microseconds.
    pub duration_us: i64,
    /// How many firings stand before it in the chain.
    pub depth: u16,
    /// What ties it to its cause.
    pub correlation_id: CorrelationId,
}

impl Firing {
    /// The key of an occurrence.
    pub fn occurrence_key(at: Timestamp) -> String {
        format!("at:{}", at.micros())
    }

    /// The key of an event or a delivery.
    pub fn event_key(event: EventId) -> String {
        format!("event:{event}")
    }

    /// The key of an entry in a job's history.
    pub fn job_key(job: JobId, seq: u32) -> String {
        format!("job:{job}:{seq}")
    }
}
