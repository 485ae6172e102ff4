//! Names to addresses, and only to those that a target may reach.

use std::net::SocketAddr;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::egress::{Denied, EgressPolicy};

/// A name could not be resolved.
#[derive(Debug, thiserror::Error)]
pub(super) enum LookupError {
    /// The resolver of the system failed.
    #[error("the name cannot be resolved: {0}")]
    Failed(String),
    /// It has no addresses.
    #[error("the name has no addresses")]
    Empty,
}

/// Resolves and filters in one step.
pub(super) struct GuardedResolver(pub(super) Arc<EgressPolicy>);

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let policy = Arc::clone(&self.0);
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0))
                .await
                .map_err(|error| LookupError::Failed(error.to_string()))?;
            let admitted = admit(&policy, found.collect())?.ok_or(LookupError::Empty)?;
            Ok(Box::new(admitted.into_iter()) as Addrs)
        })
    }
}

/// The addresses that may be reached. Refuses if there were some and none is left;
/// `None` if there were none.
pub(super) fn admit(
    policy: &EgressPolicy,
    found: Vec<SocketAddr>,
) -> Result<Option<Vec<SocketAddr>>, Denied> {
    let mut denied = None;
    let mut admitted = Vec::with_capacity(found.len());
    for address in found {
        match policy.check(address.ip()) {
            Ok(()) => admitted.push(address),
            Err(error) => denied = Some(error),
        }
    }
    match (admitted.is_empty(), denied) {
        (false, _) => Ok(Some(admitted)),
        (true, Some(denied)) => Err(denied),
        (true, None) => Ok(None),
    }
}
