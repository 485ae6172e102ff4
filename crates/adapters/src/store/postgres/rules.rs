//! Rules, and looking at what they came to. Firing is [`fire`]'s.

mod save;

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::{AssertSqlSafe, Postgres, Row as _};
use taskflow_application::ports::{
    AuditNote, DUE_SPREAD, DueRules, FanOut, Fire, Fired, FiringCount, FiringPage, RuleLine, RulePage,
    RulePut, RuleStore, SealedSecret, StoreResult, Waiting, Waits, due_offset,
};
use taskflow_domain::{
    Actor, CorrelationId, Firing, FiringId, FiringOutcome, JobId, Rule, RuleId, TenantId, Timestamp,
};
use uuid::Uuid;

use super::reader::read;
use super::unit::{repeat, transact_detached};
use super::{Inner, count, fire, int, rejected};
use crate::store::error::from_sqlx;
use crate::store::row::{FiringRow, RuleLineRow, RuleRow, ids_from_text};
use save::{Delete, Put};

/// The port over PostgreSQL.
pub(super) struct PgRules(pub(super) Arc<Inner>);

fn rules(rest: &str) -> String {
    format!("select {} {rest}", RuleRow::columns("r"))
}

fn lines(rest: &str) -> String {
    format!(
        "select {}, t.slug from rule r join tenant t on t.id = r.tenant_id where r.deleted_at is null {rest}",
        RuleLineRow::columns("r")
    )
}

fn firings(rest: &str) -> String {
    format!("select {} {rest}", FiringRow::columns("f"))
}

macro_rules! sql {
    ($($name:ident = $make:ident($text:literal);)*) => {
        $(static $name: LazyLock<String> = LazyLock::new(|| $make($text));)*
    };
}

sql! {
    GET = rules("from rule r where r.tenant_id = $1 and r.id = $2 and r.deleted_at is null");
    LIST = rules("from rule r where r.tenant_id = $1 and r.deleted_at is null
        and ($2::uuid is null or r.id > $2) order by r.id limit $3::int4");
    LINES = lines("and r.id > coalesce($1::uuid, '00000000-0000-0000-0000-000000000000') order by r.id limit $2::int4");
    LINES_OF = lines("and r.tenant_id = $3 and r.id > coalesce($1::uuid, '00000000-0000-0000-0000-000000000000')
        order by r.id limit $2::int4");
    BY_KEY = rules("from rule r where r.webhook_key = $1 and r.deleted_at is null");
    DUE = rules("from rule r where r.next_at is not null and r.enabled and r.deleted_at is null
        and r.next_at <= $1 order by r.next_at, r.id limit $2::int4 offset $3::int4");
    LISTENING = rules("from rule r where r.tenant_id = $1 and r.trigger_kind = 2 and r.enabled
        and r.deleted_at is null order by r.id");
    FIRINGS = firings("from firing f where f.rule_id = $1 and f.rule_tenant_id = $2
        and ($3::uuid is null or f.id < $3) and ($4::int2 is null or f.outcome = $4)
        and ($6::int4 is null or f.tenant_id = $6) order by f.id desc limit $5::int4");
    FIRINGS_OF = firings("from firing f where f.rule_id = $1 and f.key = $2 order by f.id");
    FIRING = firings("from firing f where f.tenant_id = $1 and f.id = $2");
    BY_CAUSE = firings("from firing f where f.tenant_id = $1 and f.correlation_id = $2
        order by f.id limit $3::int4");
}

/// How many a tenant has, as far as it matters.
const COUNT: &str = "
select count(*)::int4 from (select 1 from rule where tenant_id = $1 and deleted_at is null limit $2::int4) own";

/// How many are due, as far as it matters.
const COUNT_DUE: &str = "
select count(*)::int4 from (select 1 from rule where next_at is not null and enabled and deleted_at is null
    and next_at <= $1 limit $2::int4) due";

/// What waits and need not wait any more: no job of the latest FIRED firing of the
/// rule for that tenant is unfinished.
static WAITING: LazyLock<String> = LazyLock::new(|| {
    format!(
        "with waits as (
            select r.tenant_id as rule_tenant, r.id as rule_id, r.tenant_id, null::int4 as of_tenant, r.queued_at as at
            from rule r where r.queued_at is not null and r.enabled and r.deleted_at is null
            union all
            select w.rule_tenant_id, w.rule_id, w.tenant_id, w.tenant_id, w.at from rule_wait w)
        select {}, w.of_tenant, w.at
        from waits w join rule r on r.tenant_id = w.rule_tenant and r.id = w.rule_id and r.enabled
            and r.deleted_at is null
        where not exists (
            select 1 from (select f.jobs from firing f where f.rule_id = w.rule_id and f.tenant_id = w.tenant_id
                and f.outcome = 0 order by f.id desc limit 1) latest
            cross join lateral jsonb_array_elements_text(latest.jobs::jsonb) made(id)
            join job j on j.tenant_id = w.tenant_id and j.id = made.id::uuid
            where not exists (select 1 from finished d where d.tenant_id = j.tenant_id and d.job_id = j.id))
        order by w.at, w.rule_id, w.tenant_id limit $1::int4",
        RuleRow::columns("r")
    )
});

const ANY_WAITING: &str = "
select exists (select 1 from rule where queued_at is not null and enabled and deleted_at is null)
    or exists (select 1 from rule_wait)";

const WAITS: &str = "select tenant_id from rule_wait where rule_id = $1 and tenant_id = any($2::int4[])";

/// The cursor that stands first after those that were taken.
const NEXT: &str = "
select next_at from rule where next_at is not null and enabled and deleted_at is null
order by next_at, id limit 1 offset $1";

const SECRETS: &str =
    "select slot, sealed, expires_at from rule_secret where tenant_id = $1 and rule_id = $2 order by slot";

/// The jobs of the latest FIRED firing of each rule and tenant.
const LATEST: &str = "
select coalesce(f.jobs, '[]')
from unnest($1::uuid[], $2::int4[]) with ordinality g(rule_id, tenant_id, n)
left join lateral (
    select jobs from firing f where f.rule_id = g.rule_id and f.tenant_id = g.tenant_id and f.outcome = 0
    order by f.id desc limit 1) f on true
order by g.n";

/// Of these jobs, those that have not ended.
const UNFINISHED: &str = "
select g.n, g.job_id
from unnest($1::int4[], $2::int4[], $3::uuid[]) g(n, tenant_id, job_id)
where exists (select 1 from job j where j.tenant_id = g.tenant_id and j.id = g.job_id)
    and not exists (select 1 from finished f where f.tenant_id = g.tenant_id and f.job_id = g.job_id)";

const COUNTS: &str =
    "select outcome, reason, n from rule_stat where tenant_id = $1 and rule_id = $2 order by outcome, reason";

/// The latest FIRED firing of a rule for a tenant says what runs of it, so it stays.
const PRUNE: &str = "
delete from firing f using (
    select f.tenant_id, f.id from firing f where f.at < $1
        and (f.outcome <> 0 or exists (select 1 from firing l where l.rule_id = f.rule_id
            and l.tenant_id = f.tenant_id and l.outcome = 0 and l.id > f.id))
    order by f.at limit $2::int4) old
where f.tenant_id = old.tenant_id and f.id = old.id";

const PRUNE_FAN_OUTS: &str =
    "delete from fan_out where id in (select id from fan_out where done and at < $1 limit $2::int4)";

type Query = sqlx::query::Query<'static, Postgres, PgArguments>;

fn query(sql: &'static LazyLock<String>) -> Query {
    sqlx::query(AssertSqlSafe(sql.as_str()))
}

fn read_rules(rows: &[PgRow]) -> StoreResult<Vec<Rule>> {
    rows.iter().map(|row| RuleRow::read(row, 0).map_err(|fault| from_sqlx(&fault))?.rule()).collect()
}

fn read_lines(rows: &[PgRow]) -> StoreResult<Vec<RuleLine>> {
    let line = |row: &PgRow| {
        let read = || Ok((RuleLineRow::read(row, 0)?, row.try_get::<String, _>(RuleLineRow::COLUMNS.len())?));
        let (line, slug): (RuleLineRow, _) = read().map_err(|fault: sqlx::Error| from_sqlx(&fault))?;
        line.line(&slug)
    };
    rows.iter().map(line).collect()
}

fn read_firings(rows: &[PgRow]) -> StoreResult<Vec<Firing>> {
    rows.iter().map(|row| FiringRow::read(row, 0).map_err(|fault| from_sqlx(&fault))?.firing()).collect()
}

impl PgRules {
    /// Looks at what is `tenant`'s, behind the wall.
    async fn look_of(
        &self,
        tenant: TenantId,
        make: impl Fn() -> Query + Send + Sync + 'static,
    ) -> StoreResult<Vec<PgRow>> {
        self.0.look(tenant, move |connection| Box::pin(make().fetch_all(connection))).await
    }

    /// Looks at what may be anybody's: what the engine does for all, and the
    /// firings of a rule that acts for many tenants.
    async fn look(&self, make: impl Fn() -> Query) -> StoreResult<Vec<PgRow>> {
        read(&self.0.pool, || make().fetch_all(&self.0.pool)).await
    }
}

#[async_trait]
impl RuleStore for PgRules {
    async fn put(
        &self,
        rule: &Rule,
        secrets: Option<&[SealedSecret]>,
        actor: &Actor,
        note: Option<AuditNote>,
    ) -> StoreResult<RulePut> {
        let (secrets, actor) = (secrets.map(<[_]>::to_vec), actor.clone());
        let put = Put { rule: rule.clone(), secrets, actor, note };
        transact_detached(&self.0.warm, put).await
    }

    async fn get(&self, tenant: TenantId, rule: RuleId) -> StoreResult<Option<Rule>> {
        Ok(read_rules(&self.look_of(tenant, move || query(&GET).bind(tenant.0).bind(rule.0)).await?)?.pop())
    }

    async fn count(&self, tenant: TenantId, most: u32) -> StoreResult<u32> {
        let count: i32 = read(&self.0.pool, || {
            sqlx::query_scalar(COUNT).bind(tenant.0).bind(int(most)).fetch_one(&self.0.pool)
        })
        .await?;
        Ok(u32::try_from(count).unwrap_or_default())
    }

    async fn list(&self, tenant: TenantId, page: RulePage) -> StoreResult<Vec<Rule>> {
        let after = page.after.map(|after| after.0);
        read_rules(
            &self
                .look_of(tenant, move || query(&LIST).bind(tenant.0).bind(after).bind(int(page.limit)))
                .await?,
        )
    }

    async fn lines(&self, tenant: Option<TenantId>, page: RulePage) -> StoreResult<Vec<RuleLine>> {
        let bound = |sql| query(sql).bind(page.after.map(|after| after.0)).bind(int(page.limit));
        let rows = self.look(|| match tenant {
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
        transact_detached(&self.0.warm, Delete { tenant, rule, now, note }).await
    }

    async fn by_webhook_key(&self, key: &str) -> StoreResult<Option<Rule>> {
        Ok(read_rules(&self.look(|| query(&BY_KEY).bind(key.to_owned())).await?)?.pop())
    }

    async fn secrets(&self, tenant: TenantId, rule: RuleId) -> StoreResult<Vec<SealedSecret>> {
        let rows: Vec<(i16, Vec<u8>, Option<i64>)> = read(&self.0.pool, || {
            sqlx::query_as(SECRETS).bind(tenant.0).bind(rule.0).fetch_all(&self.0.pool)
        })
        .await?;
        let secret = |(slot, sealed, expires_at): (i16, _, Option<i64>)| SealedSecret {
            slot: u8::try_from(slot).unwrap_or_default(),
            sealed,
            expires_at: expires_at.map(Timestamp::from_micros),
        };
        Ok(rows.into_iter().map(secret).collect())
    }

    async fn due(&self, now: Timestamp, limit: u32, place: f64) -> StoreResult<DueRules> {
        let due: i32 = read(&self.0.pool, || {
            sqlx::query_scalar(COUNT_DUE).bind(now.micros()).bind(int(DUE_SPREAD)).fetch_one(&self.0.pool)
        })
        .await?;
        let offset = int(due_offset(u32::try_from(due).unwrap_or_default(), limit, place));
        let rows = self.look(|| query(&DUE).bind(now.micros()).bind(int(limit)).bind(offset)).await?;
        let rules = read_rules(&rows)?;
        let seen = i64::try_from(rules.len()).unwrap_or(i64::MAX);
        let next: Option<i64> =
            read(&self.0.pool, || sqlx::query_scalar(NEXT).bind(seen).fetch_optional(&self.0.pool)).await?;
        Ok(DueRules { rules, next: next.map(Timestamp::from_micros) })
    }

    async fn waiting(&self, limit: u32) -> StoreResult<Waiting> {
        // Most of the time nothing waits.
        let any: bool =
            read(&self.0.pool, || sqlx::query_scalar(ANY_WAITING).fetch_one(&self.0.pool)).await?;
        if !any {
            return Ok(Waiting::default());
        }
        let rows = self.look(|| query(&WAITING).bind(int(limit))).await?;
        let after = RuleRow::COLUMNS.len();
        let waits = |(row, rule): (&PgRow, Rule)| {
            let fault = |fault: sqlx::Error| from_sqlx(&fault);
            let of: Option<i32> = row.try_get(after).map_err(fault)?;
            let at: i64 = row.try_get(after + 1).map_err(fault)?;
            Ok(Waits { rule, of: of.map(TenantId), at: Timestamp::from_micros(at) })
        };
        let ready = rows.iter().zip(read_rules(&rows)?).map(waits).collect::<StoreResult<_>>()?;
        Ok(Waiting { ready, any })
    }

    async fn waits(&self, rule: RuleId, of: &[TenantId]) -> StoreResult<Vec<TenantId>> {
        let of: Vec<i32> = of.iter().map(|tenant| tenant.0).collect();
        let waits: Vec<i32> =
            read(&self.0.pool, || sqlx::query_scalar(WAITS).bind(rule.0).bind(&of).fetch_all(&self.0.pool))
                .await?;
        Ok(waits.into_iter().map(TenantId).collect())
    }

    async fn listening(&self, tenant: TenantId) -> StoreResult<Vec<Rule>> {
        read_rules(&self.look_of(tenant, move || query(&LISTENING).bind(tenant.0)).await?)
    }

    async fn fire(&self, fires: Vec<Fire>) -> StoreResult<Vec<Fired>> {
        fire::fire(&self.0, fires).await
    }

    async fn unfinished(&self, of: &[(RuleId, TenantId)]) -> StoreResult<Vec<Vec<JobId>>> {
        let (rules, tenants): (Vec<Uuid>, Vec<i32>) =
            of.iter().map(|(rule, tenant)| (rule.0, tenant.0)).unzip();
        let latest: Vec<String> = read(&self.0.pool, || {
            sqlx::query_scalar(LATEST).bind(&rules).bind(&tenants).fetch_all(&self.0.pool)
        })
        .await?;
        let (mut places, mut owners, mut jobs) = (Vec::new(), Vec::new(), Vec::new());
        for (at, text) in latest.iter().enumerate() {
            for job in ids_from_text(text).map_err(|fault| rejected(fault.to_string()))? {
                places.push(i32::try_from(at).unwrap_or(i32::MAX));
                owners.push(tenants[at]);
                jobs.push(job.0);
            }
        }
        let mut unfinished = vec![Vec::new(); of.len()];
        if !jobs.is_empty() {
            let rows: Vec<(i32, Uuid)> = read(&self.0.pool, || {
                sqlx::query_as(UNFINISHED).bind(&places).bind(&owners).bind(&jobs).fetch_all(&self.0.pool)
            })
            .await?;
            for (at, job) in rows {
                if let Some(of) = usize::try_from(at).ok().and_then(|at| unfinished.get_mut(at)) {
                    of.push(JobId(job));
                }
            }
        }
        Ok(unfinished)
    }

    async fn fan_outs(&self, now: Timestamp, until: Timestamp, limit: u32) -> StoreResult<Vec<FanOut>> {
        fire::take_fan_outs(&self.0, now, until, limit).await
    }

    async fn firings(&self, tenant: TenantId, rule: RuleId, page: FiringPage) -> StoreResult<Vec<Firing>> {
        let rows = self.look(|| {
            query(&FIRINGS)
                .bind(rule.0)
                .bind(tenant.0)
                .bind(page.before.map(|before| before.0))
                .bind(page.outcome.map(FiringOutcome::code))
                .bind(int(page.limit))
                .bind(page.tenant.map(|tenant| tenant.0))
        });
        read_firings(&rows.await?)
    }

    async fn firings_of(&self, rule: RuleId, key: &str) -> StoreResult<Vec<Firing>> {
        read_firings(&self.look(|| query(&FIRINGS_OF).bind(rule.0).bind(key.to_owned())).await?)
    }

    async fn firing(&self, tenant: TenantId, firing: FiringId) -> StoreResult<Option<Firing>> {
        Ok(read_firings(&self.look_of(tenant, move || query(&FIRING).bind(tenant.0).bind(firing.0)).await?)?
            .pop())
    }

    async fn firings_by_cause(
        &self,
        tenant: TenantId,
        cause: CorrelationId,
        limit: u32,
    ) -> StoreResult<Vec<Firing>> {
        let rows =
            self.look_of(tenant, move || query(&BY_CAUSE).bind(tenant.0).bind(cause.0).bind(int(limit)));
        read_firings(&rows.await?)
    }

    async fn counts(&self, tenant: TenantId, rule: RuleId) -> StoreResult<Vec<FiringCount>> {
        let rows: Vec<(i16, String, i64)> =
            read(&self.0.pool, || sqlx::query_as(COUNTS).bind(tenant.0).bind(rule.0).fetch_all(&self.0.pool))
                .await?;
        let count = |(code, reason, n): (i16, String, i64)| {
            let outcome =
                FiringOutcome::from_code(code).ok_or_else(|| rejected(format!("{code} is no outcome")))?;
            let reason = (!reason.is_empty()).then_some(reason);
            Ok(FiringCount { outcome, reason, count: u64::try_from(n).unwrap_or_default() })
        };
        rows.into_iter().map(count).collect()
    }

    async fn prune_firings(&self, before: Timestamp, limit: u32) -> StoreResult<u32> {
        let run = |sql| {
            repeat(move || sqlx::query(sql).bind(before.micros()).bind(int(limit)).execute(&self.0.pool))
        };
        let gone = run(PRUNE).await?;
        run(PRUNE_FAN_OUTS).await?;
        Ok(count(gone.rows_affected()))
    }
}
