//! Why a use case about jobs could not do what it was asked.

use taskflow_domain::{QueueName, Refusal};

use crate::ports::StoreError;

/// Why a use case about jobs could not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JobsError {
    /// No such job of this tenant.
    #[error("there is no such job")]
    NotFound,
    /// No such tenant, and this caller does not make tenants.
    #[error("there is no such tenant")]
    UnknownTenant,
    /// The job's state does not allow it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The idempotency key was used for another request.
    #[error("the idempotency key was used before for a request with another body")]
    KeyReused {
        /// Which job of a batch.
        index: usize,
    },
    /// A request with the same idempotency key has not been answered yet.
    #[error("a request with the same idempotency key is still in flight")]
    InFlight,
    /// The tenant may not have more jobs waiting.
    #[error("the tenant may have at most {limit} jobs waiting")]
    BacklogFull {
        /// The tenant's limit.
        limit: u32,
    },
    /// The tenant may change nothing.
    #[error("the tenant is suspended")]
    Suspended,
    /// The queue takes no new jobs.
    #[error("the queue {queue} is drained and takes no new jobs")]
    QueueDraining {
        /// Which.
        queue: QueueName,
        /// Which job of a batch.
        index: usize,
    },
    /// The job that is named as the parent does not exist.
    #[error("the parent job does not exist")]
    UnknownParent {
        /// Which job of a batch.
        index: usize,
    },
    /// The job kept changing under the request.
    #[error("the job changes too fast; try again")]
    Contended,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
