//! The automation rule: when X happens and Y holds, create these jobs.
//!
//! A rule is a document that people write ([`RuleDocument`]) and what the engine
//! keeps beside it ([`Rule`]): whether it is on, how often it was changed, where
//! its clock stands, how well it does. Each evaluation of it is a [`Firing`].

mod firing;
mod health;
mod trigger;

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use crate::id::{RuleId, TenantId};
use crate::retry::RetryPolicy;
use crate::target::Target;
use crate::time::Timestamp;

pub use firing::{Cause, Firing, FiringOutcome, reason};
pub use health::Health;
pub use trigger::{CronTrigger, EventPattern, Scheme, SignatureSpec, Trigger, TriggerKind, WebhookTrigger};

/// A chain of rules and jobs is cut when a firing would stand this deep.
pub const MAX_DEPTH: u16 = 10;
/// The most actions of one rule.
pub const MAX_ACTIONS: usize = 50;

/// Whether a rule acts or only says what it would do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(i16)]
pub enum Mode {
    /// It makes jobs.
    #[default]
    Live = 0,
    /// It records what it would do, and makes nothing.
    Shadow = 1,
}

impl Mode {
    /// The name in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Shadow => "shadow",
        }
    }

    /// The number under which the databases keep it.
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// The mode of that number.
    pub const fn from_code(code: i16) -> Option<Self> {
        match code {
            0 => Some(Self::Live),
            1 => Some(Self::Shadow),
            _ => None,
        }
    }
}

/// A job template. Every text of `queue`, `payload`, `labels`, `run_at` and
/// `idempotency_key` may hold `${…}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Action {
    /// What the job does.
    pub kind: String,
    /// Where it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// How urgent it is: the word of a priority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<String>,
    /// What it works on.
    #[serde(default)]
    pub payload: serde_json::Value,
    /// What it can be found by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Where it executes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// How often it is tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_policy: Option<RetryPolicy>,
    /// How long one attempt may take, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// When it is to run: RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_at: Option<String>,
    /// What makes a repeated job the same job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
}

/// A rule as people write it. Secrets are not part of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleDocument {
    /// For people.
    pub name: String,
    /// What it waits for.
    pub trigger: Trigger,
    /// Which tenants it acts for: a condition over `tenant`. Without one it acts
    /// for its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_each_tenant: Option<String>,
    /// What must hold.
    #[serde(default = "always")]
    pub condition: String,
    /// The jobs that it makes.
    pub actions: Vec<Action>,
}

fn always() -> String {
    "true".to_owned()
}

/// A rule as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Its owner.
    pub tenant: TenantId,
    /// The rule.
    pub id: RuleId,
    /// Whether it is on.
    pub enabled: bool,
    /// Whether it acts.
    pub mode: Mode,
    /// 1, and one more with each change.
    pub revision: u32,
    /// What it says.
    pub document: RuleDocument,
    /// Of a cron rule, the next occurrence that nobody has fired.
    pub next_at: Option<Timestamp>,
    /// The occurrence that waits for the end of the previous instance.
    pub queued_at: Option<Timestamp>,
    /// How well it does.
    pub health: Health,
    /// Jobs that it made.
    pub jobs_made: u64,
    /// Since when it exists.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}
