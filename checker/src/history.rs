//! What is known of a run: plain records, each kind one file of JSON lines.
//!
//! All times are microseconds of one clock, the one that the engine stamps its
//! records with. Records of one kind stand in the order in which they were made.

use serde::{Deserialize, Serialize};

pub use crate::firings::{Cause, ClockRow, FiringRow, InboundRow, RuleRow};

/// Everything that is known of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    /// How the run was set up, and how it ended.
    pub run: Run,
    /// What clients and operators asked for, and what they were told.
    pub calls: Vec<Call>,
    /// The jobs as they stood in the end.
    pub jobs: Vec<JobRow>,
    /// The attempts as they stood in the end.
    pub attempts: Vec<AttemptRow>,
    /// The histories of the jobs as they stood in the end.
    pub events: Vec<EventRow>,
    /// Leases as they were given, extended and ended, in the order of the commits.
    pub leases: Vec<LeaseRow>,
    /// What the targets of the jobs saw.
    pub effects: Vec<Effect>,
    /// What was done to the engine.
    pub faults: Vec<Fault>,
    /// How many jobs each queue said that it held in the end.
    pub depths: Vec<DepthRow>,
    /// The automation rules as they stood in the end.
    pub rules: Vec<RuleRow>,
    /// What they came to.
    pub firings: Vec<FiringRow>,
    /// What came from outside for them.
    pub inbound: Vec<InboundRow>,
}

/// How a run was set up, and how it ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// How long a lease lasts without being extended.
    pub lease_us: i64,
    /// How long after its end a lease may stand before it is taken back.
    pub reap_bound_us: i64,
    /// How far stamps may be beside each other, because they were made by the
    /// clocks of several processes.
    #[serde(default)]
    pub clock_slack_us: i64,
    /// When the run ended.
    pub ended_at: i64,
    /// Whether the faults were healed and the engine was given the time to
    /// finish: then nothing that could run may be left.
    pub settled: bool,
    /// Whether the targets' log holds every execution.
    pub effects_complete: bool,
    /// How many events waited in the end to be seen by the rules that listen.
    #[serde(default)]
    pub undispatched: u64,
}

impl Default for Run {
    fn default() -> Self {
        Self {
            lease_us: 30_000_000,
            reap_bound_us: 5_000_000,
            clock_slack_us: 0,
            ended_at: i64::MAX,
            settled: false,
            effects_complete: false,
            undispatched: 0,
        }
    }
}

/// What the caller knows of the outcome of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Known {
    /// It was told that it was done.
    Ok,
    /// It was told that it was not done.
    Fail,
    /// It was told nothing, or that nobody knows.
    Unknown,
}

/// One call of a client or an operator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// When it was sent.
    pub invoked_at: i64,
    /// When the answer came, or when the caller gave up.
    pub returned_at: i64,
    /// What the caller knows.
    pub known: Known,
    /// What it was about.
    pub op: Op,
}

/// What a call was about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Op {
    /// A job was submitted.
    Submit {
        /// By whom.
        tenant: String,
        /// Told apart from every other request by this; repeats of one request share it.
        marker: String,
        /// The idempotency key.
        key: Option<String>,
        /// When it was to run at the earliest, if that was said.
        run_at: Option<i64>,
        /// The id in the answer.
        job: Option<String>,
    },
    /// A job was to end.
    Cancel {
        /// Which job.
        job: String,
    },
    /// A worker reported the end of an attempt.
    Settle {
        /// Which job.
        job: String,
        /// Under which fence.
        token: String,
        /// Which outcome it reported.
        outcome: String,
        /// The job's state afterwards, as the worker was told.
        then: Option<String>,
    },
    /// A worker extended a lease, or told progress.
    Extend {
        /// Which job.
        job: String,
        /// Under which fence.
        token: String,
    },
    /// An operator set a queue.
    SetQueue {
        /// Which queue.
        queue: String,
        /// Its jobs that may run at once.
        max_running: Option<u64>,
        /// Those of one tenant.
        max_running_per_tenant: Option<u64>,
        /// Its starts in a time.
        rate: Option<Rate>,
        /// Whether it is held.
        paused: bool,
        /// When the hold ends by itself.
        paused_until: Option<i64>,
    },
    /// An operator set a tenant.
    SetTenant {
        /// Which tenant.
        tenant: String,
        /// Its jobs that may run at once.
        max_running: Option<u64>,
        /// Whether it is held.
        paused: bool,
    },
    /// A webhook was delivered.
    Deliver {
        /// The source that its rule hears.
        source: String,
        /// What its sender calls it.
        id: String,
        /// Whether its signature was good.
        genuine: bool,
        /// The firings in the answer.
        firings: Vec<String>,
    },
    /// An event was told.
    Ingest {
        /// Whose.
        tenant: String,
        /// From where.
        source: String,
        /// What its source calls it.
        id: String,
    },
}

/// So many starts in so much time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// Starts in a period; also the burst.
    pub limit: u32,
    /// The period.
    pub period_us: i64,
}

/// A job as it stood in the end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobRow {
    /// Its id.
    pub job: String,
    /// Its owner.
    pub tenant: String,
    /// Its queue.
    pub queue: String,
    /// The submit that it came from.
    pub marker: String,
    /// Its idempotency key.
    pub key: Option<String>,
    /// Where it stood.
    pub state: String,
    /// When it was to run next, or when it last was.
    pub due: i64,
    /// The attempts of its retry policy.
    pub max_attempts: u32,
    /// The number of its last entry.
    pub seq: u32,
    /// Its executions.
    pub attempts: u32,
    /// The firing that made it, if a rule did.
    #[serde(default)]
    pub firing: Option<String>,
}

/// An attempt as it stood in the end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AttemptRow {
    /// Its job.
    pub job: String,
    /// Its job's owner.
    pub tenant: String,
    /// 1 for the first.
    pub number: u32,
    /// Who ran it.
    pub worker: String,
    /// The fence.
    pub token: String,
    /// When it was claimed.
    pub started_at: i64,
    /// When it ended, if it has.
    pub ended_at: Option<i64>,
    /// How.
    pub outcome: Option<String>,
    /// The job's state afterwards.
    pub then: Option<String>,
}

/// An entry of a job's history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventRow {
    /// Whose.
    pub job: String,
    /// The job's owner.
    pub tenant: String,
    /// 1 for the first.
    pub seq: u32,
    /// What happened.
    pub kind: String,
    /// When.
    pub at: i64,
    /// The attempt that it tells of.
    pub attempt: Option<u32>,
    /// From when on the job may run again, where the entry says it.
    pub due: Option<i64>,
}

/// A lease as it was given or extended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum LeaseRow {
    /// A worker was given a job.
    Grant {
        /// When.
        at: i64,
        /// Which job.
        job: String,
        /// The fence.
        token: String,
        /// Who.
        worker: String,
        /// Until when; none if the worker's own lease covers it.
        until: Option<i64>,
    },
    /// One lease was extended.
    Extend {
        /// When.
        at: i64,
        /// Which job.
        job: String,
        /// The fence.
        token: String,
        /// Until when.
        until: i64,
    },
    /// A lease ended, however.
    End {
        /// When.
        at: i64,
        /// Which job.
        job: String,
        /// The fence.
        token: String,
    },
    /// A worker was heard of, and with it all leases that its own covers; one
    /// that left was heard of until then.
    Beat {
        /// When.
        at: i64,
        /// Who.
        worker: String,
        /// Until when.
        until: i64,
    },
}

/// An execution as its target saw it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Effect {
    /// Which job.
    pub job: String,
    /// Its owner.
    pub tenant: String,
    /// Which attempt.
    pub attempt: u32,
    /// The fence.
    pub token: String,
    /// When it began.
    pub began_at: i64,
    /// When it ended; none if it never did.
    pub ended_at: Option<i64>,
}

/// Something that was done to the engine, as far as a rule depends on it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Fault {
    /// Nobody could reach the store.
    Outage {
        /// Since when.
        from: i64,
        /// Until when.
        to: i64,
    },
    /// No engine process was in a state to do its duty.
    NoEngine {
        /// Since when.
        from: i64,
        /// Until when.
        to: i64,
    },
}

/// How many jobs in a state a queue said that it held in the end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DepthRow {
    /// Which queue.
    pub queue: String,
    /// Which state.
    pub state: String,
    /// How many.
    pub jobs: u64,
}
