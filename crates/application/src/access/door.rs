//! A door with a lock.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use taskflow_domain::queue::Rate;
use taskflow_domain::throttle::{Throttle, Wait};
use taskflow_domain::{Actor, KeyId, Scope, Scopes, TenantSlug, Timestamp};

use super::limits::seconds;
use super::{Denied, Digest, KeyKind, Presented, Token};
use crate::World;
use crate::caller::Caller;
use crate::group::Group;
use crate::ports::{KnownKey, StoreResult, Whose};

/// Requests without a valid key that one address may send.
const FAILURES: Rate = Rate { limit: 60, period_ms: 60_000 };
/// So many addresses are remembered at most.
const MANY: usize = 10_000;
/// A use that is younger than this is not written again.
const USE_MS: i64 = 60_000;

/// The machine that a request comes from. Of IPv6, all addresses of one network
/// of 64 bits count as one, because each of its machines has them all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Peer(u128);

impl From<IpAddr> for Peer {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(v4) => u128::from(v4.to_bits()),
            IpAddr::V6(v6) => v6.to_bits() & !u128::from(u64::MAX),
        })
    }
}

/// What a tenant's state means for its keys.
#[derive(Clone, Copy, Debug)]
struct TenantFacts {
    suspended: bool,
    rate: Option<Rate>,
}

/// A key as it stands at this moment.
type Found = Option<(KnownKey, Option<TenantFacts>)>;

/// When a key was used, and when that was last written away.
type Uses = HashMap<KeyId, (Timestamp, Option<Timestamp>)>;

/// A door with a lock.
pub(super) struct Door {
    world: World,
    operator: Option<Digest>,
    keys: Group<KeyId, Found>,
    failures: Mutex<HashMap<Peer, Throttle>>,
    uses: Mutex<Uses>,
}

impl Door {
    pub(super) fn new(world: World, operator: Option<&str>) -> Self {
        let asked = world.clone();
        let keys = Group::new(move |ids: Vec<KeyId>| {
            let world = asked.clone();
            Box::pin(async move { find(&world, ids).await })
        });
        let operator = operator.map(Digest::of);
        Self { world, operator, keys, failures: Mutex::default(), uses: Mutex::default() }
    }

    /// Lets a caller in, with the rates that hold for it.
    pub(super) async fn open(
        &self,
        presented: Presented<'_>,
    ) -> Result<(Caller, Vec<(Whose, Rate)>), Denied> {
        let now = self.world.clock.now();
        let token = presented.key.and_then(Token::parse);
        let peer = presented.peer;
        let opened = self.try_open(presented, token, now).await;
        if let (Err(Denied::NoKey | Denied::BadKey), Some(peer)) = (&opened, peer) {
            // A good key is heard wherever it comes from: others behind the same
            // address must not be able to lock its owner out.
            self.hear(peer, now)?;
            self.fail(peer, now);
        }
        opened
    }

    /// Whether a key that opened this door would still do so.
    pub(super) async fn still_open(&self, key: KeyId) -> Result<(), Denied> {
        let now = self.world.clock.now();
        let found = self.keys.ask(key).await?;
        let live = found.is_some_and(|(known, _)| known.key.is_live(now));
        if live { Ok(()) } else { Err(Denied::BadKey) }
    }

    async fn try_open(
        &self,
        presented: Presented<'_>,
        token: Option<Token>,
        now: Timestamp,
    ) -> Result<(Caller, Vec<(Whose, Rate)>), Denied> {
        let Presented { key, tenant, request_id, reason, .. } = presented;
        let key = key.ok_or(Denied::NoKey)?;
        let slug = tenant.clone().unwrap_or_else(TenantSlug::fallback);
        let base = Caller { makes_tenant: false, request_id, reason, ..Caller::trusted(slug) };
        if self.is_operator(key) {
            return Ok((Caller { actor: Actor::operator(), ..base }, Vec::new()));
        }
        let token = token.ok_or(Denied::BadKey)?;
        let (known, facts) = self.keys.ask(token.id).await?.ok_or(Denied::BadKey)?;
        let kind = if known.key.tenant.is_some() { KeyKind::Tenant } else { KeyKind::Operator };
        if !known.digest.is(&token.digest) || kind != token.kind || !known.key.is_live(now) {
            return Err(Denied::BadKey);
        }
        self.used(token.id, now);
        let mut caller = Caller { actor: Actor::key(token.id), key: Some(token.id), ..base };
        let mut rates = Vec::new();
        rates.extend(known.key.rate.map(|rate| (Whose::Key(token.id), rate)));
        caller.scopes = known.key.scopes;
        if let Some((id, own)) = known.key.tenant {
            if tenant.is_some_and(|named| named != own) {
                return Err(Denied::OtherTenant);
            }
            caller.slug = own;
            // Whatever is stored, a tenant's key is no operator's.
            caller.scopes = caller.scopes.iter().filter(|scope| *scope != Scope::Operator).collect();
            let facts = facts.unwrap_or(TenantFacts { suspended: true, rate: None });
            caller.suspended = facts.suspended;
            rates.extend(facts.rate.map(|rate| (Whose::Tenant(id), rate)));
        } else {
            caller.scopes = Scopes::OPERATOR;
        }
        Ok((caller, rates))
    }

    fn is_operator(&self, key: &str) -> bool {
        self.operator.as_ref().is_some_and(|digest| digest.is_of(key))
    }

    /// Whether somebody from there is heard at all.
    fn hear(&self, peer: Peer, now: Timestamp) -> Result<(), Denied> {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mut throttle) = failures.get(&peer).copied() else { return Ok(()) };
        let wait = throttle.take(FAILURES, now).err();
        wait.map_or(Ok(()), |Wait(us)| Err(Denied::TooManyFailures { retry_after_s: seconds(us).max(1) }))
    }

    fn fail(&self, peer: Peer, now: Timestamp) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() >= MANY {
            failures.retain(|_, throttle| !throttle.is_fresh(now));
        }
        // Beyond its allowance a failure costs nothing more, so the wait has an end.
        let _ = failures.entry(peer).or_insert(Throttle::FRESH).take(FAILURES, now);
    }

    fn used(&self, id: KeyId, now: Timestamp) {
        let mut uses = self.uses.lock().unwrap_or_else(PoisonError::into_inner);
        uses.entry(id).or_insert((now, None)).0 = now;
    }

    /// Writes away when keys were used, each at most once a minute.
    pub(super) async fn flush(&self) -> StoreResult<()> {
        let now = self.world.clock.now();
        let due: Vec<(KeyId, Timestamp)> = {
            let mut uses = self.uses.lock().unwrap_or_else(PoisonError::into_inner);
            // What was written and not used again since is known in the database.
            uses.retain(|_, (used, written)| {
                written.is_none_or(|written| *used > written || now.micros_since(written) < USE_MS * 1_000)
            });
            let due = uses.iter().filter(|(_, (used, written))| {
                written.is_none_or(|written| *used > written && now.micros_since(written) >= USE_MS * 1_000)
            });
            due.map(|(id, (used, _))| (*id, *used)).collect()
        };
        if due.is_empty() {
            return Ok(());
        }
        self.world.stores.keys.used(&due).await?;
        let mut uses = self.uses.lock().unwrap_or_else(PoisonError::into_inner);
        for (id, _) in due {
            if let Some((_, written)) = uses.get_mut(&id) {
                *written = Some(now);
            }
        }
        Ok(())
    }
}

/// Keys and their tenants, in the order of the ids.
async fn find(world: &World, ids: Vec<KeyId>) -> StoreResult<Vec<Found>> {
    let mut wanted = ids.clone();
    wanted.sort_unstable();
    wanted.dedup();
    let mut found: HashMap<KeyId, (KnownKey, Option<TenantFacts>)> = HashMap::new();
    for known in world.stores.keys.find(&wanted).await? {
        found.insert(known.key.id, (known, None));
    }
    let mut owners: Vec<TenantSlug> = found
        .values()
        .filter_map(|(known, _)| known.key.tenant.as_ref().map(|(_, slug)| slug.clone()))
        .collect();
    owners.sort_unstable();
    owners.dedup();
    for slug in owners {
        let tenant = world.stores.tenants.get(&slug).await?;
        let facts = tenant.map(|tenant| TenantFacts {
            suspended: tenant.settings.suspended,
            rate: tenant.settings.request_rate,
        });
        for (known, own) in found.values_mut() {
            if known.key.tenant.as_ref().is_some_and(|(_, owner)| *owner == slug) {
                *own = facts;
            }
        }
    }
    Ok(ids.into_iter().map(|id| found.get(&id).cloned()).collect())
}
