//! How many claims wait for work at once: of each tenant and of all, so that one
//! tenant's workers leave room for those of others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use taskflow_domain::TenantSlug;

use super::super::problem::{Code, Problem};

/// Claims of one tenant that wait in this process at once.
const EACH: u32 = 500;
/// Claims of all that wait in this process at once.
const ALL: u32 = 4_000;
/// When to try again, in seconds.
const AGAIN_S: u32 = 5;

#[derive(Debug, Default)]
struct Seats {
    all: u32,
    tenants: HashMap<TenantSlug, u32>,
}

/// The claims that wait.
#[derive(Clone, Debug, Default)]
pub(crate) struct Waiting(Arc<Mutex<Seats>>);

/// A place among those that wait, until it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    waiting: Waiting,
    tenant: TenantSlug,
}

impl Waiting {
    /// Takes a place, if there is one.
    pub(super) fn sit(&self, tenant: &TenantSlug) -> Result<Seat, Problem> {
        let mut seats = self.seats();
        let own = seats.tenants.get(tenant).copied().unwrap_or_default();
        if own >= EACH || seats.all >= ALL {
            let (most, whose) = if own >= EACH { (EACH, " of this tenant") } else { (ALL, "") };
            let detail =
                format!("{most} claims{whose} wait already: claim with fewer workers, or without wait_ms");
            return Err(Problem::new(Code::RateLimited, detail).after(AGAIN_S));
        }
        seats.all += 1;
        seats.tenants.insert(tenant.clone(), own + 1);
        Ok(Seat { waiting: self.clone(), tenant: tenant.clone() })
    }

    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.waiting.seats();
        seats.all = seats.all.saturating_sub(1);
        let left = seats.tenants.get(&self.tenant).map_or(0, |own| own.saturating_sub(1));
        if left == 0 {
            seats.tenants.remove(&self.tenant);
        } else {
            seats.tenants.insert(self.tenant.clone(), left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_tenant_leaves_room_for_others() {
        let waiting = Waiting::default();
        let (one, other) = (TenantSlug::new("one").unwrap(), TenantSlug::new("other").unwrap());
        let mut seats: Vec<_> = (0..EACH).map(|_| waiting.sit(&one).unwrap()).collect();
        assert!(waiting.sit(&one).is_err());
        drop(waiting.sit(&other).unwrap());
        seats.pop();
        drop(waiting.sit(&one).unwrap());
        drop(seats);
        assert!(waiting.seats().tenants.is_empty() && waiting.seats().all == 0);
    }
}
