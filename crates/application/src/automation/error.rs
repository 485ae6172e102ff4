//! Why a use case about rules could not do what it was asked.

use crate::ports::{DeliveryRefused, NamedIn, StoreError};

/// One thing that is wrong with a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleFault {
    /// Where: a JSON pointer into the rule's document.
    pub pointer: String,
    /// What.
    pub detail: String,
}

/// Why a use case about rules could not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AutomationError {
    /// No such rule of this tenant, or no rule with that webhook key.
    #[error("there is no such rule")]
    NotFound,
    /// No such tenant, and this caller does not make tenants.
    #[error("there is no such tenant")]
    UnknownTenant,
    /// The rule is not one that can be kept. All that is wrong with it.
    #[error("the rule has faults")]
    Invalid(Vec<RuleFault>),
    /// What the caller may not do.
    #[error("{0}")]
    Forbidden(&'static str),
    /// Another rule has that webhook key.
    #[error("another rule has that webhook key")]
    KeyTaken,
    /// A secret cannot be kept, because no key to seal it with is set.
    #[error("a secret cannot be kept: TASKFLOW_SECRETS_KEY is not set")]
    NoVault,
    /// The rule's secret cannot be opened.
    #[error("the rule's secret cannot be opened with any key of this process")]
    SecretLost,
    /// A rule is to keep a secret that cannot be opened.
    #[error("the secret that the rule has cannot be opened with any key of this process; send it again")]
    KeepsLost,
    /// A rule is to keep credentials that cannot be opened. Which ones.
    #[error("credentials that the rule has cannot be opened with any key of this process; send them again")]
    KeepsLostCredentials(Vec<RuleFault>),
    /// The rule is off.
    #[error("the rule is disabled")]
    Disabled,
    /// The rule has no trigger of the kind that this needs.
    #[error("the rule has no {0} trigger")]
    WrongTrigger(&'static str),
    /// A delivery's signature is missing, wrong or too old.
    #[error("the signature is not good: {0}")]
    BadSignature(String),
    /// A delivery's id cannot be kept, or is missing where the rule wants one.
    #[error("the delivery's id is not good: {cause}")]
    BadDeliveryId {
        /// Where it stands, or should.
        place: NamedIn,
        /// What is wrong with it.
        cause: String,
    },
    /// The tenant's request rate is used up.
    #[error("too many requests of this tenant")]
    Exhausted {
        /// When the next one is allowed, in seconds.
        retry_after_s: u32,
        /// What is left of it.
        quotas: Vec<crate::access::Quota>,
    },
    /// The rule kept changing under the request.
    #[error("the rule changes too fast; try again")]
    Contended,
    /// The change is meant for another revision than the rule has by now.
    #[error("the rule has revision {0} by now; look at it again")]
    Moved(u32),
    /// The tenant has as many rules as it may have.
    #[error("the tenant has {0} rules, as many as it may have")]
    Full(u32),
    /// The idempotency key was used with another input.
    #[error("the idempotency key was used with another input")]
    KeyReused,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<DeliveryRefused> for AutomationError {
    fn from(refused: DeliveryRefused) -> Self {
        match refused {
            DeliveryRefused::Signature(cause) => Self::BadSignature(cause),
            DeliveryRefused::Id { place, cause } => Self::BadDeliveryId { place, cause },
        }
    }
}
