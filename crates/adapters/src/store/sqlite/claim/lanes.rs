//! The lanes of a round, and what each of them may start.

use std::collections::HashMap;

use sqlx::{Row as _, SqliteConnection};
use taskflow_domain::fair;

use super::super::super::error::Fault;
use super::super::record::batch;
use super::{Plan, Queues, Wish};

/// A lane that may give jobs.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) id: i32,
    pub(super) queue_id: i32,
    pub(super) weight: u32,
    /// Its limits, as ids of `limit_slot`.
    pub(super) slots: [Option<i32>; 2],
    /// How many it may start.
    pub(super) take: u32,
    virtual_us: i64,
    cost_us: i64,
}

/// The rooms of the limits that the candidates count against.
#[derive(Debug, Default)]
struct Rooms {
    places: HashMap<i32, usize>,
    left: Vec<u32>,
}

impl Rooms {
    fn add(&mut self, slot: i32, room: i64) {
        self.places.entry(slot).or_insert_with(|| {
            self.left.push(u32::try_from(room.max(0)).unwrap_or(u32::MAX));
            self.left.len() - 1
        });
    }
}

/// Divides `left` starts over the queues and, in each, over its lanes. `None`
/// if no lane is left to look at.
pub(super) async fn plan(
    tx: &mut SqliteConnection,
    wish: &Wish,
    open: &mut Queues,
    left: u32,
) -> Result<Option<Plan>, Fault> {
    let (mut lanes, mut rooms) = candidates(tx, wish, open, left).await?;
    if lanes.is_empty() {
        return Ok(None);
    }
    open.retain(|queue| lanes.contains_key(&queue.id));
    let mut plan = Plan { lanes: Vec::new(), last: None };
    let mut left = left;
    let count = open.len();
    for (at, queue) in open.iter().enumerate() {
        if left == 0 {
            break;
        }
        let portion = left.div_ceil(u32::try_from(count - at).unwrap_or(u32::MAX)).min(queue.room);
        let mut of_queue = lanes.remove(&queue.id).unwrap_or_default();
        of_queue.sort_by_key(|lane| (lane.virtual_us, lane.id));
        let own = wish.request.tenant.is_some();
        if !own {
            of_queue.truncate(fair::lanes_for(portion) as usize);
        }
        let shapes: Vec<fair::Lane> = of_queue
            .iter()
            .map(|lane| fair::Lane {
                virtual_us: lane.virtual_us,
                weight: lane.weight,
                cost_us: lane.cost_us,
                limits: lane.slots.map(|slot| slot.and_then(|slot| rooms.places.get(&slot).copied())),
            })
            .collect();
        let mut shares = fair::share(portion, &shapes, &mut rooms.left);
        if own && of_queue.len() > 1 {
            let order = order(tx, &of_queue, portion).await?;
            shares = fair::in_order(&shares, order);
        }
        for (lane, take) in of_queue.iter_mut().zip(shares) {
            lane.take = take;
            left -= take;
        }
        plan.last = Some(queue.id);
        plan.lanes.extend(of_queue);
    }
    Ok(Some(plan))
}

/// The places of one tenant's lanes in a queue, in the order of their first jobs. A limit
/// cannot be taken from another row, so each lane is asked for itself.
async fn order(tx: &mut SqliteConnection, lanes: &[Candidate], most: u32) -> Result<Vec<usize>, Fault> {
    let mut first: Vec<(i64, Vec<u8>, usize)> = Vec::new();
    for (place, lane) in lanes.iter().enumerate() {
        for row in sqlx::query(FIRST).bind(lane.id).bind(most).fetch_all(&mut *tx).await? {
            first.push((row.try_get(0)?, row.try_get(1)?, place));
        }
    }
    first.sort_unstable();
    Ok(first.into_iter().map(|(.., place)| place).collect())
}

async fn candidates(
    tx: &mut SqliteConnection,
    wish: &Wish,
    open: &Queues,
    left: u32,
) -> Result<(HashMap<i32, Vec<Candidate>>, Rooms), Fault> {
    let queues: Vec<i32> = open.iter().map(|queue| queue.id).collect();
    let rows = match wish.request.tenant {
        None => {
            let query = sqlx::query(NEXT).bind(wish.routes.clone()).bind(batch(&queues)?);
            query.bind(fair::lanes_for(left)).fetch_all(tx).await?
        }
        Some(tenant) => {
            let query = sqlx::query(OF_TENANT).bind(wish.routes.clone()).bind(batch(&queues)?);
            query.bind(tenant.0).fetch_all(tx).await?
        }
    };
    let (mut lanes, mut rooms) = (HashMap::<i32, Vec<Candidate>>::new(), Rooms::default());
    for row in &rows {
        let slots: [Option<i32>; 2] = [row.try_get(5)?, row.try_get(7)?];
        for (slot, room) in slots.into_iter().zip([row.try_get(6)?, row.try_get(8)?]) {
            if let (Some(slot), Some(room)) = (slot, room) {
                rooms.add(slot, room);
            }
        }
        let queue_id = row.try_get(1)?;
        lanes.entry(queue_id).or_default().push(Candidate {
            id: row.try_get(0)?,
            queue_id,
            virtual_us: row.try_get(2)?,
            weight: row.try_get(3)?,
            cost_us: row.try_get(4)?,
            slots,
            take: 0,
        });
    }
    Ok((lanes, rooms))
}

macro_rules! columns {
    () => {
        "select l.id, l.queue_id, l.virtual_us, l.weight, l.cost_us, \
         ts.id, ts.max_running - ts.running, qs.id, qs.max_running - qs.running "
    };
}

/// Of each queue and route the lanes with the least virtual time, by index.
const NEXT: &str = concat!(
    columns!(),
    "from jsonb_each(?2) q cross join jsonb_each(?1) r \
     cross join lane l on l.id in ( \
       select o.id from lane o \
       where o.route = r.value and o.queue_id = q.value and o.active = 1 and o.blocked = 0 and o.paused = 0 \
       order by o.virtual_us, o.id limit ?3) \
     left join limit_slot ts on ts.id = l.tenant_slot \
     left join limit_slot qs on qs.id = l.queue_slot"
);

const OF_TENANT: &str = concat!(
    columns!(),
    "from lane l \
     left join limit_slot ts on ts.id = l.tenant_slot \
     left join limit_slot qs on qs.id = l.queue_slot \
     where l.tenant_id = ?3 and l.queue_id in (select value from jsonb_each(?2)) \
       and l.route in (select value from jsonb_each(?1)) \
       and l.active = 1 and l.blocked = 0 and l.paused = 0"
);

const FIRST: &str = "select ord, job_id from ready where lane_id = ?1 order by ord, job_id limit ?2";
