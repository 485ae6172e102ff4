//! What is known of automation rules and of what they came to: plain records
//! like those of [`crate::history`].

use serde::{Deserialize, Serialize};

/// An automation rule as it stood in the end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RuleRow {
    /// Its id.
    pub rule: String,
    /// Its owner.
    pub tenant: String,
    /// Since when it certainly exists; none if nobody was ever told so.
    pub since: Option<i64>,
    /// The tenants that it acts for.
    pub acts_for: Vec<String>,
    /// Its clock, if the clock starts it.
    #[serde(default)]
    pub clock: Option<ClockRow>,
    /// The events that it listens to, jobs' ends as `job.succeeded` and so on.
    #[serde(default)]
    pub listens: Vec<String>,
    /// What the source of its deliveries is called, if it has one.
    #[serde(default)]
    pub webhook: Option<String>,
}

/// The clock of a rule: one occurrence every so often.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClockRow {
    /// The first occurrence.
    pub first: i64,
    /// From one to the next.
    pub every_us: i64,
    /// The first occurrence about which nothing was decided when it was looked at.
    pub cursor: i64,
    /// When that was.
    pub seen_at: i64,
    /// The occurrence that still waited for the end of the one before.
    #[serde(default)]
    pub waits: Option<i64>,
    /// How late an occurrence may be fired at the most.
    pub max_late_us: i64,
}

/// What a rule was evaluated for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Cause {
    /// An occurrence.
    Occurrence {
        /// Its time.
        at: i64,
    },
    /// Occurrences that were given up.
    Missed {
        /// The first of them.
        first: i64,
        /// The last of them.
        last: i64,
    },
    /// A delivery or another event from outside.
    Event {
        /// Which.
        event: String,
    },
    /// The end of a job.
    JobEnd {
        /// Which job.
        job: String,
        /// By which entry of its history.
        seq: u32,
    },
    /// Somebody's hand.
    Hand,
}

/// One evaluation of a rule for one tenant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FiringRow {
    /// Its id.
    pub firing: String,
    /// The rule.
    pub rule: String,
    /// For whom.
    pub tenant: String,
    /// When.
    pub at: i64,
    /// For what.
    pub cause: Cause,
    /// What it came to.
    pub outcome: String,
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
    /// The jobs that it made or found.
    #[serde(default)]
    pub jobs: Vec<String>,
    /// How many firings stand before it.
    #[serde(default)]
    pub depth: u32,
}

impl FiringRow {
    /// Whether it made what the rule makes.
    pub fn fired(&self) -> bool {
        self.outcome == "FIRED"
    }

    /// Whether it only says that its occurrence waits for the end of the one before.
    pub fn waits(&self) -> bool {
        self.outcome == "BLOCKED" && self.reason.as_deref() == Some("previous_instance_running")
    }
}

/// What came from outside, as it was kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InboundRow {
    /// The engine's name for it.
    pub event: String,
    /// Whose.
    pub tenant: String,
    /// From where.
    pub source: String,
    /// What its source calls it.
    pub id: Option<String>,
    /// Its type.
    pub kind: String,
    /// When it came.
    pub received_at: i64,
    /// Whether it was kept only to show that it was refused.
    pub refused: bool,
}
