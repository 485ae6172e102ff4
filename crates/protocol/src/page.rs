//! Lists.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    ApiKey, Attempt, AuditEntry, Automation, Firing, Job, JobEvent, Queue, Rule, Runner, Tenant, Worker,
};

macro_rules! list {
    ($(#[$doc:meta])* $name:ident of $item:ty) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
        pub struct $name {
            /// The entries.
            pub items: Vec<$item>,
            /// Where the next page begins; null on the last one.
            #[schema(example = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")]
            pub next_cursor: Option<String>,
        }
    };
}

list!(
    /// Jobs, newest first.
    JobList of Job
);
list!(
    /// Attempts of a job, the first one first.
    AttemptList of Attempt
);
list!(
    /// The history of a job, the first entry first.
    EventList of JobEvent
);
list!(
    /// Queues, by name.
    QueueList of Queue
);
list!(
    /// Rules, the oldest first.
    RuleList of Rule
);
list!(
    /// Firings of a rule, the newest first.
    FiringList of Firing
);
list!(
    /// Tenants, by slug.
    TenantList of Tenant
);
list!(
    /// Automation rules, in the order of their making.
    AutomationList of Automation
);
list!(
    /// Processes with loops, by name.
    RunnerList of Runner
);
list!(
    /// Workers, by name.
    WorkerList of Worker
);

list!(
    /// API keys, newest first.
    ApiKeyList of ApiKey
);
list!(
    /// The audit, newest first.
    AuditList of AuditEntry
);

/// The jobs of a batch, in the order of the request.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct JobItems {
    /// The jobs.
    pub items: Vec<Job>,
}
