//! How many claims wait for work at once: of each tenant and of all, so that one
//! tenant's workers leave room for those of others.

use taskflow_domain::TenantSlug;

use super::super::problem::{Code, Problem};
use super::super::shares::{Full, Share, Shares};

/// Claims of one tenant that wait in this process at once.
const EACH: usize = 500;
/// Claims of all that wait in this process at once.
const ALL: usize = 4_000;
/// When to try again, in seconds.
const AGAIN_S: u32 = 5;

/// The claims that wait.
#[derive(Clone, Debug)]
pub(crate) struct Waiting(Shares<TenantSlug>);

/// A place among those that wait, until it is dropped.
pub(crate) type Seat = Share<TenantSlug>;

impl Default for Waiting {
    fn default() -> Self {
        Self(Shares::new(EACH, ALL))
    }
}

impl Waiting {
    /// Takes a place, if there is one.
    pub(super) fn sit(&self, tenant: &TenantSlug) -> Result<Seat, Problem> {
        self.0.take(tenant.clone()).map_err(|full| {
            let (most, whose) = match full {
                Full::Own => (EACH, " of this tenant"),
                Full::All => (ALL, ""),
            };
            let detail =
                format!("{most} claims{whose} wait already: claim with fewer workers, or without wait_ms");
            Problem::new(Code::RateLimited, detail).after(AGAIN_S)
        })
    }
}
