//! Who may come in, and as whom.

mod digest;

use std::sync::Arc;

use taskflow_domain::{Actor, Scopes, TenantSlug};

use crate::caller::Caller;
use crate::ports::StoreError;

pub use digest::Digest;

/// What a request shows of whom it comes from.
#[derive(Clone, Debug)]
pub struct Presented<'a> {
    /// The key, if one was shown.
    pub key: Option<&'a str>,
    /// The tenant, if one was named.
    pub tenant: Option<TenantSlug>,
    /// The id of the request.
    pub request_id: Arc<str>,
    /// Why it is done, if that was said.
    pub reason: Option<Arc<str>>,
}

/// Why nobody was let in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// No key was shown.
    #[error("a key is needed: Authorization: Bearer tf_…")]
    NoKey,
    /// The key is none, or none any more. Which of these is not told.
    #[error("the key is not valid")]
    BadKey,
    /// The key belongs to a tenant, and another one was named.
    #[error("the key belongs to another tenant than the one that is named")]
    OtherTenant,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The door.
#[derive(Clone, Debug, Default)]
pub enum Access {
    /// Nobody needs a key.
    #[default]
    Open,
    /// Everybody needs one.
    Keyed(Door),
}

/// A door with a lock.
#[derive(Clone, Debug, Default)]
pub struct Door {
    operator: Option<Digest>,
}

impl Door {
    /// A door that `operator`, the key of the configuration, opens.
    pub fn new(operator: Option<&str>) -> Self {
        Self { operator: operator.map(Digest::of) }
    }
}

impl Access {
    /// Lets a caller in, or says why not.
    pub async fn admit(&self, presented: Presented<'_>) -> Result<Caller, Denied> {
        let Presented { key, tenant, request_id, reason } = presented;
        let slug = tenant.unwrap_or_else(TenantSlug::fallback);
        let trusted = Caller { request_id, reason, ..Caller::trusted(slug) };
        match self {
            Self::Open => Ok(trusted),
            Self::Keyed(door) => {
                let key = key.ok_or(Denied::NoKey)?;
                let operator = door.operator.as_ref().is_some_and(|digest| digest.is_of(key));
                if !operator {
                    return Err(Denied::BadKey);
                }
                let actor = Actor::operator();
                Ok(Caller { actor, makes_tenant: false, scopes: Scopes::OPERATOR, ..trusted })
            }
        }
    }
}
