//! The shapes of the HTTP API, shared by the server and its clients.
//!
//! Every type here is written as the API's JSON shows it. The server reads
//! requests by its own strict reader, which names every fault at once; the
//! request types stand for the same documents on the client's side and in the
//! OpenAPI description.

mod access;
mod admin;
mod attempt;
mod firing;
mod inbound;
mod insight;
mod job;
mod page;
mod problem;
mod request;
mod rule;
mod schema;
mod time;
mod work;

pub use access::{ApiKey, ApiKeyRequest, AuditEntry, MadeApiKey, RotateRequest};
pub use admin::{
    Pause, PauseRequest, Queue, QueueCounts, QueueRequest, Rate, Tenant, TenantRequest, Worker, WorkerState,
};
pub use attempt::{Attempt, AttemptError, AttemptOutcome, JobEvent};
pub use firing::{
    Firing, FiringCount, FiringItems, Rule, RuleStats, ScheduleEntry, ScheduleList, SimulateAnswer,
    SimulateRequest, TriggerRequest,
};
pub use inbound::{
    CloudEvent, DeliveryAnswer, DeliveryList, EventReceipt, EventReceipts, InboundEvent, PulseAnswer,
    PulseRequest, Trace, TraceNode,
};
pub use insight::{
    Automation, Drain, DrainRequest, Explanation, Gate, GateReport, Percentiles, PurgeAnswer, PurgeRequest,
    QueueExplanation, QueueGate, QueueRecent, Runner, RunnerLoop, StatBucket, StatSeries,
};
pub use job::{
    Builtin, HttpMethod, Job, JobPriority, JobState, JobTarget, Progress, RetryJitter, RetryPolicy,
    RetryStrategy,
};
pub use page::{
    ApiKeyList, AttemptList, AuditList, AutomationList, EventList, FiringList, JobItems, JobList, QueueList,
    RuleList, RunnerList, TenantList, WorkerList,
};
pub use problem::{Problem, ProblemError, ProblemPlace};
pub use request::{
    BatchJob, BatchRequest, BulkAnswer, BulkFilter, BulkRequest, CancelRequest, EditRequest, JobRequest,
    ReasonRequest,
};
pub use rule::{
    CronDialect, DstAnswer, DstGap, DstOverlap, MisfireChoice, MisfireRule, OverlapPolicy, RuleAction,
    RuleMode, RulePut, RuleRequest, RuleSignature, RuleTrigger, SignatureScheme,
};
pub use time::Time;
pub use work::{
    ClaimAnswer, ClaimRequest, ClaimedJob, CompleteItem, CompleteRequest, FailItem, FailOutcome, FailRequest,
    HeartbeatItem, HeartbeatRequest, LeaseTerms, ProgressItem, ProgressRequest, ReportAnswer, ReportItem,
};

/// JSON of any shape, kept as its text.
pub type Document = Box<serde_json::value::RawValue>;
