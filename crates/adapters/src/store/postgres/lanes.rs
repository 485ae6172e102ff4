//! Lanes: how they come into being, sleep and wake.
//!
//! A lane is `active` while claims look at it. Whoever makes jobs due commits
//! them first and wakes their lanes afterwards; a claim that found a lane empty
//! puts it to sleep, commits, and then looks at it once more. So whichever of
//! the two commits last sees the other's work, and no lane sleeps over a due
//! job. What a crash between commit and second look leaves, the sweep finds.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::{PgConnection, Row};
use taskflow_application::ports::StoreResult;
use taskflow_domain::fair::{UNKNOWN_COST_US, billed_us};

use super::unit::{BEGIN_UNDER_SETTINGS, End, Unit, alone, transact_detached};
use super::{Inner, rejected};
use crate::store::error::{Fault, from_sqlx};
use crate::store::names::LaneKey;

/// The slots that limit new lanes of a queue with a limit for each tenant.
const MAKE_SLOTS: &str = "
insert into limit_slot (tenant_id, queue_id, max_running)
select distinct k.tenant_id, q.id, q.max_running_per_tenant
from unnest($1::int4[], $2::int4[]) k(tenant_id, queue_id)
cross join lateral (select id, max_running_per_tenant from queue where id = k.queue_id limit 1) q
where q.max_running_per_tenant is not null
order by 1, 2
on conflict do nothing";

const MAKE_LANES: &str = "
insert into lane (tenant_id, queue_id, route, weight, cost_us, paused, tenant_slot, queue_slot)
select t.id, k.queue_id, k.route, t.weight, $4, t.paused,
    (select s.id from limit_slot s where s.tenant_id = t.id and s.queue_id is null),
    (select s.id from limit_slot s where s.tenant_id = t.id and s.queue_id = k.queue_id)
from unnest($1::int4[], $2::int4[], $3::int4[]) k(tenant_id, queue_id, route)
cross join lateral (select id, weight, paused from tenant where id = k.tenant_id limit 1) t
order by 1, 2, 3
on conflict do nothing";

const FIND_LANES: &str = "
select l.tenant_id, l.queue_id, l.route, l.id
from unnest($1::int4[], $2::int4[], $3::int4[]) k(tenant_id, queue_id, route)
cross join lateral (
    select * from lane l
    where l.tenant_id = k.tenant_id and l.queue_id = k.queue_id and l.route = k.route
    limit 1) l";

/// The lanes of `asleep` wake. A lane that wakes begins where the busy lanes are. Where all
/// sleep, it begins where the last of them stopped, or a newcomer would have all the time
/// ahead that the others have used so far.
macro_rules! wake {
    () => {
        "floor as materialized (
    select g.queue_id, g.route, coalesce(
        (select x.virtual_us from lane x
         where x.queue_id = g.queue_id and x.route = g.route and x.active and not x.blocked and not x.paused
         order by x.virtual_us, x.id limit 1),
        (select x.virtual_us from lane x
         where x.queue_id = g.queue_id and x.route = g.route and not x.active
         order by x.virtual_us desc limit 1),
        0) least
    from (select distinct queue_id, route from asleep) g),
woken as (
    update lane l set active = true, virtual_us = greatest(l.virtual_us, f.least)
    from asleep a join floor f on f.queue_id = a.queue_id and f.route = a.route
    where l.id = any(array[a.id]) and l.active::int4 = 0
    returning l.id)"
    };
}
/// See [`wake`].
pub(super) const WAKE: &str = wake!();

/// A lane whose jobs a claim has taken already goes on sleeping, or the next claim would
/// have to put it to sleep once more. `active::int4 = 0` is `not active` where the planner
/// must not take the index of all sleeping lanes for it.
const ACTIVATE: &str = concat!(
    "with asleep as materialized (
    select id, queue_id, route from lane l where id = any($1::int4[]) and active::int4 = 0
        and (select true from ready r where r.lane_id = l.id limit 1)
    order by id for no key update),
",
    wake!(),
    " select count(*) from woken"
);

/// The virtual time of a lane `l` that new settings let go, if no limit holds it
/// back any more: what it missed is not made up, like what one missed that slept.
macro_rules! let_go {
    () => {
        "case when exists (
            select 1 from limit_slot s
            where s.tenant_id = l.tenant_id and (s.queue_id is null or s.queue_id = l.queue_id)
                and s.running >= s.max_running) then l.virtual_us
        else greatest(l.virtual_us, (
            select x.virtual_us from lane x
            where x.queue_id = l.queue_id and x.route = l.route and x.active and not x.blocked and not x.paused
            order by x.virtual_us, x.id limit 1)) end"
    };
}
pub(super) use let_go;

const LOOK_AGAIN: &str = "
update lane l set active = true
where l.id = any($1::int4[]) and l.active::int4 = 0
    and (select true from ready r where r.lane_id = l.id limit 1)";

const UNBLOCK: &str = "
update lane l set blocked = false
where (l.tenant_slot = any($1::int4[]) or l.queue_slot = any($1::int4[])) and l.blocked
    and not exists (
        select 1 from limit_slot s
        where s.id in (l.tenant_slot, l.queue_slot) and s.running >= s.max_running)";

/// Puts right what lanes were charged, and learns what kinds take. Two reports of
/// one kind at the same time may lose one observation of its average.
const CHARGE: &str = "
with paid as (
    update lane l set virtual_us = l.virtual_us + c.us / l.weight
    from unnest($1::int4[], $2::int8[]) c(lane_id, us) where l.id = any(array[c.lane_id]))
insert into kind_cost (tenant_id, kind_id, cost_us)
select k.tenant_id, k.kind_id, o.cost_us + ((k.took_us - o.cost_us) * (1 - k.kept))::int8
from unnest($3::int4[], $4::int4[], $5::int8[], $6::float8[]) k(tenant_id, kind_id, took_us, kept)
cross join lateral (select coalesce((
    select c.cost_us from kind_cost c where c.tenant_id = k.tenant_id and c.kind_id = k.kind_id), $7) cost_us) o
on conflict (tenant_id, kind_id) do update set cost_us = excluded.cost_us";

/// How long after a write its lanes are looked at again: those of many writes at once.
const SECOND_LOOK: Duration = Duration::from_millis(2);

/// Lanes that wait for a second look after their jobs were written.
#[derive(Default)]
pub(super) struct Waking(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    lanes: Vec<i32>,
    /// Whether somebody looks at them.
    tended: bool,
}

impl Waking {
    /// Adds lanes; says whether nobody looks at them yet.
    fn add(&self, lanes: Vec<i32>) -> bool {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.lanes.extend(lanes);
        !std::mem::replace(&mut waiting.tended, true)
    }

    /// All that wait; none ends the work on them.
    fn next(&self) -> Option<Vec<i32>> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.tended = !waiting.lanes.is_empty();
        Some(std::mem::take(&mut waiting.lanes)).filter(|lanes| !lanes.is_empty())
    }
}

struct MakeLanes {
    tenants: Vec<i32>,
    queues: Vec<i32>,
    routes: Vec<i32>,
}

impl MakeLanes {
    fn of(keys: &[LaneKey]) -> Self {
        Self {
            tenants: keys.iter().map(|key| key.0).collect(),
            queues: keys.iter().map(|key| key.1).collect(),
            routes: keys.iter().map(|key| key.2).collect(),
        }
    }

    async fn find(&self, connection: &mut PgConnection) -> sqlx::Result<Vec<(LaneKey, i32)>> {
        let rows = sqlx::query(FIND_LANES)
            .bind(&self.tenants)
            .bind(&self.queues)
            .bind(&self.routes)
            .fetch_all(connection)
            .await?;
        rows.iter()
            .map(|row| Ok(((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?), row.try_get(3)?)))
            .collect()
    }
}

impl Unit for MakeLanes {
    type Output = Vec<(LaneKey, i32)>;
    const BEGIN: &'static str = BEGIN_UNDER_SETTINGS;

    async fn run(&self, connection: &mut PgConnection) -> Result<End<Self::Output>, Fault> {
        sqlx::query(MAKE_SLOTS).bind(&self.tenants).bind(&self.queues).execute(&mut *connection).await?;
        sqlx::query(MAKE_LANES)
            .bind(&self.tenants)
            .bind(&self.queues)
            .bind(&self.routes)
            .bind(UNKNOWN_COST_US)
            .execute(&mut *connection)
            .await?;
        Ok(End::Commit(self.find(connection).await?))
    }
}

/// What is to be put right after the ends of attempts.
#[derive(Debug, Default)]
pub(super) struct Charges {
    lanes: BTreeMap<i32, i64>,
    /// By tenant and kind: the sum of what attempts took, and how many.
    kinds: BTreeMap<(i32, i32), (i64, i32)>,
}

impl Charges {
    /// An attempt was charged `charged_us`, and `settle_us` is to be added.
    pub(super) fn add(&mut self, lane: i32, tenant: i32, kind: i32, charged_us: i64, settle_us: i64) {
        if settle_us == 0 {
            return;
        }
        let sum = self.lanes.entry(lane).or_default();
        *sum = sum.saturating_add(settle_us);
        let (took, n) = self.kinds.entry((tenant, kind)).or_default();
        *took = took.saturating_add(billed_us(charged_us.saturating_add(settle_us)));
        *n += 1;
    }
}

impl Inner {
    /// The lanes of these keys. Those that do not exist come into being.
    pub(super) async fn ensure_lanes(self: &Arc<Self>, keys: &[LaneKey]) -> StoreResult<Vec<i32>> {
        let mut found = self.catalog.lanes(keys);
        if found.iter().any(Option::is_none) {
            let missing = |found: &[Option<i32>]| {
                let mut missing: Vec<LaneKey> =
                    keys.iter().zip(found).filter(|(_, id)| id.is_none()).map(|(key, _)| *key).collect();
                missing.sort_unstable();
                missing.dedup();
                missing
            };
            let mut connection = self.pool.acquire().await.map_err(|fault| from_sqlx(&fault))?;
            let lanes = MakeLanes::of(&missing(&found)).find(&mut connection).await;
            drop(connection);
            self.catalog.remember_lanes(lanes.map_err(|fault| from_sqlx(&fault))?);
            found = self.catalog.lanes(keys);
            let missing = missing(&found);
            if !missing.is_empty() {
                let made = transact_detached(&self.warm, MakeLanes::of(&missing)).await?;
                self.catalog.remember_lanes(made);
                found = self.catalog.lanes(keys);
            }
        }
        found
            .into_iter()
            .map(|lane| lane.ok_or_else(|| rejected("the tenant of a job does not exist")))
            .collect()
    }

    /// Wakes lanes that have due jobs. Call it after the commit that made them due.
    /// Answers how many slept.
    pub(super) async fn activate(&self, mut lanes: Vec<i32>) -> StoreResult<i64> {
        if lanes.is_empty() {
            return Ok(0);
        }
        lanes.sort_unstable();
        lanes.dedup();
        let lanes = &lanes;
        alone(&self.warm, |mut connection| async move {
            Ok((sqlx::query_scalar(ACTIVATE).bind(lanes).fetch_one(&mut *connection).await?, connection))
        })
        .await
    }

    /// Looks once more, behind the back of who made the jobs of these lanes due, whether a
    /// claim put one of them to sleep at the same time. Those that come meanwhile are
    /// looked at together. Where it fails, the sweep finds them.
    pub(super) fn wake_later(self: &Arc<Self>, lanes: Vec<i32>) {
        if lanes.is_empty() || !self.waking.add(lanes) {
            return;
        }
        let inner = Arc::clone(self);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(SECOND_LOOK).await;
                let Some(lanes) = inner.waking.next() else { return };
                match inner.activate(lanes).await {
                    Ok(0) => {}
                    // Whoever was told of the work may have looked before.
                    Ok(_) => inner.room.notify_one(),
                    Err(fault) => tracing::warn!(%fault, "lanes with new jobs were not looked at again"),
                }
            }
        });
    }

    /// Looks again at lanes that a claim put to sleep. Call it after its commit.
    /// Who made their jobs due has told the news already, maybe before this.
    pub(super) async fn look_again(&self, lanes: &[i32]) -> StoreResult<()> {
        let woken = alone(&self.warm, |mut connection| async move {
            Ok((sqlx::query(LOOK_AGAIN).bind(lanes).execute(&mut *connection).await?, connection))
        })
        .await?;
        if woken.rows_affected() > 0 {
            self.room.notify_one();
        }
        Ok(())
    }

    /// Lets claims look again at lanes under limits that got room. Call it after
    /// the commit that made room: lanes come before slots in the order of locks.
    pub(super) async fn unblock(&self, slots: &[i32]) -> StoreResult<()> {
        if !slots.is_empty() {
            alone(&self.warm, |mut connection| async move {
                Ok((sqlx::query(UNBLOCK).bind(slots).execute(&mut *connection).await?, connection))
            })
            .await?;
        }
        Ok(())
    }

    /// Settles charges. It stands after the commit of the ends that they belong
    /// to, so that reports do not wait for claims while they hold their jobs; a
    /// crash between the two costs a fair share a little precision.
    pub(super) async fn charge(&self, charges: &Charges) -> StoreResult<()> {
        if charges.lanes.is_empty() {
            return Ok(());
        }
        let (lanes, sums): (Vec<i32>, Vec<i64>) = charges.lanes.iter().unzip();
        let tenants: Vec<i32> = charges.kinds.keys().map(|key| key.0).collect();
        let kinds: Vec<i32> = charges.kinds.keys().map(|key| key.1).collect();
        let took: Vec<i64> = charges.kinds.values().map(|(sum, n)| sum / i64::from(*n)).collect();
        // An average moves a quarter of the way at each observation: see `fair::average_us`.
        let kept: Vec<f64> = charges.kinds.values().map(|(_, n)| 0.75_f64.powi(*n)).collect();
        let (lanes, sums, tenants, kinds, took, kept) = (&lanes, &sums, &tenants, &kinds, &took, &kept);
        alone(&self.warm, |mut connection| async move {
            let charge = sqlx::query(CHARGE)
                .bind(lanes)
                .bind(sums)
                .bind(tenants)
                .bind(kinds)
                .bind(took)
                .bind(kept)
                .bind(UNKNOWN_COST_US);
            Ok((charge.execute(&mut *connection).await?, connection))
        })
        .await?;
        Ok(())
    }
}
