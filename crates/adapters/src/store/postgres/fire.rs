//! Firing: the claims, then the jobs, then the firings, then what is counted.
//!
//! Claims come first, because they decide who is the one to act: rules in the
//! order of their ids and without waiting for anybody, so that two processes
//! that fire the same rules share them instead of standing in each other's way.

mod fan_outs;
mod tally;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use sqlx::PgConnection;
use taskflow_application::ports::{
    Fire, FireClaim, Fired, Inserted, NewFiring, NewJob, Queued, StoreResult, Wait, settle_firing,
};
use taskflow_domain::{Firing, Timestamp};
use uuid::Uuid;

use self::fan_outs::begin_fan_out;
pub(super) use self::fan_outs::take_fan_outs;
use self::tally::Tallies;
use super::insert::Prepared;
use super::unit::{End, Unit, detached, transact};
use super::{Inner, events, int};
use crate::store::error::Fault;
use crate::store::row::FiringRow;

/// Cursors of cron rules. A rule that somebody else fires just now is left to them.
const ADVANCE: &str = "
with held as materialized (
    select g.*
    from unnest($1::int4[], $2::int4[], $3::uuid[], $4::int4[], $5::int8[], $6::int8[], $7::bool[], $8::int8[])
        g(n, tenant_id, rule_id, revision, before, after, keep, queued)
    join rule r on r.tenant_id = g.tenant_id and r.id = g.rule_id
    where r.next_at = g.before and r.revision = g.revision and r.enabled and r.deleted_at is null
    order by r.id for update of r skip locked)
update rule r set next_at = h.after, queued_at = case when h.keep then r.queued_at else h.queued end
from held h where r.tenant_id = h.tenant_id and r.id = h.rule_id
returning h.n";

const UNQUEUE: &str = "
update rule set queued_at = null
where tenant_id = $1 and id = $2 and queued_at = $3 and enabled and deleted_at is null";

const UNWAIT: &str = "
delete from rule_wait w where w.rule_tenant_id = $1 and w.rule_id = $2 and w.tenant_id = $3 and w.at = $4
    and exists (select 1 from rule r where r.tenant_id = $1 and r.id = $2 and r.enabled and r.deleted_at is null)";

const WAIT: &str = "
insert into rule_wait (rule_tenant_id, rule_id, tenant_id, at)
select * from unnest($1::int4[], $2::uuid[], $3::int4[], $4::int8[]) on conflict do nothing";

const DISPATCHED: &str = "delete from event_pending where id = $1";

const ADVANCE_FAN_OUT: &str = "
update fan_out set after_tenant = coalesce($3, after_tenant), done = $3 is null, held_until = 0
where id = $1 and not done and after_tenant is not distinct from $2";

/// Firings that there are already, by their rules, tenants and keys.
const KNOWN: &str = "
select g.n from unnest($1::int4[], $2::uuid[], $3::int4[], $4::text[]) g(n, rule_id, tenant_id, key)
where exists (select 1 from firing f where f.rule_id = g.rule_id and f.tenant_id = g.tenant_id and f.key = g.key)";

const INSERT: &str = "
insert into firing (tenant_id, id, rule_tenant_id, rule_id, revision, at, trigger_kind, key, scheduled_at, event_id,
    job_id, outcome, reason, detail, jobs, duration_us, depth, correlation_id)
select * from unnest($1::int4[], $2::uuid[], $3::int4[], $4::uuid[], $5::int4[], $6::int8[], $7::int2[], $8::text[],
    $9::int8[], $10::uuid[], $11::uuid[], $12::int2[], $13::text[], $14::text[], $15::text[], $16::int8[],
    $17::int2[], $18::uuid[])";

/// Commits firings: see the port.
pub(super) async fn fire(inner: &Arc<Inner>, fires: Vec<Fire>) -> StoreResult<Vec<Fired>> {
    if fires.is_empty() {
        return Ok(Vec::new());
    }
    let jobs = fires.iter().flat_map(|fire| &fire.firings).flat_map(|new| new.jobs.iter().cloned());
    let prepared = Prepared::new(inner, jobs.collect()).await?;
    let inner = Arc::clone(inner);
    detached(async move {
        let unit = Fires { fires, prepared };
        let (fired, lanes) = transact(&inner.warm, &unit).await?;
        inner.activate(lanes).await?;
        Ok(fired)
    })
    .await
}

struct Fires {
    fires: Vec<Fire>,
    prepared: Prepared,
}

/// A firing that is to be written.
struct Chosen<'a> {
    fire: usize,
    new: &'a NewFiring,
    /// Where its jobs stand among all jobs of the call.
    jobs: Vec<usize>,
}

impl Unit for Fires {
    type Output = (Vec<Fired>, Vec<i32>);

    async fn run(&self, connection: &mut PgConnection) -> Result<End<Self::Output>, Fault> {
        let won = self.claims(connection).await?;
        let chosen = self.unknown(connection, &won).await?;
        let groups: Vec<Vec<usize>> = chosen.iter().map(|chosen| chosen.jobs.clone()).collect();
        let answers = self.prepared.insert_groups(connection, &groups).await?;
        let (mut tallies, mut inserted) = (Tallies::default(), Vec::new());
        let mut done: BTreeMap<usize, Vec<Firing>> = won.iter().map(|&fire| (fire, Vec::new())).collect();
        for (chosen, answers) in chosen.iter().zip(answers) {
            let mut firing = chosen.new.firing.clone();
            let jobs: &[NewJob] = &chosen.new.jobs;
            let mut made = 0;
            if settle_firing(&mut firing, jobs, &answers) {
                made = answers.iter().filter(|answer| **answer == Inserted::New).count() as u64;
                inserted.extend(chosen.jobs.iter().copied().zip(answers));
            }
            tallies.add(&firing, made);
            done.entry(chosen.fire).or_default().push(firing);
        }
        insert_firings(connection, done.values().flatten()).await?;
        for fire in won.iter().map(|&fire| &self.fires[fire]) {
            for fan_out in &fire.fan_outs {
                begin_fan_out(connection, fan_out).await?;
            }
        }
        tallies.write(connection).await?;
        let lanes = self.prepared.due_lanes(inserted.into_iter());
        let answer = |fire: usize| done.remove(&fire).map_or(Fired::Lost, Fired::Done);
        let fired = (0..self.fires.len()).map(answer).collect();
        Ok(End::Commit((fired, lanes)))
    }
}

impl Fires {
    /// Uses up the claims that hold; answers whose they are, in their order.
    async fn claims(&self, connection: &mut PgConnection) -> Result<Vec<usize>, Fault> {
        let mut won: HashSet<usize> = self.advance(connection).await?.into_iter().collect();
        for (at, fire) in self.fires.iter().enumerate() {
            let query = match &fire.claim {
                FireClaim::Occurrence { .. } => continue,
                FireClaim::Free => {
                    won.insert(at);
                    continue;
                }
                FireClaim::Delivery(event) => {
                    if events::insert(connection, event).await? {
                        won.insert(at);
                    }
                    continue;
                }
                FireClaim::Waiting { tenant, rule, of: None, at } => {
                    sqlx::query(UNQUEUE).bind(tenant.0).bind(rule.0).bind(at.micros())
                }
                FireClaim::Waiting { tenant, rule, of: Some(of), at } => {
                    sqlx::query(UNWAIT).bind(tenant.0).bind(rule.0).bind(of.0).bind(at.micros())
                }
                FireClaim::Pending(id) => sqlx::query(DISPATCHED).bind(*id),
                FireClaim::FanOut { id, before, after, .. } => sqlx::query(ADVANCE_FAN_OUT)
                    .bind(id.0)
                    .bind(before.as_ref().map(taskflow_domain::TenantSlug::as_str))
                    .bind(after.as_ref().map(taskflow_domain::TenantSlug::as_str)),
            };
            if query.execute(&mut *connection).await?.rows_affected() == 1 {
                won.insert(at);
                if let FireClaim::FanOut { waits, .. } = &fire.claim {
                    wait(connection, waits).await?;
                }
            }
        }
        let mut won: Vec<usize> = won.into_iter().collect();
        won.sort_unstable();
        Ok(won)
    }

    async fn advance(&self, connection: &mut PgConnection) -> Result<Vec<usize>, Fault> {
        let (mut places, mut tenants, mut rules, mut revisions) = (vec![], vec![], vec![], vec![]);
        let (mut befores, mut afters, mut keeps, mut queues) = (vec![], vec![], vec![], vec![]);
        for (at, fire) in self.fires.iter().enumerate() {
            if let FireClaim::Occurrence { tenant, rule, revision, before, after, queued } = &fire.claim {
                places.push(i32::try_from(at).unwrap_or(i32::MAX));
                tenants.push(tenant.0);
                rules.push(rule.0);
                revisions.push(int(*revision));
                befores.push(before.micros());
                afters.push(after.map(Timestamp::micros));
                keeps.push(*queued == Queued::Keep);
                queues.push(match queued {
                    Queued::Put(at) => Some(at.micros()),
                    Queued::Keep | Queued::Clear => None,
                });
            }
        }
        if places.is_empty() {
            return Ok(Vec::new());
        }
        let won: Vec<i32> = sqlx::query_scalar(ADVANCE)
            .bind(places)
            .bind(tenants)
            .bind(rules)
            .bind(revisions)
            .bind(befores)
            .bind(afters)
            .bind(keeps)
            .bind(queues)
            .fetch_all(connection)
            .await?;
        Ok(won.into_iter().filter_map(|at| usize::try_from(at).ok()).collect())
    }

    /// The firings of the won claims that there are not already.
    async fn unknown(&self, connection: &mut PgConnection, won: &[usize]) -> Result<Vec<Chosen<'_>>, Fault> {
        let (mut chosen, mut next) = (Vec::new(), 0);
        for (at, fire) in self.fires.iter().enumerate() {
            for new in &fire.firings {
                let jobs = (next..next + new.jobs.len()).collect();
                next += new.jobs.len();
                if won.binary_search(&at).is_ok() {
                    chosen.push(Chosen { fire: at, new, jobs });
                }
            }
        }
        let (mut places, mut rules, mut tenants, mut keys) = (vec![], vec![], vec![], vec![]);
        for (at, firing) in chosen.iter().map(|chosen| &chosen.new.firing).enumerate() {
            if let Some(key) = &firing.key {
                places.push(i32::try_from(at).unwrap_or(i32::MAX));
                rules.push(firing.rule.0);
                tenants.push(firing.tenant.0);
                keys.push(key.as_str());
            }
        }
        if places.is_empty() {
            return Ok(chosen);
        }
        let query = sqlx::query_scalar(KNOWN).bind(places).bind(rules).bind(tenants).bind(keys);
        let known: Vec<i32> = query.fetch_all(connection).await?;
        let known: HashSet<usize> = known.into_iter().filter_map(|at| usize::try_from(at).ok()).collect();
        let mut at = 0;
        chosen.retain(|_| {
            at += 1;
            !known.contains(&(at - 1))
        });
        Ok(chosen)
    }
}

/// Lets occurrences wait for the end of the previous instances.
async fn wait(connection: &mut PgConnection, waits: &[Wait]) -> Result<(), Fault> {
    if waits.is_empty() {
        return Ok(());
    }
    sqlx::query(WAIT)
        .bind(waits.iter().map(|wait| wait.rule_tenant.0).collect::<Vec<_>>())
        .bind(waits.iter().map(|wait| wait.rule.0).collect::<Vec<_>>())
        .bind(waits.iter().map(|wait| wait.tenant.0).collect::<Vec<_>>())
        .bind(waits.iter().map(|wait| wait.at.micros()).collect::<Vec<_>>())
        .execute(connection)
        .await?;
    Ok(())
}

/// The columns of firings as the arrays of the statement.
#[derive(Default)]
struct Columns {
    owners: HashMap<&'static str, Vec<i32>>,
    ids: HashMap<&'static str, Vec<Uuid>>,
    causes: [Vec<Option<Uuid>>; 2],
    times: [Vec<i64>; 2],
    scheduled: Vec<Option<i64>>,
    codes: [Vec<i16>; 3],
    texts: [Vec<Option<String>>; 3],
    jobs: Vec<String>,
}

impl Columns {
    fn push(&mut self, row: FiringRow) {
        for (name, value) in
            [("tenant", row.tenant_id), ("rule_tenant", row.rule_tenant_id), ("revision", row.revision)]
        {
            self.owners.entry(name).or_default().push(value);
        }
        for (name, value) in [("id", row.id), ("rule", row.rule_id), ("correlation", row.correlation_id)] {
            self.ids.entry(name).or_default().push(value);
        }
        let [events, jobs] = &mut self.causes;
        events.push(row.event_id);
        jobs.push(row.job_id);
        let [at, took] = &mut self.times;
        at.push(row.at);
        took.push(row.duration_us);
        self.scheduled.push(row.scheduled_at);
        let [triggers, outcomes, depths] = &mut self.codes;
        triggers.push(row.trigger_kind);
        outcomes.push(row.outcome);
        depths.push(row.depth);
        let [keys, reasons, details] = &mut self.texts;
        keys.push(row.key);
        reasons.push(row.reason);
        details.push(row.detail);
        self.jobs.push(row.jobs);
    }
}

async fn insert_firings(
    connection: &mut PgConnection,
    firings: impl Iterator<Item = &Firing>,
) -> Result<(), Fault> {
    let mut columns = Columns::default();
    firings.for_each(|firing| columns.push(FiringRow::of(firing)));
    if columns.jobs.is_empty() {
        return Ok(());
    }
    let Columns { owners, ids, causes: [events, jobs], times: [at, took], .. } = &columns;
    let [triggers, outcomes, depths] = &columns.codes;
    let [keys, reasons, details] = &columns.texts;
    sqlx::query(INSERT)
        .bind(&owners["tenant"])
        .bind(&ids["id"])
        .bind(&owners["rule_tenant"])
        .bind(&ids["rule"])
        .bind(&owners["revision"])
        .bind(at)
        .bind(triggers)
        .bind(keys)
        .bind(&columns.scheduled)
        .bind(events)
        .bind(jobs)
        .bind(outcomes)
        .bind(reasons)
        .bind(details)
        .bind(&columns.jobs)
        .bind(took)
        .bind(depths)
        .bind(&ids["correlation"])
        .execute(connection)
        .await?;
    Ok(())
}
