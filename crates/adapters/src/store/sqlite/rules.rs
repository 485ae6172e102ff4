//! [`RuleStore`]: rules, and looking at what they came to. Firing is [`fire`]'s.

mod save;

use std::sync::LazyLock;

use async_trait::async_trait;
use sqlx::{AssertSqlSafe, Row as _, sqlite::SqliteRow};
use taskflow_application::ports::{
    AuditNote, DUE_SPREAD, DueRules, FanOut, Fire, Fired, FiringCount, FiringPage, RuleLine, RulePage,
    RulePut, RuleStore, SealedSecret, StoreError, StoreResult, Waiting, Waits, due_offset,
};
use taskflow_domain::{
    Actor, CorrelationId, Firing, FiringId, FiringOutcome, JobId, Rule, RuleId, TenantId, Timestamp,
};
use uuid::Uuid;

use super::super::error::Fault;
use super::super::row::{FanOutRow, FiringRow, RuleLineRow, RuleRow, ids_from_text};
use super::record::batch;
use super::{SqliteStore, audit, fire};

/// A statement over a table's columns.
fn select(columns: &str, rest: &str) -> String {
    format!("select {columns} {rest}")
}

fn rules(rest: &str) -> String {
    select(&RuleRow::columns("r"), rest)
}

fn lines(rest: &str) -> String {
    format!(
        "select {}, t.slug from rule r join tenant t on t.id = r.tenant_id where r.deleted_at is null {rest}",
        RuleLineRow::columns("r")
    )
}

fn firings(rest: &str) -> String {
    select(&FiringRow::columns("f"), rest)
}

macro_rules! sql {
    ($($name:ident = $make:ident($text:literal);)*) => {
        $(static $name: LazyLock<String> = LazyLock::new(|| $make($text));)*
    };
}

sql! {
    GET = rules("from rule r where r.tenant_id = ?1 and r.id = ?2 and r.deleted_at is null");
    LIST = rules("from rule r where r.tenant_id = ?1 and r.deleted_at is null and (?2 is null or r.id > ?2) \
        order by r.id limit ?3");
    LINES = lines("and r.id > coalesce(?1, x'00') order by r.id limit ?2");
    LINES_OF = lines("and r.tenant_id = ?3 and r.id > coalesce(?1, x'00') \
        order by r.id limit ?2");
    BY_KEY = rules("from rule r where r.webhook_key = ?1 and r.deleted_at is null");
    DUE = rules("from rule r indexed by rule_due where r.next_at is not null and r.enabled \
        and r.deleted_at is null and r.next_at <= ?1 order by r.next_at, r.id limit ?2 offset ?3");
    LISTENING = rules("from rule r where r.tenant_id = ?1 and r.trigger_kind = 2 and r.enabled \
        and r.deleted_at is null order by r.id");
    FIRINGS = firings("from firing f where f.rule_id = ?1 and f.rule_tenant_id = ?2 and (?3 is null or f.id < ?3) \
        and (?4 is null or f.outcome = ?4) and (?6 is null or f.tenant_id = ?6) order by f.id desc limit ?5");
    FIRINGS_OF = firings("from firing f where f.rule_id = ?1 and f.key = ?2 order by f.id");
    FIRING = firings("from firing f where f.tenant_id = ?1 and f.id = ?2");
    BY_CAUSE = firings("from firing f where f.tenant_id = ?1 and f.correlation_id = ?2 order by f.id limit ?3");
}

fn read_rules(rows: &[SqliteRow]) -> StoreResult<Vec<Rule>> {
    rows.iter().map(|row| RuleRow::read(row, 0).map_err(Fault::from)?.rule()).collect()
}

fn read_lines(rows: &[SqliteRow]) -> StoreResult<Vec<RuleLine>> {
    let line = |row: &SqliteRow| {
        let read = || Ok((RuleLineRow::read(row, 0)?, row.try_get::<String, _>(RuleLineRow::COLUMNS.len())?));
        let (line, slug): (RuleLineRow, _) = read().map_err(|fault: sqlx::Error| Fault::from(fault))?;
        line.line(&slug)
    };
    rows.iter().map(line).collect()
}

fn read_firings(rows: &[SqliteRow]) -> StoreResult<Vec<Firing>> {
    rows.iter().map(|row| FiringRow::read(row, 0).map_err(Fault::from)?.firing()).collect()
}

impl SqliteStore {
    /// Runs a statement on a reader.
    pub(super) async fn look(
        &self,
        query: sqlx::query::Query<'_, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>,
    ) -> StoreResult<Vec<SqliteRow>> {
        let mut reader = self.shared.readers.acquire().await.map_err(Fault::from)?;
        Ok(query.fetch_all(&mut *reader).await.map_err(Fault::from)?)
    }
}

/// A statement that this file made of constants.
fn query(
    sql: &'static LazyLock<String>,
) -> sqlx::query::Query<'static, sqlx::Sqlite, sqlx::sqlite::SqliteArguments> {
    sqlx::query(AssertSqlSafe(sql.as_str()))
}

#[async_trait]
impl RuleStore for SqliteStore {
    async fn put(
        &self,
        rule: &Rule,
        secrets: Option<&[SealedSecret]>,
        actor: &Actor,
        note: Option<AuditNote>,
    ) -> StoreResult<RulePut> {
        let (rule, secrets, actor) = (rule.clone(), secrets.map(<[_]>::to_vec), actor.clone());
        let work = self.shared.writer.run(move |tx| {
            Box::pin(async move {
                let done = save::put(tx, &rule, secrets.as_deref(), actor.as_str()).await?;
                if done == RulePut::Done {
                    audit::append(tx, note.as_slice()).await?;
                }
                Ok(done)
            })
        });
        work.await
    }

    async fn get(&self, tenant: TenantId, rule: RuleId) -> StoreResult<Option<Rule>> {
        let rows = self.look(query(&GET).bind(tenant.0).bind(rule.0)).await?;
        Ok(read_rules(&rows)?.pop())
    }

    async fn count(&self, tenant: TenantId, most: u32) -> StoreResult<u32> {
        let rows = self.look(sqlx::query(COUNT).bind(tenant.0).bind(most)).await?;
        let count: Option<i64> = rows.first().map(|row| row.try_get(0)).transpose().map_err(Fault::from)?;
        Ok(count.and_then(|count| u32::try_from(count).ok()).unwrap_or_default())
    }

    async fn list(&self, tenant: TenantId, page: RulePage) -> StoreResult<Vec<Rule>> {
        let after = page.after.map(|after| after.0);
        read_rules(&self.look(query(&LIST).bind(tenant.0).bind(after).bind(page.limit)).await?)
    }

    async fn lines(&self, tenant: Option<TenantId>, page: RulePage) -> StoreResult<Vec<RuleLine>> {
        let bound = |sql| query(sql).bind(page.after.map(|after| after.0)).bind(page.limit);
        let rows = self.look(match tenant {
            None => bound(&LINES),
            Some(tenant) => bound(&LINES_OF).bind(tenant.0),
        });
        read_lines(&rows.await?)
    }

    async fn delete(
        &self,
        tenant: TenantId,
        rule: RuleId,
        now: Timestamp,
        note: Option<AuditNote>,
    ) -> StoreResult<bool> {
        let work = self.shared.writer.run(move |tx| {
            Box::pin(async move {
                let gone = save::delete(tx, tenant, rule, now).await?;
                if gone {
                    audit::append(tx, note.as_slice()).await?;
                }
                Ok(gone)
            })
        });
        work.await
    }

    async fn by_webhook_key(&self, key: &str) -> StoreResult<Option<Rule>> {
        Ok(read_rules(&self.look(query(&BY_KEY).bind(key.to_owned())).await?)?.pop())
    }

    async fn secrets(&self, tenant: TenantId, rule: RuleId) -> StoreResult<Vec<SealedSecret>> {
        let rows = self.look(sqlx::query(SECRETS).bind(tenant.0).bind(rule.0)).await?;
        let secret = |row: &SqliteRow| {
            let expires_at: Option<i64> = row.try_get(2)?;
            let (slot, sealed) = (row.try_get(0)?, row.try_get(1)?);
            Ok(SealedSecret { slot, sealed, expires_at: expires_at.map(Timestamp::from_micros) })
        };
        Ok(rows.iter().map(secret).collect::<Result<_, Fault>>()?)
    }

    async fn due(&self, now: Timestamp, limit: u32, place: f64) -> StoreResult<DueRules> {
        let rows = self.look(sqlx::query(COUNT_DUE).bind(now.micros()).bind(DUE_SPREAD)).await?;
        let due: Option<u32> = rows.first().map(|row| row.try_get(0)).transpose().map_err(Fault::from)?;
        let offset = due_offset(due.unwrap_or_default(), limit, place);
        let rows = self.look(query(&DUE).bind(now.micros()).bind(limit).bind(offset)).await?;
        let rules = read_rules(&rows)?;
        let seen = i64::try_from(rules.len()).unwrap_or(i64::MAX);
        let rows = self.look(sqlx::query(NEXT).bind(seen)).await?;
        let next = rows.first().map(|row| row.try_get(0)).transpose().map_err(Fault::from)?;
        Ok(DueRules { rules, next: next.map(Timestamp::from_micros) })
    }

    async fn waiting(&self, limit: u32) -> StoreResult<Waiting> {
        // Most of the time nothing waits.
        if self.look(sqlx::query(ANY_WAITING)).await?.is_empty() {
            return Ok(Waiting::default());
        }
        let rows = self.look(query(&WAITING).bind(limit)).await?;
        let after = RuleRow::COLUMNS.len();
        let waits = |(row, rule): (&SqliteRow, Rule)| {
            let (of, at): (Option<i32>, i64) = (row.try_get(after)?, row.try_get(after + 1)?);
            Ok(Waits { rule, of: of.map(TenantId), at: Timestamp::from_micros(at) })
        };
        let ready = rows.iter().zip(read_rules(&rows)?).map(waits).collect::<Result<_, Fault>>()?;
        Ok(Waiting { ready, any: true })
    }

    async fn waits(&self, rule: RuleId, of: &[TenantId]) -> StoreResult<Vec<TenantId>> {
        let rows = self.look(sqlx::query(WAITS).bind(rule.0)).await?;
        let tenant = |row: &SqliteRow| row.try_get(0).map(TenantId);
        let waits: Vec<_> = rows.iter().map(tenant).collect::<sqlx::Result<_>>().map_err(Fault::from)?;
        Ok(waits.into_iter().filter(|tenant| of.contains(tenant)).collect())
    }

    async fn listening(&self, tenant: TenantId) -> StoreResult<Vec<Rule>> {
        read_rules(&self.look(query(&LISTENING).bind(tenant.0)).await?)
    }

    async fn fire(&self, fires: Vec<Fire>) -> StoreResult<Vec<Fired>> {
        fire::fire(&self.shared, fires).await
    }

    async fn unfinished(&self, of: &[(RuleId, TenantId)]) -> StoreResult<Vec<Vec<JobId>>> {
        let mut unfinished = Vec::with_capacity(of.len());
        for (rule, tenant) in of {
            let rows = self.look(sqlx::query(LATEST).bind(rule.0).bind(tenant.0)).await?;
            let jobs: Option<String> =
                rows.first().map(|row| row.try_get(0)).transpose().map_err(Fault::from)?;
            let Some(jobs) = jobs else {
                unfinished.push(Vec::new());
                continue;
            };
            let corrupt = |fault: serde_json::Error| StoreError::Rejected(fault.to_string());
            let jobs: Vec<Uuid> =
                ids_from_text(&jobs).map_err(corrupt)?.into_iter().map(|job| job.0).collect();
            let rows = self.look(sqlx::query(UNFINISHED).bind(tenant.0).bind(batch(&jobs)?)).await?;
            let id = |row: &SqliteRow| row.try_get(0).map(JobId);
            unfinished.push(rows.iter().map(id).collect::<sqlx::Result<_>>().map_err(Fault::from)?);
        }
        Ok(unfinished)
    }

    async fn fan_outs(&self, now: Timestamp, until: Timestamp, limit: u32) -> StoreResult<Vec<FanOut>> {
        // Most of the time there is none, and then the writer is left in peace.
        if self.look(sqlx::query(ANY_FAN_OUT)).await?.is_empty() {
            return Ok(Vec::new());
        }
        fire::take_fan_outs(&self.shared, now, until, limit).await
    }

    async fn firings(&self, tenant: TenantId, rule: RuleId, page: FiringPage) -> StoreResult<Vec<Firing>> {
        let query = query(&FIRINGS)
            .bind(rule.0)
            .bind(tenant.0)
            .bind(page.before.map(|before| before.0))
            .bind(page.outcome.map(FiringOutcome::code))
            .bind(page.limit)
            .bind(page.tenant.map(|tenant| tenant.0));
        read_firings(&self.look(query).await?)
    }

    async fn firings_of(&self, rule: RuleId, key: &str) -> StoreResult<Vec<Firing>> {
        read_firings(&self.look(query(&FIRINGS_OF).bind(rule.0).bind(key.to_owned())).await?)
    }

    async fn firing(&self, tenant: TenantId, firing: FiringId) -> StoreResult<Option<Firing>> {
        Ok(read_firings(&self.look(query(&FIRING).bind(tenant.0).bind(firing.0)).await?)?.pop())
    }

    async fn firings_by_cause(
        &self,
        tenant: TenantId,
        cause: CorrelationId,
        limit: u32,
    ) -> StoreResult<Vec<Firing>> {
        read_firings(&self.look(query(&BY_CAUSE).bind(tenant.0).bind(cause.0).bind(limit)).await?)
    }

    async fn counts(&self, tenant: TenantId, rule: RuleId) -> StoreResult<Vec<FiringCount>> {
        let rows = self.look(sqlx::query(COUNTS).bind(tenant.0).bind(rule.0)).await?;
        let count = |row: &SqliteRow| {
            let (code, reason, n): (i16, String, i64) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            let outcome = FiringOutcome::from_code(code)
                .ok_or_else(|| StoreError::Rejected(format!("{code} is no outcome")))?;
            let reason = (!reason.is_empty()).then_some(reason);
            Ok(FiringCount { outcome, reason, count: u64::try_from(n).unwrap_or_default() })
        };
        Ok(rows.iter().map(count).collect::<Result<_, Fault>>()?)
    }

    async fn prune_firings(&self, before: Timestamp, limit: u32) -> StoreResult<u32> {
        self.shared
            .writer
            .run(move |tx| {
                Box::pin(async move {
                    let gone = sqlx::query(PRUNE).bind(before.micros()).bind(limit).execute(&mut *tx).await?;
                    sqlx::query(PRUNE_FAN_OUTS).bind(before.micros()).bind(limit).execute(tx).await?;
                    Ok(u32::try_from(gone.rows_affected()).unwrap_or(u32::MAX))
                })
            })
            .await
    }
}

/// The fan-outs of these rows.
pub(super) fn read_fan_outs(rows: &[SqliteRow]) -> StoreResult<Vec<FanOut>> {
    rows.iter().map(|row| FanOutRow::read(row, 0).map_err(Fault::from)?.fan_out()).collect()
}

const COUNT: &str =
    "select count(*) from (select 1 from rule where tenant_id = ?1 and deleted_at is null limit ?2)";

const SECRETS: &str = "select slot, sealed, expires_at from rule_secret \
    where tenant_id = ?1 and rule_id = ?2 order by slot";

/// How many are due, as far as it matters.
const COUNT_DUE: &str = "select count(*) from (select 1 from rule indexed by rule_due \
    where next_at is not null and enabled and deleted_at is null and next_at <= ?1 limit ?2)";

/// What waits and need not wait any more: no job of the latest FIRED firing of the
/// rule for that tenant is unfinished.
static WAITING: LazyLock<String> = LazyLock::new(|| {
    format!(
        "with waits(rule_tenant, rule_id, tenant_id, of_tenant, at) as ( \
           select r.tenant_id, r.id, r.tenant_id, null, r.queued_at from rule r \
             where r.queued_at is not null and r.enabled and r.deleted_at is null \
           union all \
           select w.rule_tenant_id, w.rule_id, w.tenant_id, w.tenant_id, w.at from rule_wait w) \
         select {}, w.of_tenant, w.at \
         from waits w join rule r on r.tenant_id = w.rule_tenant and r.id = w.rule_id and r.enabled \
           and r.deleted_at is null \
         where not exists ( \
           select 1 from json_each((select f.jobs from firing f where f.rule_id = w.rule_id \
               and f.tenant_id = w.tenant_id and f.outcome = 0 order by f.id desc limit 1)) made \
           cross join job j on j.tenant_id = w.tenant_id and j.id = unhex(made.value, '-') \
           where not exists (select 1 from finished d where d.tenant_id = j.tenant_id and d.job_id = j.id)) \
         order by w.at, w.rule_id, w.tenant_id limit ?1",
        RuleRow::columns("r")
    )
});

const ANY_WAITING: &str = "select 1 where exists (select 1 from rule where queued_at is not null and enabled \
      and deleted_at is null) \
    or exists (select 1 from rule_wait)";

const WAITS: &str = "select tenant_id from rule_wait where rule_id = ?1";

/// The cursor that stands first after those that were taken.
const NEXT: &str = "select next_at from rule indexed by rule_due where next_at is not null and enabled \
    and deleted_at is null order by next_at, id limit 1 offset ?1";

const LATEST: &str = "select jobs from firing where rule_id = ?1 and tenant_id = ?2 and outcome = 0 \
    order by id desc limit 1";

const UNFINISHED: &str = "select j.id from jsonb_each(?2) e \
    cross join job j on j.tenant_id = ?1 and j.id = unhex(e.value, '-') \
    where not exists (select 1 from finished f where f.tenant_id = j.tenant_id and f.job_id = j.id)";

const ANY_FAN_OUT: &str = "select 1 from fan_out where not done limit 1";

const COUNTS: &str = "select outcome, reason, n from rule_stat where tenant_id = ?1 and rule_id = ?2 \
    order by outcome, reason";

/// The latest FIRED firing of a rule for a tenant says what runs of it, so it stays.
const PRUNE: &str = "delete from firing where (tenant_id, id) in ( \
    select f.tenant_id, f.id from firing f where f.at < ?1 \
      and (f.outcome <> 0 or exists (select 1 from firing l where l.rule_id = f.rule_id \
        and l.tenant_id = f.tenant_id and l.outcome = 0 and l.id > f.id)) \
    order by f.at limit ?2)";

const PRUNE_FAN_OUTS: &str =
    "delete from fan_out where id in (select id from fan_out where done and at < ?1 limit ?2)";
