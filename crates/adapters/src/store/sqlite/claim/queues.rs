//! Queues that have work for a claim, and how much of it may start now.

use sqlx::{Row as _, SqliteConnection, sqlite::SqliteRow};
use taskflow_domain::queue::{Bucket, Rate};
use taskflow_domain::{QueueName, Timestamp};

use super::super::super::error::Fault;
use super::super::record::batch;
use super::Wish;
use taskflow_application::ports::StoreError;

/// Queues that one claim looks at; the next claim begins behind them.
const MOST_QUEUES: i32 = 64;

/// A queue out of which jobs may start.
#[derive(Clone, Debug)]
pub(super) struct OpenQueue {
    pub(super) id: i32,
    pub(super) name: QueueName,
    /// How many may start now.
    pub(super) room: u32,
    /// Whether the number of its running jobs is kept.
    pub(super) counted: bool,
    /// Its rate limit, filled up to now.
    pub(super) rate: Option<Bucket>,
}

/// What a look at the queues found.
#[derive(Debug)]
pub(super) struct Open {
    /// The queues, in the order of their turns.
    pub(super) queues: Vec<OpenQueue>,
    /// The last queue that was looked at.
    pub(super) last: Option<i32>,
    /// Whether there are queues that were not looked at.
    pub(super) more: bool,
}

/// The queues with active lanes of the wish and room, beginning behind `turn`.
pub(super) async fn open(tx: &mut SqliteConnection, wish: &Wish, turn: i32) -> Result<Open, Fault> {
    let tenant = wish.request.tenant.map(|tenant| tenant.0);
    let rows = match (&wish.queues, tenant) {
        (None, None) => {
            let query = sqlx::query(ANY).bind(wish.routes.clone()).bind(turn).bind(MOST_QUEUES);
            query.bind(wish.request.now.micros()).fetch_all(tx).await?
        }
        (Some(queues), None) => {
            sqlx::query(LISTED)
                .bind(wish.routes.clone())
                .bind(turn)
                .bind(queues.clone())
                .fetch_all(tx)
                .await?
        }
        (queues, Some(tenant)) => {
            let query = sqlx::query(OF_TENANT).bind(wish.routes.clone()).bind(turn);
            query.bind(queues.clone()).bind(tenant).fetch_all(tx).await?
        }
    };
    let last = rows.last().map(|row| row.try_get(0)).transpose()?;
    let more = rows.len() >= MOST_QUEUES as usize;
    let mut queues = Vec::with_capacity(rows.len());
    for row in &rows {
        let queue = read(row, wish.request.now)?;
        if queue.room > 0 {
            queues.push(queue);
        }
    }
    Ok(Open { queues, last, more })
}

/// The same queues as the unit of work finds them, in the same order.
pub(super) async fn again(
    tx: &mut SqliteConnection,
    ids: &[i32],
    now: Timestamp,
) -> Result<Vec<OpenQueue>, Fault> {
    let rows = sqlx::query(AGAIN).bind(batch(ids)?).fetch_all(tx).await?;
    rows.iter().map(|row| read(row, now)).collect()
}

fn read(row: &SqliteRow, now: Timestamp) -> Result<OpenQueue, Fault> {
    let id: i32 = row.try_get(0)?;
    let name: String = row.try_get(1)?;
    let name = QueueName::new(&name).map_err(|fault| StoreError::Corrupt {
        table: "queue",
        column: "name",
        id: id.to_string(),
        detail: fault.to_string(),
    })?;
    let (most, running): (Option<i64>, i64) = (row.try_get(2)?, row.try_get(3)?);
    let (limit, period_ms): (Option<u32>, Option<u32>) = (row.try_get(4)?, row.try_get(5)?);
    let bucket = Bucket { micro_tokens: row.try_get(6)?, at: Timestamp::from_micros(row.try_get(7)?) };
    let rate = limit.zip(period_ms).map(|(limit, period_ms)| bucket.refilled(Rate { limit, period_ms }, now));
    let (paused, until): (bool, Option<i64>) = (row.try_get(8)?, row.try_get(9)?);
    let held = paused && until.is_none_or(|until| until > now.micros());
    let room = if held { 0 } else { most.map_or(i64::from(u32::MAX), |most| (most - running).max(0)) };
    let room = u32::try_from(room).unwrap_or(u32::MAX).min(rate.map_or(u32::MAX, Bucket::available));
    Ok(OpenQueue { id, name, room, counted: most.is_some(), rate })
}

macro_rules! columns {
    () => {
        "q.id, q.name, q.max_running, q.running, q.rate_limit, q.rate_period_ms, \
         q.bucket_micro, q.bucket_at, q.paused, q.paused_until "
    };
}

/// Walks from queue to queue through the index of active lanes, twice: from the
/// turn to the end (part 0), and from the start to the turn (part 1).
const ANY: &str = concat!(
    "with recursive found(part, route, id) as ( \
       select p.part, r.value, (select min(l.queue_id) from lane l \
         where l.active = 1 and l.blocked = 0 and l.paused = 0 and l.route = r.value \
           and l.queue_id > case p.part when 0 then ?2 else 0 end) \
       from jsonb_each(?1) r cross join (select 0 part union all select 1) p \
       union all \
       select f.part, f.route, (select min(l.queue_id) from lane l \
         where l.active = 1 and l.blocked = 0 and l.paused = 0 and l.route = f.route and l.queue_id > f.id) \
       from found f where f.id is not null and (f.part = 0 or f.id <= ?2) \
       limit 4096) \
     select distinct ",
    columns!(),
    ", f.part from found f join queue q on q.id = f.id \
     where (f.part = 0 or f.id <= ?2) \
       and (q.paused = 0 or q.paused_until <= ?4) \
       and (q.max_running is null or q.running < q.max_running) \
     order by f.part, q.id limit ?3"
);

const LISTED: &str = concat!(
    "select ",
    columns!(),
    "from jsonb_each(?3) e cross join queue q on q.id = e.value \
     where exists (select 1 from lane l where l.active = 1 and l.blocked = 0 and l.paused = 0 \
       and l.route in (select value from jsonb_each(?1)) and l.queue_id = q.id) \
     order by q.id <= ?2, q.id"
);

const OF_TENANT: &str = concat!(
    "select ",
    columns!(),
    "from queue q where q.id in ( \
       select l.queue_id from lane l where l.tenant_id = ?4 and l.active = 1 and l.blocked = 0 \
         and l.paused = 0 and l.route in (select value from jsonb_each(?1))) \
       and (?3 is null or q.id in (select value from jsonb_each(?3))) \
     order by q.id <= ?2, q.id"
);

const AGAIN: &str = concat!(
    "select ",
    columns!(),
    "from jsonb_each(?1) e cross join queue q on q.id = e.value order by e.key"
);
