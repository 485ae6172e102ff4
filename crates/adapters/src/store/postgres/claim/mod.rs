//! Claiming: due jobs become running ones, in fair order and under every limit.
//!
//! First a look without a transaction, which costs an idle worker one round trip: which
//! queues have lanes with due jobs? The engine's own claim takes them with this look where
//! one lane has all of them and nothing limits it: see [`sole`]. Otherwise, in one
//! transaction:
//!
//! 1. `look`: limited queues are locked, the lanes with the least virtual time are
//!    locked (those that another claim holds are left to it), then their limits.
//! 2. The domain divides the batch over the lanes ([`fair::share`]), and what a tenant's
//!    own lanes get by the order of its jobs ([`fair::in_order`]).
//! 3. `take`: of each lane so many due jobs begin to run, and the lane is charged.
//! 4. `count`: what is counted under limits moves along.
//!
//! While the batch is not full and lanes are left, this is repeated. A lane that
//! was found empty sleeps from the commit on, and is looked at once
//! more after it: see [`super::lanes`].

mod hand;
mod look;
mod sole;
mod take;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use sqlx::PgConnection;
use sqlx::postgres::PgRow;
use taskflow_application::ports::{Claim, ClaimRequest, Route, StoreResult};
use taskflow_domain::{Timestamp, fair};

use super::unit::{BEGIN_UNDER_SETTINGS, End, Unit, detached, transact};
use super::{Inner, int};
use crate::store::error::Fault;
use look::{LaneSeen, Limits};
use sole::Look;
use take::Take;

/// A claim with the ids of what it names.
struct Claiming {
    worker: i32,
    tenant: Option<i32>,
    /// The queues to look at, and whether they are limited as a whole.
    queues: Vec<(i32, bool)>,
    routes: Vec<i32>,
    max: u32,
    lease_until: Option<Timestamp>,
    now: Timestamp,
    nonce: i64,
}

/// What a claim's transaction brings back.
#[derive(Default)]
struct Taken {
    rows: Vec<PgRow>,
    /// Lanes that were put to sleep.
    closed: Vec<i32>,
    /// Whether anything was written.
    changed: bool,
    more: bool,
}

/// A claim that found less than was wanted looks again, because lanes are asked
/// for more jobs than they may have. So often at most.
const MOST_ROUNDS: u32 = 10;

/// Claims jobs: see the port.
pub(super) async fn claim(inner: &Arc<Inner>, request: &ClaimRequest) -> StoreResult<Claim> {
    if request.max == 0 {
        return Ok(Claim::default());
    }
    let routes = match &request.route {
        Route::Engine => vec![0],
        // What nobody ever submitted is not made by being asked for.
        Route::Kinds(kinds) => inner.find_kinds(kinds).await?,
    };
    if routes.is_empty() {
        return Ok(Claim::default());
    }
    let only = match request.queues.as_slice() {
        [] => None,
        names => Some(inner.find_queues(names).await?),
    };
    let tenant = request.tenant.map(|tenant| tenant.0);
    let own = request.route == Route::Engine && tenant.is_none();
    // Who pulls leaves no name behind where there is nothing for it, so it only looks first.
    let queues = if own {
        Vec::new()
    } else {
        look::queues(inner, only.as_deref(), tenant, &routes, request.now).await?
    };
    if queues.is_empty() && !own {
        return Ok(Claim::default());
    }
    let mut claiming = Claiming {
        worker: inner.worker_id(&request.worker, tenant, request.now).await?,
        tenant,
        queues,
        routes,
        max: request.max,
        lease_until: request.lease_until,
        now: request.now,
        nonce: i64::try_from(request.nonce & 0xffff_ffff_ffff).unwrap_or_default(),
    };
    let (inner, name) = (Arc::clone(inner), request.worker.clone());
    detached(async move {
        let taken = claiming.take(&inner, only.as_deref()).await?;
        look_again_later(&inner, taken.closed);
        let jobs = hand::claimed_jobs(&inner, &taken.rows, &name, claiming.now, claiming.lease_until).await?;
        Ok(Claim { jobs, more: taken.more })
    })
    .await
}

/// The claimed jobs need not wait for the second look at the lanes that were put
/// to sleep. Where it fails, the sweep takes it.
fn look_again_later(inner: &Arc<Inner>, closed: Vec<i32>) {
    if closed.is_empty() {
        return;
    }
    let inner = Arc::clone(inner);
    tokio::spawn(async move {
        if let Err(fault) = inner.look_again(&closed).await {
            tracing::warn!(%fault, lanes = closed.len(), "lanes put to sleep were not looked at again");
        }
    });
}

impl Unit for Claiming {
    type Output = Taken;
    const BEGIN: &'static str = BEGIN_UNDER_SETTINGS;

    async fn run(&self, connection: &mut PgConnection) -> Result<End<Taken>, Fault> {
        let mut taken = Taken::default();
        for _ in 0..MOST_ROUNDS {
            taken.more = self.round(connection, &mut taken).await?;
            if !taken.more || taken.rows.len() >= self.max as usize {
                break;
            }
        }
        let nothing = taken.rows.is_empty() && !taken.changed;
        Ok(if nothing { End::Undo(taken) } else { End::Commit(taken) })
    }
}

impl Claiming {
    /// Takes what it can get. Without queues nothing was looked at yet.
    async fn take(&mut self, inner: &Inner, only: Option<&[i32]>) -> StoreResult<Taken> {
        if self.queues.is_empty() {
            match sole::look(inner, self, only).await? {
                Look::Taken(taken) => return Ok(taken),
                Look::Queues(queues) if queues.is_empty() => return Ok(Taken::default()),
                Look::Queues(queues) => self.queues = queues,
            }
        }
        let first = inner.turn.fetch_add(1, Ordering::Relaxed) % self.queues.len();
        self.queues.rotate_left(first);
        transact(&inner.warm, self).await
    }

    /// Looks, divides and takes once; says whether another round might find more.
    async fn round(&self, connection: &mut PgConnection, taken: &mut Taken) -> Result<bool, Fault> {
        let left = self.max.saturating_sub(u32::try_from(taken.rows.len()).unwrap_or(u32::MAX));
        let each = self.lanes_each(left);
        let queues = look::limited_queues(connection, self).await?;
        let lanes = look::lanes(connection, self, each).await?;
        if lanes.is_empty() {
            // At first lanes were there a moment ago: then another claim holds them.
            return Ok(!taken.changed);
        }
        let slots = look::slots(connection, &lanes).await?;
        let limits = Limits { queues, slots };
        let order = match self.tenant {
            Some(_) if self.routes.len() > 1 => look::order(connection, &lanes, left).await?,
            _ => HashMap::new(),
        };
        let takes = self.divide(left, &lanes, &limits, &order);
        if takes.is_empty() {
            return Ok(false);
        }
        let rows = take::take(connection, self, &takes).await?;
        let got = take::got(&rows)?;
        take::count(connection, self, &lanes, &limits, &got).await?;
        let closed = take::closed(&rows, &takes, &got)?;
        let more = self.might_find_more(each, &lanes, &takes, &closed);
        taken.changed = true;
        taken.rows.extend(rows);
        taken.closed.extend(closed);
        Ok(more)
    }

    /// How many lanes of each queue and route are looked at.
    fn lanes_each(&self, left: u32) -> u32 {
        let groups = u32::try_from(self.queues.len()).unwrap_or(u32::MAX).max(1);
        fair::lanes_for(left.div_ceil(groups)).max(1)
    }

    /// Divides the batch over the queues in turn, and in each over its lanes. `order`: by
    /// queue the lanes of its first jobs, if they are all of one tenant.
    fn divide(
        &self,
        mut left: u32,
        lanes: &[LaneSeen],
        limits: &Limits,
        order: &HashMap<i32, Vec<i32>>,
    ) -> Vec<Take> {
        let slot_ids: Vec<i32> = limits.slots.keys().copied().collect();
        let places: HashMap<i32, usize> = slot_ids.iter().enumerate().map(|(at, id)| (*id, at)).collect();
        let full: Vec<u32> = slot_ids.iter().map(|id| limits.slots[id]).collect();
        let mut rooms = full.clone();
        let mut takes = Vec::new();
        for (nth, &(queue, _)) in self.queues.iter().enumerate() {
            let seen: Vec<&LaneSeen> = lanes.iter().filter(|lane| lane.queue_id == queue).collect();
            let fair_lanes: Vec<fair::Lane> = seen.iter().map(|lane| lane.fair(&places)).collect();
            let others = u32::try_from(self.queues.len() - nth).unwrap_or(1);
            let batch = left.div_ceil(others).min(limits.queue_room(queue));
            let mut shares = fair::share(batch, &fair_lanes, &mut rooms);
            if let Some(order) = order.get(&queue) {
                let place = |id: &i32| seen.iter().position(|lane| lane.id == *id);
                shares = fair::in_order(&shares, order.iter().filter_map(place));
            }
            for ((lane, fair_lane), n) in seen.into_iter().zip(&fair_lanes).zip(shares) {
                left -= n;
                let blocked = fair_lane.limits.iter().flatten().any(|&limit| full[limit] == 0);
                if n > 0 || blocked {
                    takes.push(Take { lane_id: lane.id, queue_id: queue, n: int(n), blocked });
                }
            }
        }
        takes
    }

    /// Whether lanes were left that the next claim would find.
    fn might_find_more(&self, each: u32, lanes: &[LaneSeen], takes: &[Take], closed: &[i32]) -> bool {
        let seen = |queue: i32, route: i32| {
            lanes.iter().filter(|lane| lane.queue_id == queue && lane.route == route).count()
        };
        let cut = self
            .queues
            .iter()
            .any(|(queue, _)| self.routes.iter().any(|route| seen(*queue, *route) >= each as usize));
        let passed: HashSet<i32> = takes
            .iter()
            .filter(|take| take.blocked)
            .map(|take| take.lane_id)
            .chain(closed.iter().copied())
            .collect();
        cut || lanes.iter().any(|lane| !passed.contains(&lane.id))
    }
}
