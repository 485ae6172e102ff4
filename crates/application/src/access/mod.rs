//! Who may come in, as whom, and how often.
//!
//! A key is looked up in the database for every request, together with the keys
//! of whoever else comes at that moment. So one that was revoked, whose end has
//! come, or whose tenant was suspended opens nothing from then on, in every
//! process, and there is no cache that somebody would have to be told about.
//! Request rates are counted for all processes together.

mod digest;
mod door;
mod limits;
mod token;

use std::sync::Arc;

use taskflow_domain::TenantSlug;
use taskflow_domain::queue::Rate;
use taskflow_domain::tenant::Tenant;

use crate::World;
use crate::caller::Caller;
use crate::ports::{StoreError, Whose};

pub use digest::Digest;
pub use door::Peer;
pub use token::{KeyKind, Token};

use door::Door;
use limits::Limits;

/// What a request shows of whom it comes from.
#[derive(Clone, Debug)]
pub struct Presented<'a> {
    /// The key, if one was shown.
    pub key: Option<&'a str>,
    /// The tenant, if one was named.
    pub tenant: Option<TenantSlug>,
    /// The machine that it comes from, if that is known.
    pub peer: Option<Peer>,
    /// The id of the request.
    pub request_id: Arc<str>,
    /// Why it is done, if that was said.
    pub reason: Option<Arc<str>>,
}

/// What is left of an allowance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Whose it is: `tenant` or `key`.
    pub name: &'static str,
    /// The allowance.
    pub rate: Rate,
    /// How many requests are left.
    pub left: u32,
    /// In how many seconds all of them are there again.
    pub full_in_s: u32,
}

/// Somebody who was let in.
#[derive(Clone, Debug)]
pub struct Admitted {
    /// Who.
    pub caller: Caller,
    /// What is left of the allowances that hold.
    pub quotas: Vec<Quota>,
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
    /// An allowance is used up.
    #[error("too many requests of this {name}: {limit} in {period_ms} ms are allowed")]
    Exhausted {
        /// Whose it is.
        name: &'static str,
        /// How many are allowed.
        limit: u32,
        /// In which time.
        period_ms: u32,
        /// When the next one is allowed, in seconds.
        retry_after_s: u32,
        /// What is left of the allowances that hold.
        quotas: Vec<Quota>,
    },
    /// Too many false keys came from there.
    #[error("too many requests without a valid key came from this address")]
    TooManyFailures {
        /// When the next one is heard, in seconds.
        retry_after_s: u32,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Who may come in.
#[derive(Clone, Default)]
pub struct Access {
    door: Option<Arc<Door>>,
    limits: Option<Arc<Limits>>,
}

impl Access {
    /// Everybody may come in, as often as the tenant's rate allows.
    pub fn open(world: World) -> Self {
        Self { door: None, limits: Some(Arc::new(Limits::new(world))) }
    }

    /// Whoever has a key may come in; one is `operator`, the key of the
    /// configuration, if there is one.
    pub fn keyed(world: World, operator: Option<&str>) -> Self {
        let door = Door::new(world.clone(), operator);
        Self { door: Some(Arc::new(door)), limits: Some(Arc::new(Limits::new(world))) }
    }

    /// Whether callers need a key.
    pub fn is_keyed(&self) -> bool {
        self.door.is_some()
    }

    /// Whether a caller that was let in some time ago would still be.
    pub async fn still_open(&self, caller: &Caller) -> Result<(), Denied> {
        match (&self.door, caller.key) {
            (Some(door), Some(key)) => door.still_open(key).await,
            _ => Ok(()),
        }
    }

    /// Counts a request that a tenant's signature let in: what is left of its allowance,
    /// or why it must wait.
    pub async fn count(&self, tenant: &Tenant) -> Result<Vec<Quota>, Denied> {
        let rate = tenant.settings.request_rate.map(|rate| (Whose::Tenant(tenant.id), rate));
        match (&self.limits, rate) {
            (Some(limits), Some(rate)) => limits.take(vec![rate]).await,
            _ => Ok(Vec::new()),
        }
    }

    /// Lets a caller in, or says why not.
    pub async fn admit(&self, presented: Presented<'_>) -> Result<Admitted, Denied> {
        let Some(door) = &self.door else {
            let slug = presented.tenant.unwrap_or_else(TenantSlug::fallback);
            let Presented { request_id, reason, .. } = presented;
            let caller = Caller { request_id, reason, ..Caller::trusted(slug) };
            let Some(limits) = &self.limits else { return Ok(Admitted { caller, quotas: Vec::new() }) };
            let quotas = limits.take(limits.of_tenant(&caller.slug).await?.into_iter().collect()).await?;
            return Ok(Admitted { caller, quotas });
        };
        let (caller, rates) = door.open(presented).await?;
        let quotas = match &self.limits {
            Some(limits) => limits.take(rates).await?,
            None => Vec::new(),
        };
        Ok(Admitted { caller, quotas })
    }

    /// Writes away when keys were used.
    pub async fn flush(&self) -> Result<(), StoreError> {
        match &self.door {
            Some(door) => door.flush().await,
            None => Ok(()),
        }
    }
}
