//! What firings change of their rules, and how often they came to what.

use std::collections::BTreeMap;

use sqlx::PgConnection;
use taskflow_application::ports::RuleTally;
use taskflow_domain::{Firing, FiringOutcome, RuleId, TenantId, Timestamp};
use uuid::Uuid;

use crate::store::error::Fault;

/// Rules are locked in the order of their ids, so that two processes whose
/// events concern the same rules wait for each other in one direction only.
const LOCK: &str = "
select 1 from rule where (tenant_id, id) in (select * from unnest($1::int4[], $2::uuid[]))
order by tenant_id, id for no key update";

/// As the application's own tally has it.
const HEALTH: &str = "
update rule r set
    streak = case when g.broken then g.errors else r.streak + g.errors end,
    failing_since = case when g.failed_at is null then null
        when g.broken then g.failed_at else coalesce(r.failing_since, g.failed_at) end,
    recovered_at = case when r.streak > 0 then coalesce(g.good_at, r.recovered_at) else r.recovered_at end,
    last_at = g.last_at, last_outcome = g.last, jobs_made = r.jobs_made + g.jobs
from unnest($1::int4[], $2::uuid[], $3::int4[], $4::bool[], $5::int8[], $6::int8[], $7::int8[], $8::int2[], $9::int8[])
    g(tenant_id, rule_id, errors, broken, good_at, failed_at, last_at, last, jobs)
where r.tenant_id = g.tenant_id and r.id = g.rule_id";

const COUNT: &str = "
insert into rule_stat as s (tenant_id, rule_id, outcome, reason, n)
select * from unnest($1::int4[], $2::uuid[], $3::int2[], $4::text[], $5::int8[])
on conflict (tenant_id, rule_id, outcome, reason) do update set n = s.n + excluded.n";

#[derive(Default)]
pub(super) struct Tallies {
    rules: BTreeMap<(TenantId, RuleId), RuleTally>,
    counts: BTreeMap<(TenantId, RuleId, FiringOutcome, String), i64>,
}

impl Tallies {
    pub(super) fn add(&mut self, firing: &Firing, jobs: u64) {
        self.rules.entry((firing.rule_tenant, firing.rule)).or_default().add(firing, jobs);
        let reason = firing.reason.clone().unwrap_or_default();
        let key = (firing.rule_tenant, firing.rule, firing.outcome, reason);
        *self.counts.entry(key).or_default() += 1;
    }

    pub(super) async fn write(&self, connection: &mut PgConnection) -> Result<(), Fault> {
        if self.rules.is_empty() {
            return Ok(());
        }
        let (tenants, rules): (Vec<i32>, Vec<Uuid>) =
            self.rules.keys().map(|(tenant, rule)| (tenant.0, rule.0)).unzip();
        sqlx::query(LOCK).bind(&tenants).bind(&rules).execute(&mut *connection).await?;
        let column = |value: fn(&RuleTally) -> Option<i64>| -> Vec<Option<i64>> {
            self.rules.values().map(value).collect()
        };
        let errors = self.rules.values().map(|tally| i32::try_from(tally.errors).unwrap_or(i32::MAX));
        sqlx::query(HEALTH)
            .bind(&tenants)
            .bind(&rules)
            .bind(errors.collect::<Vec<_>>())
            .bind(self.rules.values().map(|tally| tally.broken).collect::<Vec<_>>())
            .bind(column(|tally| tally.good_at.map(Timestamp::micros)))
            .bind(column(|tally| tally.failed_at.map(Timestamp::micros)))
            .bind(column(|tally| Some(tally.last_at.micros())))
            .bind(self.rules.values().map(|tally| tally.last.map(FiringOutcome::code)).collect::<Vec<_>>())
            .bind(column(|tally| i64::try_from(tally.jobs).ok()))
            .execute(&mut *connection)
            .await?;
        let (mut tenants, mut rules, mut outcomes, mut reasons, mut counts) =
            (vec![], vec![], vec![], vec![], vec![]);
        for ((tenant, rule, outcome, reason), n) in &self.counts {
            tenants.push(tenant.0);
            rules.push(rule.0);
            outcomes.push(outcome.code());
            reasons.push(reason.as_str());
            counts.push(*n);
        }
        sqlx::query(COUNT)
            .bind(tenants)
            .bind(rules)
            .bind(outcomes)
            .bind(reasons)
            .bind(counts)
            .execute(connection)
            .await?;
        Ok(())
    }
}
