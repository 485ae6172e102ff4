//! What a claim looks at, gathered for somebody who asks why.

use async_trait::async_trait;
use taskflow_domain::explain::{Facts, QueueLine};
use taskflow_domain::{JobId, QueueName, TenantId, Timestamp};

use super::StoreResult;

/// Gathering facts about the way of jobs to their start.
///
/// The rows are those that a claim looks at, and they are read through the same
/// indexes: neither the number of due jobs nor that of ended ones makes it
/// slower. The parts are read one after the other, not at one moment, so while
/// jobs move the answer may mix two moments.
#[async_trait]
pub trait ExplainReader: Send + Sync {
    /// The facts about one job; `None` if it is absent.
    async fn facts(&self, tenant: TenantId, job: JobId, now: Timestamp) -> StoreResult<Option<Facts>>;

    /// The line of a queue; `None` if the queue does not exist.
    async fn line(&self, queue: &QueueName, now: Timestamp) -> StoreResult<Option<QueueLine>>;
}
