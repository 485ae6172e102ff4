//! How often somebody may come: the request rates of tenants and keys.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use taskflow_domain::queue::Rate;
use taskflow_domain::throttle::{Throttle, Wait};
use taskflow_domain::{KeyId, TenantId, TenantSlug, Timestamp};

use super::{Denied, Quota};
use crate::World;
use crate::ports::StoreResult;

/// Whose allowance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Whose {
    Tenant(TenantId),
    Key(KeyId),
}

impl Whose {
    const fn name(self) -> &'static str {
        match self {
            Self::Tenant(_) => "tenant",
            Self::Key(_) => "key",
        }
    }
}

/// Where nobody shows a key, a tenant's rate is looked up so often at most.
const KNOWN_FOR_MS: i64 = 1_000;
/// With so many entries, those that say nothing any more are dropped.
const MANY: usize = 10_000;

type Known = HashMap<TenantSlug, (Timestamp, Option<(Whose, Rate)>)>;

/// The allowances of this process.
pub(super) struct Limits {
    world: World,
    taken: Mutex<HashMap<Whose, Throttle>>,
    tenants: Mutex<Known>,
}

impl Limits {
    pub(super) fn new(world: World) -> Self {
        Self { world, taken: Mutex::default(), tenants: Mutex::default() }
    }

    /// The rate of a tenant that is named, if it has one.
    pub(super) async fn of_tenant(&self, slug: &TenantSlug) -> StoreResult<Option<(Whose, Rate)>> {
        let now = self.world.clock.now();
        let young = |since: Timestamp| (0..KNOWN_FOR_MS * 1_000).contains(&now.micros_since(since));
        {
            let known = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((_, rate)) = known.get(slug).filter(|(since, _)| young(*since)) {
                return Ok(*rate);
            }
        }
        let tenant = self.world.stores.tenants.get(slug).await?;
        let rate = tenant.and_then(|t| t.settings.request_rate.map(|rate| (Whose::Tenant(t.id), rate)));
        let mut known = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MANY {
            known.retain(|_, (since, _)| young(*since));
        }
        known.insert(slug.clone(), (now, rate));
        Ok(rate)
    }

    /// Takes one request from each allowance; the first that has none refuses.
    pub(super) fn take(&self, rates: Vec<(Whose, Rate)>) -> Result<Vec<Quota>, Denied> {
        if rates.is_empty() {
            return Ok(Vec::new());
        }
        let now = self.world.clock.now();
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.len() >= MANY {
            taken.retain(|_, throttle| !throttle.is_fresh(now));
        }
        let mut quotas = Vec::with_capacity(rates.len());
        for (whose, rate) in rates {
            let name = whose.name();
            match taken.entry(whose).or_insert(Throttle::FRESH).take(rate, now) {
                Ok(left) => {
                    quotas.push(Quota { name, rate, left: left.left, full_in_s: seconds(left.full_in_us) });
                }
                Err(Wait(us)) => {
                    let retry_after_s = seconds(us).max(1);
                    quotas.push(Quota { name, rate, left: 0, full_in_s: retry_after_s });
                    let Rate { limit, period_ms } = rate;
                    return Err(Denied::Exhausted { name, limit, period_ms, retry_after_s, quotas });
                }
            }
        }
        Ok(quotas)
    }
}

/// Whole seconds, rounded up.
pub(super) fn seconds(us: i64) -> u32 {
    u32::try_from(us.max(0).unsigned_abs().div_ceil(1_000_000)).unwrap_or(u32::MAX)
}
