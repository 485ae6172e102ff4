//! Ends of attempts that end their jobs, in one statement.

use sqlx::{PgConnection, Row};
use taskflow_application::ports::StoreResult;
use taskflow_domain::attempt::AttemptEnd;
use taskflow_domain::{Decision, Guard, JobChange, LeaseToken, Standing};
use uuid::Uuid;

use super::Outcome;
use crate::store::error::Fault;
use crate::store::postgres::unit::alone;
use crate::store::postgres::warm::Warm;
use crate::store::row::CountersRow;

/// The delete is the fence: what it does not find was not held any more. It
/// joins by key, so that a lease that is being extended at the same time is
/// found in its new version; `any(array[..])` keeps the join from reading the
/// table whole ([`super::super::connect`]). `share` knows what each lane had; of it follow the
/// depths, and the room under limits: first the queues, then the slots, each by
/// id, as everywhere.
///
/// A change of a limit locks the table `limit_slot`. This statement waits for that
/// lock before it looks at anything, so it needs no settings lock.
const ENDS: &str = "
with given as materialized (
    select * from unnest($1::int4[], $2::int4[], $3::uuid[], $4::int8[], $5::bool[], $6::int2[], $7::text[], $8::int8[],
        $9::int2[], $10::int2[], $11::int2[], $12::int2[], $13::int2[], $14::int2[], $15::text[], $16::text[],
        $17::text[])
        g(n, tenant_id, job_id, token, unless_cancelled, state, reason, at,
        attempt, spent, lost, interrupted, snoozed, outcome, error_kind, error_message, result)),
gone as (
    delete from running r using given g
    where r.tenant_id = any(array[g.tenant_id]) and r.job_id = g.job_id and r.token = g.token
        and (r.cancel_at is null or not g.unless_cancelled)
    returning g.*, r.lane_id, r.kind_id, r.worker_id, r.started_at, r.charged_us, r.attempt number,
        r.seq + 1 ended_seq, r.started_seq),
ended as (
    insert into finished (tenant_id, job_id, lane_id, kind_id, state, reason, finished_at,
        attempt, spent, lost, interrupted, snoozed, seq,
        worker_id, token, started_at, outcome, error_kind, error_message, result, started_seq)
    select tenant_id, job_id, lane_id, kind_id, state, reason, at,
        number, spent, lost, interrupted, snoozed, ended_seq,
        worker_id, token, started_at, outcome, error_kind, error_message, result, started_seq
    from gone),
watched as (
    insert into event_pending (tenant_id, job_id, seq, state, at, held_until)
    select g.tenant_id, g.job_id, g.ended_seq, g.state, g.at, 0
    from gone g
    where (select true from rule_watch w where w.tenant_id = g.tenant_id and w.state = g.state limit 1)),
share as materialized (
    select g.state, g.n, l.queue_id, l.tenant_slot, l.queue_slot, q.capped
    from (select lane_id, state, count(*)::int4 n from gone group by 1, 2) g
    cross join lateral (select * from lane where id = g.lane_id limit 1) l
    cross join lateral (select max_running is not null capped from queue where id = l.queue_id limit 1) q),
counted as (
    insert into depth_delta (queue_id, state, n)
    select queue_id, state, sum(n)
    from (select queue_id, state, n from share union all select queue_id, 3::int2, -n from share) x
    group by 1, 2),
freed_queues as (
    update queue q set running = greatest(q.running - x.n, 0)
    from (select queue_id, sum(n)::int4 n from share where capped group by 1 order by 1) x
    where q.id = any(array[x.queue_id])
    returning q.id),
freed_slots as (
    update limit_slot s set running = greatest(s.running - x.n, 0)
    from (
        select slot, sum(n)::int4 n
        from (select tenant_slot slot, n from share union all select queue_slot, n from share) y
        where slot is not null and (select count(*) from freed_queues) >= 0
        group by 1 order by 1) x
    where s.id = any(array[x.slot])
    returning s.id)
select coalesce(array_agg(n), '{}'), coalesce(array_agg(lane_id), '{}'), coalesce(array_agg(kind_id), '{}'),
    coalesce(array_agg(charged_us), '{}'), array(select id from freed_slots),
    exists (select 1 from freed_queues)
from gone";

/// The ends as the arrays of the statement.
#[derive(Default)]
pub(super) struct Ends {
    /// Where each stands in the call, and what is to be charged for it.
    places: Vec<usize>,
    settles: Vec<i64>,
    numbers: Vec<i32>,
    tenants: Vec<i32>,
    jobs: Vec<Uuid>,
    tokens: Vec<i64>,
    unless_cancelled: Vec<bool>,
    states: Vec<i16>,
    reasons: Vec<Option<&'static str>>,
    at: Vec<i64>,
    counters: [Vec<i16>; 5],
    outcomes: Vec<i16>,
    error_kinds: Vec<Option<String>>,
    error_messages: Vec<Option<String>>,
    results: Vec<Option<String>>,
}

/// The parts of a change that this statement can write.
fn parts(change: &JobChange) -> Option<(LeaseToken, bool, &Standing, &AttemptEnd)> {
    let Guard::Lease { token, unless_cancelled } = change.guard else { return None };
    let Decision::Move(standing @ Standing::Ended { reason, at, .. }) = &change.decision else { return None };
    let end = change.attempt.as_ref()?.end.as_ref()?;
    let plain = change.edit.is_none()
        && change.event.is_none()
        && end.next_run_at.is_none()
        && end.at == *at
        && end.then == standing.state()
        && end.reason == reason.as_deref();
    plain.then_some((token, unless_cancelled, standing, end))
}

/// Whether a change ends an attempt and its job, and nothing else.
pub(super) fn is_end(change: &JobChange) -> bool {
    parts(change).is_some()
}

impl Ends {
    /// The ends among `changes` at `chosen`.
    pub(super) fn of(changes: &[JobChange], chosen: &[usize]) -> Self {
        let mut ends = Self::default();
        for &at in chosen {
            if let Some((token, unless_cancelled, standing, end)) = parts(&changes[at]) {
                ends.push(at, &changes[at], (token, unless_cancelled), standing, end);
            }
        }
        ends
    }

    fn push(
        &mut self,
        at: usize,
        change: &JobChange,
        (token, unless_cancelled): (LeaseToken, bool),
        standing: &Standing,
        end: &AttemptEnd,
    ) {
        self.numbers.push(i32::try_from(self.places.len()).unwrap_or(i32::MAX));
        self.places.push(at);
        self.settles.push(change.settle_us);
        self.tenants.push(change.tenant.0);
        self.jobs.push(change.job.0);
        self.tokens.push(token.0);
        self.unless_cancelled.push(unless_cancelled);
        self.states.push(standing.state().code());
        self.reasons.push(end.reason);
        self.at.push(end.at.micros());
        let counters = CountersRow::from(change.counters);
        let [attempt, spent, lost, interrupted, snoozed] = &mut self.counters;
        attempt.push(counters.attempt);
        spent.push(counters.spent);
        lost.push(counters.lost);
        interrupted.push(counters.interrupted);
        snoozed.push(counters.snoozed);
        self.outcomes.push(end.outcome.code());
        self.error_kinds.push(end.error.as_ref().map(|error| error.kind.clone()));
        self.error_messages.push(end.error.as_ref().map(|error| error.message.clone()));
        self.results.push(end.result.as_ref().map(|result| result.as_str().to_owned()));
    }

    /// Commits the ends, and nothing else.
    pub(super) async fn commit_alone(&self, warm: &Warm) -> StoreResult<Outcome> {
        let row = alone(warm, |mut connection| async move {
            Ok((self.query().fetch_one(&mut *connection).await?, connection))
        })
        .await?;
        self.outcome(&row).map_err(|fault| Fault::from(fault).into())
    }

    /// Writes the ends within a transaction.
    pub(super) async fn commit(&self, connection: &mut PgConnection) -> Result<Outcome, Fault> {
        let row = self.query().fetch_one(connection).await?;
        Ok(self.outcome(&row)?)
    }

    fn query(&self) -> sqlx::query::Query<'_, sqlx::Postgres, sqlx::postgres::PgArguments> {
        let [attempt, spent, lost, interrupted, snoozed] = &self.counters;
        sqlx::query(ENDS)
            .bind(&self.numbers)
            .bind(&self.tenants)
            .bind(&self.jobs)
            .bind(&self.tokens)
            .bind(&self.unless_cancelled)
            .bind(&self.states)
            .bind(&self.reasons)
            .bind(&self.at)
            .bind(attempt)
            .bind(spent)
            .bind(lost)
            .bind(interrupted)
            .bind(snoozed)
            .bind(&self.outcomes)
            .bind(&self.error_kinds)
            .bind(&self.error_messages)
            .bind(&self.results)
    }

    fn outcome(&self, row: &sqlx::postgres::PgRow) -> sqlx::Result<Outcome> {
        let numbers: Vec<i32> = row.try_get(0)?;
        let (lanes, kinds): (Vec<i32>, Vec<i32>) = (row.try_get(1)?, row.try_get(2)?);
        let charged: Vec<i64> = row.try_get(3)?;
        let mut outcome =
            Outcome { freed_slots: row.try_get(4)?, freed_queue: row.try_get(5)?, ..Outcome::default() };
        for (nth, &number) in numbers.iter().enumerate() {
            let at = usize::try_from(number).unwrap_or_default();
            outcome.charges.add(lanes[nth], self.tenants[at], kinds[nth], charged[nth], self.settles[at]);
            outcome.done.push(self.places[at]);
        }
        Ok(outcome)
    }
}
