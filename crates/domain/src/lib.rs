//! What a job is and how it may change: the pure heart of TaskFlow.
//!
//! Nothing here reads a clock, draws a random number, or waits. Time, ids and
//! randomness come in as arguments; decisions go out as values that a store
//! commits. Every other crate depends on this one, and this one on none.

pub mod attempt;
pub mod change;
pub mod event;
pub mod explain;
pub mod fair;
pub mod id;
pub mod inbound;
pub mod job;
pub mod key;
pub mod lease;
pub mod name;
pub mod queue;
pub mod retry;
pub mod rule;
pub mod schedule;
pub mod scope;
pub mod spread;
pub mod state;
pub mod target;
pub mod tenant;
pub mod throttle;
pub mod time;

pub use attempt::{Attempt, AttemptError, Outcome};
pub use change::{Decision, Edit, Guard, JobChange, Refusal, Report, Verdict};
pub use event::{Actor, EventKind, JobEvent};
pub use id::{
    CorrelationId, EventId, FanOutId, FiringId, JobId, KeyId, LeaseToken, QueueId, RuleId, TenantId,
};
pub use inbound::InboundEvent;
pub use job::{CancelRequest, Counters, Delay, Job, JobSpec, Json, Labels, Priority, Progress, Standing};
pub use key::ApiKey;
pub use lease::{ClaimedJob, Lease};
pub use name::{Kind, NameError, QueueName, TenantSlug, WorkerName};
pub use retry::{Jitter, RetryPolicy, Strategy};
pub use rule::{Firing, FiringOutcome, Rule, RuleDocument};
pub use schedule::{Occurrence, Schedule, ScheduleFault};
pub use scope::{Scope, Scopes};
pub use state::JobState;
pub use target::{Builtin, HttpTarget, Method, Target};
pub use time::Timestamp;
