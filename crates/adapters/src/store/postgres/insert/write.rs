//! The statement that writes a batch of jobs.

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use sqlx::{PgConnection, Row};
use taskflow_application::ports::{NewJob, StoreError};
use taskflow_domain::{Delay, JobState, Standing, Timestamp};
use uuid::Uuid;

use super::{Batch, Key, Owner};
use crate::store::error::Fault;
use crate::store::postgres::lanes::WAKE;
use crate::store::row::JobRow;

/// What the jobs of a statement have beside themselves. What none of them has is not in
/// the statement: each part costs its share of every submit, however small.
#[derive(Clone, Copy)]
struct Shape {
    keys: bool,
    later: bool,
    labels: bool,
}

impl Shape {
    const fn number(self) -> usize {
        self.keys as usize + 2 * (self.later as usize) + 4 * (self.labels as usize)
    }

    fn all() -> [Self; 8] {
        std::array::from_fn(|n| Self { keys: n & 1 != 0, later: n & 2 != 0, labels: n & 4 != 0 })
    }
}

/// Keys are claimed in order, so that two batches wait for each other in one direction only.
const KEYS: &str = "
won as (
    insert into idempotency (tenant_id, key, job_id, fingerprint, created_at)
    select k.* from unnest($2::int4[], $3::text[], $4::uuid[], $5::bytea[], $6::int8[]) k
    where (select yes from open)
    order by 1, 2
    on conflict do nothing
    returning job_id),
lost as materialized (select unnest($4::uuid[]) job_id except all select job_id from won),";

const LATER: &str = "
later as (
    insert into parked (tenant_id, job_id, lane_id, kind_id, priority, state, due_at, delay, waiting, since,
        attempt, spent, lost, interrupted, snoozed, seq)
    select p.tenant_id, p.id, p.lane_id, p.kind_id, p.priority, p.state, p.due_at, p.delay, false, p.created_at,
        0, 0, 0, 0, 0, 1
    from unnest($7::int4[], $8::uuid[], $11::int4[], $10::int4[], $12::int2[], $28::int8[], $30::int2[], $25::int8[],
        $27::int2[]) p(tenant_id, id, lane_id, kind_id, priority, due_at, delay, created_at, state)
    where p.state <> 2 and (select yes from open)";

const LABELS: &str = "
labelled as (
    insert into job_label (tenant_id, key, value, job_id)
    select l.* from unnest($31::int4[], $32::text[], $33::text[], $34::uuid[]) l(tenant_id, key, value, job_id)
    where (select yes from open)";

/// `open` closes the whole statement when a tenant among `$1` limits its
/// backlog or is suspended. Lanes that sleep are woken with their jobs, after the keys and
/// in their order; a lane that a claim puts to sleep at the same time is woken afterwards.
static STATEMENTS: LazyLock<[String; 8]> = LazyLock::new(|| Shape::all().map(statement));

fn statement(shape: Shape) -> String {
    let but = |id: &str| {
        if shape.keys { format!(" and {id} not in (select job_id from lost)") } else { String::new() }
    };
    let keys = if shape.keys { KEYS } else { "" };
    let later = if shape.later { format!("{LATER}{}),", but("p.id")) } else { String::new() };
    let labels = if shape.labels { format!("{LABELS}{}),", but("l.job_id")) } else { String::new() };
    let counts = if shape.keys {
        "select p.queue_id, p.state, count(*)
    from unnest($9::int4[], $27::int2[], $8::uuid[]) p(queue_id, state, id)
    where (select yes from open) and p.id not in (select job_id from lost)
    group by 1, 2"
    } else {
        "select c.* from unnest($35::int4[], $36::int2[], $37::int8[]) c(queue_id, state, n)
    where (select yes from open)"
    };
    let (job, place) = (but("j.id"), but("p.id"));
    let after_keys = if shape.keys { " and (select count(*) from lost) >= 0" } else { "" };
    let lost = if shape.keys { "array(select job_id from lost)" } else { "'{}'::uuid[]" };
    format!(
        "
with open as materialized (
    select not exists (
        select 1 from tenant where (max_backlog is not null or suspended) and id = any($1::int4[])) yes),{keys}
asked as (
    insert into job (tenant_id, id, queue_id, kind_id, lane_id, priority, payload, labels, target, retry_policy,
        timeout_ms, idempotency_key, correlation_id, parent_job_id, rule_id, firing_id, traceparent, created_by,
        created_at, run_at)
    select j.* from unnest($7::int4[], $8::uuid[], $9::int4[], $10::int4[], $11::int4[], $12::int2[], $13::text[],
        $14::text[], $15::text[], $16::text[], $17::int8[], $18::text[], $19::uuid[], $20::uuid[], $21::uuid[],
        $22::uuid[], $23::text[], $24::text[], $25::int8[], $26::int8[])
        j(tenant_id, id, queue_id, kind_id, lane_id, priority, payload, labels, target, retry_policy,
        timeout_ms, idempotency_key, correlation_id, parent_job_id, rule_id, firing_id, traceparent, created_by,
        created_at, run_at)
    where (select yes from open){job}),
due as (
    insert into ready (tenant_id, job_id, lane_id, ord, kind_id, priority, due_at, since,
        attempt, spent, lost, interrupted, snoozed, seq)
    select p.tenant_id, p.id, p.lane_id, p.ord, p.kind_id, p.priority, p.due_at, p.created_at, 0, 0, 0, 0, 0, 1
    from unnest($7::int4[], $8::uuid[], $11::int4[], $29::int8[], $10::int4[], $12::int2[], $28::int8[], $25::int8[],
        $27::int2[]) p(tenant_id, id, lane_id, ord, kind_id, priority, due_at, created_at, state)
    where p.state = 2 and (select yes from open){place}),{later}{labels}
counted as (
    insert into depth_delta (queue_id, state, n) {counts}),
asleep as materialized (
    select id, queue_id, route from lane
    where id = any($38::int4[]) and active::int4 = 0 and (select yes from open){after_keys}
    order by id for no key update),
{WAKE}
select (select yes from open), {lost}"
    )
}

const OWNERS: &str = "
select o.tenant_id, o.key, o.job_id, o.fingerprint
from unnest($1::int4[], $2::text[]) k(tenant_id, key)
cross join lateral (
    select * from idempotency i where i.tenant_id = k.tenant_id and i.key = k.key limit 1) o";

/// First places as the arrays of the statement.
#[derive(Default)]
struct Places {
    states: Vec<i16>,
    due: Vec<i64>,
    ord: Vec<i64>,
    delays: Vec<i16>,
    /// How many come into each state of each queue.
    counts: BTreeMap<(i32, i16), i64>,
}

impl Places {
    fn push(&mut self, job: &NewJob, queue: i32) -> Result<(), StoreError> {
        let (due, delay): (Timestamp, Delay) = match &job.standing {
            Standing::Waiting { due } | Standing::Pending { due } => (*due, Delay::Requested),
            Standing::Scheduled { due, delay } => (*due, *delay),
            other => {
                return Err(StoreError::Rejected(format!("a new job cannot be {}", other.state())));
            }
        };
        let state = job.standing.state().code();
        self.states.push(state);
        *self.counts.entry((queue, state)).or_default() += 1;
        self.due.push(due.micros());
        self.ord.push(job.spec.priority.order_key(due));
        self.delays.push(delay.code());
        Ok(())
    }
}

/// Labels as the arrays of the statement.
#[derive(Default)]
struct LabelColumns<'a> {
    tenants: Vec<i32>,
    keys: Vec<&'a str>,
    values: Vec<&'a str>,
    jobs: Vec<Uuid>,
}

/// Keys as the arrays of the statement.
#[derive(Default)]
struct KeyColumns<'a> {
    tenants: Vec<i32>,
    keys: Vec<&'a str>,
    jobs: Vec<Uuid>,
    fingerprints: Vec<&'a [u8]>,
    created: Vec<i64>,
}

/// All that a statement binds of its jobs.
struct Columns<'a> {
    rows: Vec<JobRow>,
    places: Places,
    labels: LabelColumns<'a>,
    keys: KeyColumns<'a>,
}

impl<'a> Columns<'a> {
    fn of(batch: &'a Batch, chosen: &[usize]) -> Result<Self, StoreError> {
        let (mut places, mut labels, mut keys) =
            (Places::default(), LabelColumns::default(), KeyColumns::default());
        let mut rows = Vec::with_capacity(chosen.len());
        for &at in chosen {
            let job = &batch.jobs[at];
            let spec = &job.spec;
            places.push(job, batch.queues[at])?;
            rows.push(JobRow::of(spec, batch.queues[at], batch.kinds[at])?);
            for (key, value) in &spec.labels {
                labels.tenants.push(spec.tenant.0);
                labels.keys.push(key);
                labels.values.push(value);
                labels.jobs.push(spec.id.0);
            }
            if let Some(key) = &spec.idempotency_key {
                keys.tenants.push(spec.tenant.0);
                keys.keys.push(key);
                keys.jobs.push(spec.id.0);
                keys.fingerprints.push(&job.fingerprint);
                keys.created.push(spec.created_at.micros());
            }
        }
        Ok(Self { rows, places, labels, keys })
    }

    fn shape(&self) -> Shape {
        Shape {
            keys: !self.keys.keys.is_empty(),
            later: self.places.states.iter().any(|&state| state != JobState::Pending.code()),
            labels: !self.labels.keys.is_empty(),
        }
    }
}

/// Writes the jobs at `chosen`, and answers those of them whose keys were taken.
/// `None` says that a tenant among `gate` limits its backlog and that nothing
/// was written. The lanes of `wake` are woken with it.
pub(super) async fn write(
    connection: &mut PgConnection,
    batch: &Batch,
    chosen: &[usize],
    gate: &[i32],
    wake: &[i32],
) -> Result<Option<Vec<usize>>, Fault> {
    let columns = Columns::of(batch, chosen)?;
    let statement = STATEMENTS[columns.shape().number()].as_str();
    let Columns { rows, places, labels, keys } = columns;
    let lanes: Vec<i32> = chosen.iter().map(|&at| batch.lanes[at]).collect();
    let (whence, counts): (Vec<(i32, i16)>, Vec<i64>) = places.counts.into_iter().unzip();
    let (queues, states): (Vec<i32>, Vec<i16>) = whence.into_iter().unzip();
    let query = sqlx::query(statement)
        .bind(gate)
        .bind(keys.tenants)
        .bind(keys.keys)
        .bind(keys.jobs)
        .bind(keys.fingerprints)
        .bind(keys.created);
    let row = bind_jobs(query, &rows, &lanes)
        .bind(places.states)
        .bind(places.due)
        .bind(places.ord)
        .bind(places.delays)
        .bind(labels.tenants)
        .bind(labels.keys)
        .bind(labels.values)
        .bind(labels.jobs)
        .bind(queues)
        .bind(states)
        .bind(counts)
        .bind(wake)
        .fetch_one(connection)
        .await?;
    if !row.try_get::<bool, _>(0)? {
        return Ok(None);
    }
    let lost: Vec<Uuid> = row.try_get(1)?;
    if lost.is_empty() {
        return Ok(Some(Vec::new()));
    }
    let lost: std::collections::HashSet<Uuid> = lost.into_iter().collect();
    Ok(Some(chosen.iter().copied().filter(|&at| lost.contains(&batch.jobs[at].spec.id.0)).collect()))
}

type PgQuery<'a> = sqlx::query::Query<'a, sqlx::Postgres, sqlx::postgres::PgArguments>;

fn column<'a, T>(rows: &'a [JobRow], value: impl Fn(&'a JobRow) -> T) -> Vec<T> {
    rows.iter().map(value).collect()
}

fn bind_jobs<'a>(query: PgQuery<'a>, rows: &'a [JobRow], lanes: &'a [i32]) -> PgQuery<'a> {
    query
        .bind(column(rows, |row| row.tenant_id))
        .bind(column(rows, |row| row.id))
        .bind(column(rows, |row| row.queue_id))
        .bind(column(rows, |row| row.kind_id))
        .bind(lanes)
        .bind(column(rows, |row| row.priority))
        .bind(column(rows, |row| row.payload.as_str()))
        .bind(column(rows, |row| row.labels.as_deref()))
        .bind(column(rows, |row| row.target.as_deref()))
        .bind(column(rows, |row| row.retry_policy.as_deref()))
        .bind(column(rows, |row| row.timeout_ms))
        .bind(column(rows, |row| row.idempotency_key.as_deref()))
        .bind(column(rows, |row| row.correlation_id))
        .bind(column(rows, |row| row.parent_job_id))
        .bind(column(rows, |row| row.rule_id))
        .bind(column(rows, |row| row.firing_id))
        .bind(column(rows, |row| row.traceparent.as_deref()))
        .bind(column(rows, |row| row.created_by.as_str()))
        .bind(column(rows, |row| row.created_at))
        .bind(column(rows, |row| row.run_at))
}

/// Who has the keys of the jobs at `chosen`.
pub(super) async fn owners(
    connection: &mut PgConnection,
    batch: &Batch,
    chosen: &[usize],
) -> Result<HashMap<Key, Owner>, Fault> {
    let keys: Vec<Key> = chosen.iter().filter_map(|&at| batch.key(at)).collect();
    let (tenants, keys): (Vec<i32>, Vec<String>) = keys.into_iter().unzip();
    let rows = sqlx::query(OWNERS).bind(tenants).bind(keys).fetch_all(connection).await?;
    rows.iter()
        .map(|row| {
            let owner = Owner { job: row.try_get(2)?, fingerprint: row.try_get(3)? };
            Ok(((row.try_get(0)?, row.try_get(1)?), owner))
        })
        .collect()
}
