//! Signatures of webhook deliveries, and the vault of their secrets.

use taskflow_domain::rule::SignatureSpec;
use taskflow_domain::{RuleId, TenantId, Timestamp};

/// A delivery whose signature is good.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// What its sender calls it, if the scheme or a header says so.
    pub delivery_id: Option<String>,
    /// What the sender wants to hear back instead of an answer: it only asks
    /// whether somebody is there.
    pub challenge: Option<String>,
}

/// Where a delivery says how it is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamedIn {
    /// In the header of this name.
    Header(String),
    /// In this field of its body.
    Field(&'static str),
}

/// Why a delivery is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeliveryRefused {
    /// Its signature is missing, wrong or too old.
    #[error("{0}")]
    Signature(String),
    /// Its id cannot be kept, or is missing where the rule wants one.
    #[error("{cause}")]
    Id {
        /// Where it stands, or should.
        place: NamedIn,
        /// What is wrong with it.
        cause: String,
    },
}

/// Signatures of webhook deliveries.
pub trait Signatures: Send + Sync {
    /// Checks a delivery against any of the secrets, and how it is called. Names of
    /// headers are in lower case. The error says what is wrong, without any secret.
    fn verify(
        &self,
        spec: &SignatureSpec,
        secrets: &[Vec<u8>],
        headers: &[(String, String)],
        body: &[u8],
        now: Timestamp,
    ) -> Result<Verified, DeliveryRefused>;
}

/// Whose secret: what it was sealed for it is opened for, and for nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretOf {
    /// A webhook rule's.
    Rule {
        /// The rule's owner.
        tenant: TenantId,
        /// The rule.
        rule: RuleId,
        /// 0 the current one, 1 the one before.
        slot: u8,
    },
    /// A header's of a target.
    Header {
        /// The owner of the job or the rule.
        tenant: TenantId,
    },
}

/// Keeps secrets from everybody who can read the database.
pub trait Vault: Send + Sync {
    /// Seals a secret.
    fn seal(&self, of: SecretOf, secret: &[u8]) -> Result<Vec<u8>, String>;

    /// Opens what was sealed for the same.
    fn open(&self, of: SecretOf, sealed: &[u8]) -> Result<Vec<u8>, String>;

    /// Whether a key of the vault's has sealed it that only opens any more.
    fn is_stale(&self, sealed: &[u8]) -> bool;
}
