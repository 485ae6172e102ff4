//! The statement that puts changed jobs where they are to be, with their
//! finished attempts and their entries in the history.

use sqlx::PgConnection;
use taskflow_domain::{Decision, JobChange, Priority, Standing, Timestamp};
use uuid::Uuid;

use super::moves::{Found, Run};
use crate::store::error::Fault;
use crate::store::postgres::depth::DeltaColumns;
use crate::store::postgres::rejected;
use crate::store::row::CountersRow;

const PLACE: &str = "
with place as materialized (
    select * from unnest($1::int4[], $2::uuid[], $3::int4[], $4::int4[], $5::int2[], $6::int2[], $7::int8[], $8::int8[],
        $9::int2[], $10::bool[], $11::int8[], $12::text[], $13::int2[], $14::int2[], $15::int2[], $16::int2[],
        $17::int2[], $18::int4[])
        p(tenant_id, job_id, lane_id, kind_id, priority, state, due_at, ord, delay, waiting, since, reason,
        attempt, spent, lost, interrupted, snoozed, seq)),
due as (
    insert into ready (tenant_id, job_id, lane_id, ord, kind_id, priority, due_at, since,
        attempt, spent, lost, interrupted, snoozed, seq)
    select tenant_id, job_id, lane_id, ord, kind_id, priority, due_at, since,
        attempt, spent, lost, interrupted, snoozed, seq
    from place where state = 2),
later as (
    insert into parked (tenant_id, job_id, lane_id, kind_id, priority, state, due_at, delay, waiting, since,
        attempt, spent, lost, interrupted, snoozed, seq)
    select tenant_id, job_id, lane_id, kind_id, priority, state, due_at, delay, waiting, since,
        attempt, spent, lost, interrupted, snoozed, seq
    from place where state in (0, 1, 4)),
ended as (
    insert into finished (tenant_id, job_id, lane_id, kind_id, state, reason, finished_at,
        attempt, spent, lost, interrupted, snoozed, seq)
    select tenant_id, job_id, lane_id, kind_id, state, reason, since,
        attempt, spent, lost, interrupted, snoozed, seq
    from place where state > 4),
watched as (
    insert into event_pending (tenant_id, job_id, seq, state, at, held_until)
    select p.tenant_id, p.job_id, p.seq, p.state, p.since, 0
    from place p
    where p.state > 4
        and exists (select 1 from rule_watch w where w.tenant_id = p.tenant_id and w.state = p.state)),
told as (
    insert into attempt (tenant_id, job_id, number, worker_id, token, started_at, finished_at, outcome,
        error_kind, error_message, result, then_state, next_run_at, reason, started_seq, ended_seq)
    select * from unnest($19::int4[], $20::uuid[], $21::int2[], $22::int4[], $23::int8[], $24::int8[], $25::int8[],
        $26::int2[], $27::text[], $28::text[], $29::text[], $30::int2[], $31::int8[], $32::text[], $33::int4[],
        $34::int4[])),
noted as (
    insert into job_event (tenant_id, job_id, seq, kind, at, actor, data)
    select * from unnest($35::int4[], $36::uuid[], $37::int4[], $38::int2[], $39::int8[], $40::text[], $41::text[]))
insert into depth_delta (queue_id, state, n)
select * from unnest($42::int4[], $43::int2[], $44::int8[])";

#[derive(Default)]
struct Standings {
    tenants: Vec<i32>,
    jobs: Vec<Uuid>,
    lanes: Vec<i32>,
    kinds: Vec<i32>,
    priorities: Vec<i16>,
    states: Vec<i16>,
    due: Vec<i64>,
    ord: Vec<i64>,
    delays: Vec<i16>,
    waiting: Vec<bool>,
    since: Vec<i64>,
    reasons: Vec<Option<String>>,
    counters: [Vec<i16>; 5],
    seqs: Vec<i32>,
}

#[derive(Default)]
struct Attempts {
    tenants: Vec<i32>,
    jobs: Vec<Uuid>,
    numbers: Vec<i16>,
    workers: Vec<i32>,
    tokens: Vec<i64>,
    started: Vec<i64>,
    ended: Vec<i64>,
    outcomes: Vec<i16>,
    error_kinds: Vec<Option<String>>,
    error_messages: Vec<Option<String>>,
    results: Vec<Option<String>>,
    then: Vec<i16>,
    next_run: Vec<Option<i64>>,
    reasons: Vec<Option<&'static str>>,
    started_seqs: Vec<i32>,
    ended_seqs: Vec<i32>,
}

#[derive(Default)]
struct Events {
    tenants: Vec<i32>,
    jobs: Vec<Uuid>,
    seqs: Vec<i32>,
    kinds: Vec<i16>,
    at: Vec<i64>,
    actors: Vec<String>,
    data: Vec<String>,
}

/// What changes leave behind, as the arrays of the statement.
#[derive(Default)]
pub(super) struct Places {
    standings: Standings,
    attempts: Attempts,
    events: Events,
}

impl Places {
    /// Adds what `change` leaves behind of the job that it found.
    pub(super) fn push(&mut self, change: &JobChange, found: &Found) -> Result<(), Fault> {
        if let Decision::Move(standing) = &change.decision {
            self.standings.push(change, found, standing)?;
        }
        if let Some(run) = &found.run {
            self.attempts.push(change, found.seq, run);
        }
        if let Some((kind, actor, data)) = &change.event {
            let events = &mut self.events;
            events.tenants.push(change.tenant.0);
            events.jobs.push(change.job.0);
            events.seqs.push(found.seq);
            events.kinds.push(kind.code());
            events.at.push(change.at.micros());
            events.actors.push(actor.as_str().to_owned());
            events.data.push(data.to_string());
        }
        Ok(())
    }

    /// Writes everything, with the changes of the queues' depths.
    pub(super) async fn write(
        &self,
        connection: &mut PgConnection,
        deltas: &DeltaColumns,
    ) -> Result<(), Fault> {
        let (standings, attempts, events) = (&self.standings, &self.attempts, &self.events);
        let query = attempts.bind(standings.bind(sqlx::query(PLACE)));
        query
            .bind(&events.tenants)
            .bind(&events.jobs)
            .bind(&events.seqs)
            .bind(&events.kinds)
            .bind(&events.at)
            .bind(&events.actors)
            .bind(&events.data)
            .bind(&deltas.queues)
            .bind(&deltas.states)
            .bind(&deltas.counts)
            .execute(connection)
            .await?;
        Ok(())
    }
}

type PgQuery<'a> = sqlx::query::Query<'a, sqlx::Postgres, sqlx::postgres::PgArguments>;

impl Standings {
    fn push(&mut self, change: &JobChange, found: &Found, standing: &Standing) -> Result<(), Fault> {
        let (due, since) = match standing {
            Standing::Ended { at, .. } => (Timestamp::default(), *at),
            Standing::Waiting { due }
            | Standing::Scheduled { due, .. }
            | Standing::Pending { due }
            | Standing::Paused { due, .. } => (*due, change.at),
            Standing::Running { .. } => return Err(rejected("only a claim makes a job run").into()),
        };
        let edited = change.edit.as_ref().and_then(|edit| edit.priority);
        let kept = || found.priority.and_then(Priority::from_code).unwrap_or_default();
        let priority = edited.unwrap_or_else(kept);
        self.tenants.push(change.tenant.0);
        self.jobs.push(change.job.0);
        self.lanes.push(found.lane);
        self.kinds.push(found.kind);
        self.priorities.push(priority.code());
        self.states.push(standing.state().code());
        self.due.push(due.micros());
        self.ord.push(priority.order_key(due));
        self.delays.push(if let Standing::Scheduled { delay, .. } = standing { delay.code() } else { 0 });
        self.waiting.push(matches!(standing, Standing::Paused { waiting: true, .. }));
        self.since.push(since.micros());
        self.reasons.push(if let Standing::Ended { reason, .. } = standing { reason.clone() } else { None });
        let counters = CountersRow::from(change.counters);
        let [attempt, spent, lost, interrupted, snoozed] = &mut self.counters;
        attempt.push(counters.attempt);
        spent.push(counters.spent);
        lost.push(counters.lost);
        interrupted.push(counters.interrupted);
        snoozed.push(counters.snoozed);
        self.seqs.push(found.seq);
        Ok(())
    }

    fn bind<'a>(&'a self, query: PgQuery<'a>) -> PgQuery<'a> {
        let [attempt, spent, lost, interrupted, snoozed] = &self.counters;
        query
            .bind(&self.tenants)
            .bind(&self.jobs)
            .bind(&self.lanes)
            .bind(&self.kinds)
            .bind(&self.priorities)
            .bind(&self.states)
            .bind(&self.due)
            .bind(&self.ord)
            .bind(&self.delays)
            .bind(&self.waiting)
            .bind(&self.since)
            .bind(&self.reasons)
            .bind(attempt)
            .bind(spent)
            .bind(lost)
            .bind(interrupted)
            .bind(snoozed)
            .bind(&self.seqs)
    }
}

impl Attempts {
    fn push(&mut self, change: &JobChange, seq: i32, run: &Run) {
        let Some(attempt) = &change.attempt else { return };
        let Some(end) = &attempt.end else { return };
        self.tenants.push(change.tenant.0);
        self.jobs.push(change.job.0);
        self.numbers.push(run.number);
        self.workers.push(run.worker);
        self.tokens.push(attempt.token.0);
        self.started.push(run.started_at);
        self.ended.push(end.at.micros());
        self.outcomes.push(end.outcome.code());
        self.error_kinds.push(end.error.as_ref().map(|error| error.kind.clone()));
        self.error_messages.push(end.error.as_ref().map(|error| error.message.clone()));
        self.results.push(end.result.as_ref().map(|result| result.as_str().to_owned()));
        self.then.push(end.then.code());
        self.next_run.push(end.next_run_at.map(Timestamp::micros));
        self.reasons.push(end.reason);
        self.started_seqs.push(run.started_seq);
        self.ended_seqs.push(seq);
    }

    fn bind<'a>(&'a self, query: PgQuery<'a>) -> PgQuery<'a> {
        query
            .bind(&self.tenants)
            .bind(&self.jobs)
            .bind(&self.numbers)
            .bind(&self.workers)
            .bind(&self.tokens)
            .bind(&self.started)
            .bind(&self.ended)
            .bind(&self.outcomes)
            .bind(&self.error_kinds)
            .bind(&self.error_messages)
            .bind(&self.results)
            .bind(&self.then)
            .bind(&self.next_run)
            .bind(&self.reasons)
            .bind(&self.started_seqs)
            .bind(&self.ended_seqs)
    }
}
