//! How often somebody may come: the request rates of tenants and keys.
//!
//! An allowance is one for all processes; the store keeps it. A process draws a
//! handful from it at once and hands them out one by one, so that a write to the
//! store is for many requests, and one that refuses asks the store again only when
//! something can be there. What is handed out was drawn before, so all processes
//! together never let through more than the rate says and what each had in hand.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use taskflow_domain::queue::Rate;
use taskflow_domain::throttle::{Drawn, Wait};
use taskflow_domain::{TenantSlug, Timestamp};

use super::{Denied, Quota};
use crate::World;
use crate::ports::{StoreResult, Whose};

/// Where nobody shows a key, a tenant's rate is looked up so often at most.
const KNOWN_FOR_MS: i64 = 1_000;
/// With so many entries, those that say nothing any more are dropped.
const MANY: usize = 10_000;
/// The part of a limit that a process draws at once, and the most of it.
const PART: u32 = 16;
const MOST: u32 = 1_000;

type Known = HashMap<TenantSlug, (Timestamp, Option<(Whose, Rate)>)>;

/// What this process has in hand of one allowance.
#[derive(Debug)]
struct Purse {
    rate: Rate,
    held: u32,
    drawn: Drawn,
    at: Timestamp,
}

impl Purse {
    const fn empty(rate: Rate, now: Timestamp) -> Self {
        Self { rate, held: 0, drawn: Drawn { granted: 1, owed_us: 0 }, at: now }
    }

    fn passed_us(&self, now: Timestamp) -> i64 {
        now.micros_since(self.at).max(0)
    }

    /// After a whole period the allowance is full again, with what was in hand.
    fn is_stale(&self, now: Timestamp) -> bool {
        self.passed_us(now) >= i64::from(self.rate.period_ms) * 1_000
    }

    /// How long nothing can be there.
    fn closed_us(&self, now: Timestamp) -> i64 {
        if self.drawn.granted > 0 {
            return 0;
        }
        let Wait(us) = self.drawn.wait(self.rate);
        (us - self.passed_us(now)).max(0)
    }
}

/// A purse, drawn for by one request at a time.
type Shared = Arc<tokio::sync::Mutex<Purse>>;

/// The allowances as this process sees them.
pub(super) struct Limits {
    world: World,
    purses: Mutex<HashMap<Whose, Shared>>,
    tenants: Mutex<Known>,
}

impl Limits {
    pub(super) fn new(world: World) -> Self {
        Self { world, purses: Mutex::default(), tenants: Mutex::default() }
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
    pub(super) async fn take(&self, rates: Vec<(Whose, Rate)>) -> Result<Vec<Quota>, Denied> {
        let mut quotas = Vec::with_capacity(rates.len());
        for (whose, rate) in rates {
            let name = whose.name();
            match self.one(whose, rate).await? {
                Ok(quota) => quotas.push(quota),
                Err(us) => {
                    let retry_after_s = seconds(us).max(1);
                    quotas.push(Quota { name, rate, left: 0, full_in_s: retry_after_s });
                    let Rate { limit, period_ms } = rate;
                    return Err(Denied::Exhausted { name, limit, period_ms, retry_after_s, quotas });
                }
            }
        }
        Ok(quotas)
    }

    /// Takes one request from one allowance, or says for how long there is none.
    async fn one(&self, whose: Whose, rate: Rate) -> StoreResult<Result<Quota, i64>> {
        let purse = self.purse(whose, rate);
        let mut purse = purse.lock().await;
        let now = self.world.clock.now();
        if purse.rate != rate || purse.is_stale(now) {
            *purse = Purse::empty(rate, now);
        }
        if purse.held == 0 {
            let closed_us = purse.closed_us(now);
            if closed_us > 0 {
                return Ok(Err(closed_us));
            }
            let want = (rate.limit / PART).clamp(1, MOST);
            let drawn = self.world.stores.allowances.draw(whose, rate, want, now).await?;
            *purse = Purse { rate, held: drawn.granted, drawn, at: now };
            if drawn.granted == 0 {
                return Ok(Err(purse.closed_us(now).max(1)));
            }
        }
        purse.held -= 1;
        let left = purse.drawn.left(rate, purse.held, purse.passed_us(now));
        Ok(Ok(Quota { name: whose.name(), rate, left: left.left, full_in_s: seconds(left.full_in_us) }))
    }

    fn purse(&self, whose: Whose, rate: Rate) -> Shared {
        let now = self.world.clock.now();
        let mut purses = self.purses.lock().unwrap_or_else(PoisonError::into_inner);
        if purses.len() >= MANY {
            purses.retain(|_, purse| purse.try_lock().is_ok_and(|purse| !purse.is_stale(now)));
        }
        let empty = || Arc::new(tokio::sync::Mutex::new(Purse::empty(rate, now)));
        Arc::clone(purses.entry(whose).or_insert_with(empty))
    }
}

/// Whole seconds, rounded up.
pub(super) fn seconds(us: i64) -> u32 {
    u32::try_from(us.max(0).unsigned_abs().div_ceil(1_000_000)).unwrap_or(u32::MAX)
}
