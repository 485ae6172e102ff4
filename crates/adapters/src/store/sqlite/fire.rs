//! Firing: the claims, then the firings with their jobs, then what is counted.
//!
//! The unit of work holds the write lock from its first statement, so a claim
//! that holds when it is looked at holds until the commit.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use sqlx::{AssertSqlSafe, Row as _, SqliteConnection};
use taskflow_application::ports::{
    FanOut, Fire, FireClaim, Fired, Inserted, NewFiring, NewJob, Queued, RuleTally, StoreResult,
    settle_firing,
};
use taskflow_domain::rule::Health;
use taskflow_domain::{Firing, FiringOutcome, RuleId, TenantId, Timestamp};

use super::super::error::Fault;
use super::super::row::{Bind as _, FanOutRow, FiringRow};
use super::events;
use super::ids::Found;
use super::rules::read_fan_outs;
use super::{Shared, insert};

pub(super) async fn fire(shared: &Arc<Shared>, fires: Vec<Fire>) -> StoreResult<Vec<Fired>> {
    if fires.is_empty() {
        return Ok(Vec::new());
    }
    let unit = Arc::clone(shared);
    let (fired, found) =
        shared.writer.run(move |tx| Box::pin(async move { fire_all(tx, &unit, fires).await })).await?;
    for found in found {
        found.remember(&shared.catalog);
    }
    Ok(fired)
}

/// What firings change of their rules, and how often they came to what.
#[derive(Default)]
struct Tallies {
    rules: BTreeMap<(TenantId, RuleId), RuleTally>,
    counts: BTreeMap<(TenantId, RuleId, FiringOutcome, String), i64>,
}

impl Tallies {
    fn add(&mut self, firing: &Firing, jobs: u64) {
        self.rules.entry((firing.rule_tenant, firing.rule)).or_default().add(firing, jobs);
        let reason = firing.reason.clone().unwrap_or_default();
        let key = (firing.rule_tenant, firing.rule, firing.outcome, reason);
        *self.counts.entry(key).or_default() += 1;
    }
}

async fn fire_all(
    tx: &mut SqliteConnection,
    shared: &Shared,
    fires: Vec<Fire>,
) -> Result<(Vec<Fired>, Vec<Found>), Fault> {
    let (mut answers, mut found, mut tallies) = (Vec::new(), Vec::new(), Tallies::default());
    for fire in fires {
        if !claim(tx, &fire.claim).await? {
            answers.push(Fired::Lost);
            continue;
        }
        let mut fresh = Vec::with_capacity(fire.firings.len());
        for new in fire.firings {
            if !has_fired(tx, &new.firing).await? {
                fresh.push(new);
            }
        }
        let done = write(tx, shared, fresh, &mut found, &mut tallies).await?;
        for fan_out in &fire.fan_outs {
            begin_fan_out(tx, fan_out).await?;
        }
        answers.push(Fired::Done(done));
    }
    count(tx, tallies).await?;
    Ok((answers, found))
}

/// Writes firings with their jobs: all at once, and one by one only if a job of
/// them cannot be made.
async fn write(
    tx: &mut SqliteConnection,
    shared: &Shared,
    firings: Vec<NewFiring>,
    found: &mut Vec<Found>,
    tallies: &mut Tallies,
) -> Result<Vec<Firing>, Fault> {
    let all: Vec<NewJob> = firings.iter().flat_map(|new| new.jobs.iter().cloned()).collect();
    let together = insert_jobs(tx, shared, all, found).await?;
    let refused = |answer: &Inserted| matches!(answer, Inserted::KeyReused(_) | Inserted::BacklogFull(_));
    let mut answers = if together.iter().any(refused) { None } else { Some(together.into_iter()) };
    let mut done = Vec::with_capacity(firings.len());
    for NewFiring { mut firing, jobs } in firings {
        let own: Vec<Inserted> = match &mut answers {
            Some(answers) => answers.by_ref().take(jobs.len()).collect(),
            None => insert_jobs(tx, shared, jobs.clone(), found).await?,
        };
        let made = if settle_firing(&mut firing, &jobs, &own) {
            own.iter().filter(|answer| **answer == Inserted::New).count() as u64
        } else {
            0
        };
        tallies.add(&firing, made);
        insert_firing(tx, &firing).await?;
        done.push(firing);
    }
    Ok(done)
}

async fn insert_jobs(
    tx: &mut SqliteConnection,
    shared: &Shared,
    jobs: Vec<NewJob>,
    found: &mut Vec<Found>,
) -> Result<Vec<Inserted>, Fault> {
    if jobs.is_empty() {
        return Ok(Vec::new());
    }
    let (answers, learnt) = insert::insert_all(tx, shared, jobs, true).await?;
    found.push(learnt);
    Ok(answers)
}

async fn has_fired(tx: &mut SqliteConnection, firing: &Firing) -> Result<bool, Fault> {
    let Some(key) = &firing.key else { return Ok(false) };
    let row = sqlx::query(FIRED)
        .bind(firing.rule.0)
        .bind(firing.tenant.0)
        .bind(key.clone())
        .fetch_optional(tx)
        .await?;
    Ok(row.is_some())
}

async fn insert_firing(tx: &mut SqliteConnection, firing: &Firing) -> Result<(), Fault> {
    let query = sqlx::query(AssertSqlSafe(INSERT.as_str()));
    FiringRow::of(firing).bind_to(query).execute(tx).await?;
    Ok(())
}

async fn begin_fan_out(tx: &mut SqliteConnection, fan_out: &FanOut) -> Result<(), Fault> {
    let query = sqlx::query(AssertSqlSafe(BEGIN_FAN_OUT.as_str()));
    FanOutRow::of(fan_out).bind_to(query).execute(tx).await?;
    Ok(())
}

/// Uses the claim up, if it holds.
async fn claim(tx: &mut SqliteConnection, claim: &FireClaim) -> Result<bool, Fault> {
    let query = match claim {
        FireClaim::Occurrence { tenant, rule, revision, before, after, queued } => {
            let (keep, queued) = match queued {
                Queued::Keep => (true, None),
                Queued::Put(at) => (false, Some(at.micros())),
                Queued::Clear => (false, None),
            };
            sqlx::query(ADVANCE)
                .bind(tenant.0)
                .bind(rule.0)
                .bind(*revision)
                .bind(before.micros())
                .bind(after.map(Timestamp::micros))
                .bind(keep)
                .bind(queued)
        }
        FireClaim::Waiting { tenant, rule, of: None, at } => {
            sqlx::query(UNQUEUE).bind(tenant.0).bind(rule.0).bind(at.micros())
        }
        FireClaim::Waiting { tenant, rule, of: Some(of), at } => {
            sqlx::query(UNWAIT).bind(tenant.0).bind(rule.0).bind(of.0).bind(at.micros())
        }
        FireClaim::Pending(id) => sqlx::query(DISPATCHED).bind(*id),
        FireClaim::Delivery(event) => return events::insert(tx, event).await,
        FireClaim::FanOut { id, before, after, .. } => sqlx::query(ADVANCE_FAN_OUT)
            .bind(id.0)
            .bind(before.as_ref().map(|slug| slug.as_str().to_owned()))
            .bind(after.as_ref().map(|slug| slug.as_str().to_owned())),
        FireClaim::Free => return Ok(true),
    };
    let held = query.execute(&mut *tx).await?.rows_affected() == 1;
    if let (true, FireClaim::FanOut { waits, .. }) = (held, claim) {
        for wait in waits {
            let query = sqlx::query(WAIT).bind(wait.rule_tenant.0).bind(wait.rule.0);
            query.bind(wait.tenant.0).bind(wait.at.micros()).execute(&mut *tx).await?;
        }
    }
    Ok(held)
}

async fn count(tx: &mut SqliteConnection, tallies: Tallies) -> Result<(), Fault> {
    for ((tenant, rule), tally) in tallies.rules {
        let Some(row) = sqlx::query(HEALTH).bind(tenant.0).bind(rule.0).fetch_optional(&mut *tx).await?
        else {
            continue;
        };
        let time = |at: Option<i64>| at.map(Timestamp::from_micros);
        let before = Health {
            streak: row.try_get(0)?,
            failing_since: time(row.try_get(1)?),
            recovered_at: time(row.try_get(2)?),
            ..Health::default()
        };
        let after = tally.health(before);
        sqlx::query(SET_HEALTH)
            .bind(tenant.0)
            .bind(rule.0)
            .bind(after.streak)
            .bind(after.failing_since.map(Timestamp::micros))
            .bind(after.recovered_at.map(Timestamp::micros))
            .bind(after.last_at.map(Timestamp::micros))
            .bind(after.last_outcome.map(FiringOutcome::code))
            .bind(i64::try_from(tally.jobs).unwrap_or(i64::MAX))
            .execute(&mut *tx)
            .await?;
    }
    for ((tenant, rule, outcome, reason), n) in tallies.counts {
        let query = sqlx::query(COUNT).bind(tenant.0).bind(rule.0).bind(outcome.code()).bind(reason).bind(n);
        query.execute(&mut *tx).await?;
    }
    Ok(())
}

pub(super) async fn take_fan_outs(
    shared: &Arc<Shared>,
    now: Timestamp,
    until: Timestamp,
    limit: u32,
) -> StoreResult<Vec<FanOut>> {
    let rows = shared
        .writer
        .run(move |tx| {
            Box::pin(async move {
                let query = sqlx::query(AssertSqlSafe(TAKE_FAN_OUTS.as_str()));
                Ok(query.bind(now.micros()).bind(until.micros()).bind(limit).fetch_all(tx).await?)
            })
        })
        .await?;
    read_fan_outs(&rows)
}

/// An insert of a row of these columns.
fn insert_sql(table: &str, columns: &[&str]) -> String {
    let places: Vec<String> = (1..=columns.len()).map(|n| format!("?{n}")).collect();
    format!("insert into {table} ({}) values ({})", columns.join(", "), places.join(", "))
}

static INSERT: LazyLock<String> = LazyLock::new(|| insert_sql("firing", FiringRow::COLUMNS));

static BEGIN_FAN_OUT: LazyLock<String> = LazyLock::new(|| {
    let columns = FanOutRow::COLUMNS.join(", ");
    let places: Vec<String> = (1..=FanOutRow::COLUMNS.len()).map(|n| format!("?{n}")).collect();
    format!(
        "insert into fan_out ({columns}, done, held_until) values ({}, 0, 0) on conflict do nothing",
        places.join(", ")
    )
});

static TAKE_FAN_OUTS: LazyLock<String> = LazyLock::new(|| {
    format!(
        "update fan_out set held_until = ?2 where id in ( \
           select o.id from fan_out o where not o.done and o.held_until <= ?1 \
             and (o.scheduled_at is null or not exists (select 1 from fan_out e \
               where e.rule_id = o.rule_id and not e.done and e.scheduled_at is not null and e.id < o.id)) \
           order by o.id limit ?3) \
         returning {}",
        FanOutRow::COLUMNS.join(", ")
    )
});

const ADVANCE: &str = "update rule set next_at = ?5, queued_at = case when ?6 then queued_at else ?7 end \
    where tenant_id = ?1 and id = ?2 and revision = ?3 and next_at = ?4 and enabled and deleted_at is null";

const UNQUEUE: &str = "update rule set queued_at = null \
    where tenant_id = ?1 and id = ?2 and queued_at = ?3 and enabled and deleted_at is null";

const UNWAIT: &str = "delete from rule_wait \
    where rule_tenant_id = ?1 and rule_id = ?2 and tenant_id = ?3 and at = ?4 \
      and exists (select 1 from rule r where r.tenant_id = ?1 and r.id = ?2 and r.enabled and r.deleted_at is null)";

const WAIT: &str = "insert into rule_wait (rule_tenant_id, rule_id, tenant_id, at) values (?1, ?2, ?3, ?4) \
    on conflict do nothing";

const DISPATCHED: &str = "delete from event_pending where id = ?1";

const ADVANCE_FAN_OUT: &str = "update fan_out set after_tenant = coalesce(?3, after_tenant), \
      done = ?3 is null, held_until = 0 \
    where id = ?1 and not done and after_tenant is ?2";

const FIRED: &str = "select 1 from firing where rule_id = ?1 and tenant_id = ?2 and key = ?3";

const HEALTH: &str = "select streak, failing_since, recovered_at from rule where tenant_id = ?1 and id = ?2";

const SET_HEALTH: &str = "update rule set streak = ?3, failing_since = ?4, recovered_at = ?5, last_at = ?6, \
      last_outcome = ?7, jobs_made = jobs_made + ?8 \
    where tenant_id = ?1 and id = ?2";

const COUNT: &str = "insert into rule_stat (tenant_id, rule_id, outcome, reason, n) values (?1, ?2, ?3, ?4, ?5) \
    on conflict (tenant_id, rule_id, outcome, reason) do update set n = n + excluded.n";
