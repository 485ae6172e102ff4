//! F20: many rules of every second, fired by several processes of which one is
//! killed and one is frozen: each occurrence must be fired once.

use anyhow::{Context as _, Result, ensure};
use sqlx::{PgPool, Row as _};
use taskflow_adapters::store::postgres::{PostgresOptions, PostgresStore};
use taskflow_application::ports::{FiringPage, RulePut};
use taskflow_checker::history::{ClockRow, JobRow, RuleRow};
use taskflow_checker::{History, judge_by};
use taskflow_domain::{Actor, TenantSlug, Timestamp};
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use crate::process::{Launch, Process, Signal, eventually};
use crate::rules::{Draft, rule_id};
use crate::sim::firing_row;

/// Processes that fire.
const RUNNERS: usize = 5;

/// How much.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Rules that fire every second.
    pub rules: u32,
    /// For how long.
    pub seconds: u64,
    /// Rules besides, whose time does not come.
    pub idle: u32,
}

/// What was seen.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Occurrences that were fired, each once.
    pub occurrences: usize,
    /// From the time of an occurrence to its evaluation, in milliseconds: the
    /// median, the 99th percentile and the longest. The last one shows the time
    /// that the frozen process held what it had begun.
    pub late_ms: [f64; 3],
    /// From a second to the commit of the last of its occurrences, as somebody
    /// sees who looks every few milliseconds: the median, the 90th percentile and
    /// the longest of all seconds.
    pub done_ms: [f64; 3],
}

/// Adds rules whose time does not come, as copies of one.
const IDLE: &str = "
insert into rule (tenant_id, id, name, enabled, mode, revision, body, trigger_kind, next_at, created_at, updated_at)
select r.tenant_id, gen_random_uuid(), r.name, true, r.mode, 1, r.body, r.trigger_kind,
    r.next_at + 86400000000 + n, r.created_at, r.updated_at
from (select * from rule where enabled limit 1) r, generate_series(1, $1::int4) n";

/// The cursor of the slowest rule, and the time.
const SLOWEST: &str = "
select min(next_at), (extract(epoch from clock_timestamp()) * 1000000)::int8
from rule where next_at is not null and enabled and deleted_at is null";

/// How late occurrences were fired: half of them, 99 of 100, all.
const LATE: &str = "
select percentile_cont(array[0.5, 0.99, 1]) within group (order by (at - scheduled_at) / 1000.0) from firing";

/// Runs the plan on an empty database. Fails if an occurrence was left out or came twice.
pub async fn run(url: &str, plan: Plan) -> Result<Seen> {
    let options = PostgresOptions { max_connections: 4, ..PostgresOptions::default() };
    let store = PostgresStore::connect(url, options).await?;
    store.migrate().await?;
    let launch = || Launch::new(["worker"]).env("DATABASE_URL", url).env("RUST_LOG", "warn");
    let starting = (0..RUNNERS).map(|_| launch().start());
    let mut runners = futures_util::future::try_join_all(starting).await?;
    let first = begin(&store, plan).await?;
    let watched = AbortOnDropHandle::new(tokio::spawn(watch(store.pool().clone(), first, plan.seconds)));
    let third = i64::try_from(plan.seconds)? * 1_000 / 3;
    // At each third, counted by the slowest rule.
    reached(&store, first.plus_millis(third)).await?;
    runners[0].kill()?;
    runners[1].signal(Signal::Stop)?;
    reached(&store, first.plus_millis(2 * third)).await?;
    runners[1].signal(Signal::Cont)?;
    reached(&store, first.plus_millis(3 * third)).await?;
    let done_ms = watched.await??;
    sqlx::query("update rule set enabled = false").execute(store.pool()).await?;
    let seen = judge(&store, plan, first).await.map(|seen| Seen { done_ms, ..seen });
    drop::<Vec<Process>>(runners);
    store.close().await;
    seen
}

/// How long after each second its last occurrence was committed.
async fn watch(pool: PgPool, first: Timestamp, seconds: u64) -> Result<[f64; 3]> {
    let mut late = Vec::new();
    let mut awaited = first.micros();
    let end = first.plus_millis(i64::try_from(seconds)? * 1_000).micros();
    while awaited < end {
        let (slowest, now): (i64, i64) = sqlx::query_as(SLOWEST).fetch_one(&pool).await?;
        while slowest > awaited && awaited < end {
            late.push((now - awaited) as f64 / 1_000.0);
            awaited += 1_000_000;
        }
        sqlx::query("select pg_sleep(0.005)").execute(&pool).await?;
    }
    late.sort_by(f64::total_cmp);
    let part = |share: f64| late[((late.len() - 1) as f64 * share) as usize];
    Ok([part(0.5), part(0.9), part(1.0)])
}

/// Makes the rules, and starts all of them at once; answers their first occurrence.
async fn begin(store: &PostgresStore, plan: Plan) -> Result<Timestamp> {
    let stores = store.stores();
    let now = store.now().await?;
    let tenant = stores.tenants.ensure(&TenantSlug::fallback(), now).await?;
    let never = now.plus_millis(30 * 86_400_000);
    for n in 1..=plan.rules {
        let rule = Draft::cron(tenant.id, n, "* * * * * *").next(never).0;
        ensure!(stores.rules.put(&rule, None, &Actor::api(), None).await? == RulePut::Done);
    }
    if plan.idle > 0 {
        sqlx::query(IDLE).bind(i32::try_from(plan.idle)?).execute(store.pool()).await?;
        sqlx::query("analyze rule").execute(store.pool()).await?;
    }
    let first = (store.now().await?.plus_millis(3_000).micros() / 1_000_000) * 1_000_000;
    let started =
        sqlx::query("update rule set next_at = $1 where next_at = $2").bind(first).bind(never.micros());
    ensure!(started.execute(store.pool()).await?.rows_affected() == u64::from(plan.rules));
    Ok(Timestamp::from_micros(first))
}

/// Waits until every rule has been fired up to `at`.
async fn reached(store: &PostgresStore, at: Timestamp) -> Result<()> {
    eventually("the rules keep up", async || {
        let slowest: Option<i64> =
            sqlx::query_scalar("select min(next_at) from rule").fetch_one(store.pool()).await?;
        Ok(slowest.filter(|slowest| *slowest > at.micros()).map(|_| ()))
    })
    .await
}

/// What the checker's rule about occurrences makes of it, and how late they were.
async fn judge(store: &PostgresStore, plan: Plan, first: Timestamp) -> Result<Seen> {
    let history = collect(store, plan, first).await?;
    let wrong: Vec<_> = judge_by("C10", &history).iter().take(10).map(ToString::to_string).collect();
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    let others = history.firings.iter().filter(|firing| !firing.fired()).count();
    ensure!(others == 0, "{others} firings came to something else");
    let (firings, jobs) = (history.firings.len(), history.jobs.len());
    ensure!(firings == jobs, "{jobs} jobs of {firings} firings");
    let least = u64::from(plan.rules) * plan.seconds / 2;
    ensure!(firings as u64 >= least, "only {firings} occurrences: the processes did not keep up");
    let late: Vec<f64> = sqlx::query_scalar(LATE).fetch_one(store.pool()).await?;
    Ok(Seen { occurrences: firings, late_ms: [late[0], late[1], late[2]], done_ms: [0.0; 3] })
}

/// The rules, what they came to and the jobs that they made.
async fn collect(store: &PostgresStore, plan: Plan, first: Timestamp) -> Result<History> {
    let mut history = History::default();
    let stores = store.stores();
    let owner = TenantSlug::fallback();
    let tenant = stores.tenants.get(&owner).await?.context("a tenant")?.id;
    let seen_at = store.now().await?.micros();
    for n in 1..=plan.rules {
        let rule = stores.rules.get(tenant, rule_id(n)).await?.context("a rule")?;
        let page = FiringPage { before: None, outcome: None, tenant: None, limit: u32::MAX >> 1 };
        let firings = stores.rules.firings(tenant, rule.id, page).await?;
        let name = owner.as_str().to_owned();
        history.firings.extend(firings.iter().map(|firing| firing_row(firing, name.clone())));
        let clock = ClockRow {
            first: first.micros(),
            every_us: 1_000_000,
            cursor: rule.next_at.context("a cursor")?.micros(),
            seen_at,
            waits: None,
            max_late_us: i64::MAX,
        };
        history.rules.push(RuleRow {
            rule: rule.id.to_string(),
            tenant: name.clone(),
            since: None,
            acts_for: vec![name],
            clock: Some(clock),
            listens: Vec::new(),
            webhook: None,
        });
    }
    for row in sqlx::query("select id, firing_id from job").fetch_all(store.pool()).await? {
        let (job, firing): (Uuid, Option<Uuid>) = (row.try_get(0)?, row.try_get(1)?);
        history.jobs.push(made(job.to_string(), firing.map(|firing| firing.to_string())));
    }
    Ok(history)
}

/// A job, of which the rule about occurrences asks no more than who made it.
fn made(job: String, firing: Option<String>) -> JobRow {
    JobRow {
        job,
        firing,
        tenant: TenantSlug::fallback().as_str().into(),
        queue: String::new(),
        marker: String::new(),
        key: None,
        state: String::new(),
        due: 0,
        max_attempts: 0,
        seq: 0,
        attempts: 0,
    }
}

impl Seen {
    /// Says what was seen, for people and for the report card.
    pub fn print(&self, plan: Plan) {
        let Plan { rules, seconds, idle } = plan;
        let [median, most, longest] = self.late_ms;
        let [done, slow, slowest] = self.done_ms;
        println!(
            "report: occurrences of {rules} rules of every second for {seconds} s beside {idle} idle ones, five \
             processes, each fired once | {} (late by {median:.0} ms in the middle, {most:.0} ms for 99 of \
             100, {longest:.0} ms at most, while one was frozen; all of a second committed after {done:.0} ms in \
             the middle, {slow:.0} ms for 9 of 10, {slowest:.0} ms at most)",
            self.occurrences
        );
    }
}
