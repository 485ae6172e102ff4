//! Request rates, counted for all processes together.

use async_trait::async_trait;
use taskflow_domain::queue::Rate;
use taskflow_domain::throttle::Drawn;
use taskflow_domain::{KeyId, TenantId, Timestamp};

use super::StoreResult;

/// Whose allowance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Whose {
    /// A tenant's, over all its keys.
    Tenant(TenantId),
    /// A key's.
    Key(KeyId),
}

impl Whose {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tenant(_) => "tenant",
            Self::Key(_) => "key",
        }
    }
}

impl std::fmt::Display for Whose {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tenant(TenantId(number)) => write!(f, "tenant:{number}"),
            Self::Key(id) => write!(f, "key:{id}"),
        }
    }
}

/// What may still be requested.
#[async_trait]
pub trait Allowances: Send + Sync {
    /// Draws up to `want` requests from an allowance that gives `rate`, as
    /// [`taskflow_domain::throttle::Throttle::draw`] says, whichever process asks.
    async fn draw(&self, whose: Whose, rate: Rate, want: u32, now: Timestamp) -> StoreResult<Drawn>;
}
