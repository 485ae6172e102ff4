//! How late rules of every second fire, beside many whose time does not come, on
//! one process with its own worker: `punctual [idle rules] [rules] [seconds]`, on
//! SQLite and on PostgreSQL.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqliteConnection};
use taskflow_tests::postgres::fresh_database;
use taskflow_tests::process::{self, Launch, Process};

/// How much.
#[derive(Clone, Copy, Debug)]
struct Plan {
    idle: u32,
    rules: u32,
    seconds: u64,
}

/// Copies of a rule that is off: on, and their time does not come.
fn idle(plan: Plan, id: &str) -> String {
    format!(
        "with recursive numbers(n) as (select 1 union all select n + 1 from numbers where n < {})
         insert into rule (tenant_id, id, name, enabled, mode, revision, body, trigger_kind, next_at,
             created_at, updated_at)
         select r.tenant_id, {id}, r.name, true, r.mode, 1, r.body, r.trigger_kind,
             r.updated_at + 86400000000 + numbers.n, r.created_at, r.updated_at
         from rule r cross join numbers where not r.enabled",
        plan.idle
    )
}

async fn fill(url: &str, plan: Plan) -> Result<()> {
    if url.starts_with("sqlite") {
        let mut connection = SqliteConnection::connect(url).await?;
        sqlx::raw_sql(AssertSqlSafe(idle(plan, "randomblob(16)"))).execute(&mut connection).await?;
        sqlx::raw_sql("analyze").execute(&mut connection).await?;
        return Ok(connection.close().await?);
    }
    let mut connection = PgConnection::connect(url).await?;
    sqlx::raw_sql(AssertSqlSafe(idle(plan, "gen_random_uuid()"))).execute(&mut connection).await?;
    sqlx::raw_sql("analyze").execute(&mut connection).await?;
    Ok(connection.close().await?)
}

async fn post(client: &reqwest::Client, process: &Process, path: &str, body: &Value) -> Result<Value> {
    let answer = client.post(format!("{}{path}", process.url)).json(body).send().await?;
    ensure!(answer.status().is_success(), "{}", answer.text().await?);
    Ok(answer.json().await?)
}

async fn get(client: &reqwest::Client, process: &Process, path: &str) -> Result<Vec<Value>> {
    let answer: Value = client.get(format!("{}{path}", process.url)).send().await?.json().await?;
    Ok(answer["items"].as_array().with_context(|| format!("{path}: {answer}"))?.clone())
}

/// Milliseconds from one time to another.
fn apart(from: &Value, to: &Value) -> Result<f64> {
    let micros = |time: &Value| {
        let time = taskflow_domain::Timestamp::parse_rfc3339(time.as_str().unwrap_or_default());
        Ok::<_, anyhow::Error>(time.with_context(|| format!("no time: {from} {to}"))?.micros())
    };
    Ok((micros(to)? - micros(from)?) as f64 / 1_000.0)
}

fn told(what: &str, mut late: Vec<f64>) {
    late.sort_by(f64::total_cmp);
    let part =
        |share: f64| late.get(((late.len().max(1) - 1) as f64 * share) as usize).copied().unwrap_or_default();
    println!(
        "  {what}: {:.1} ms (median), {:.1} ms (p99), {:.1} ms (most) of {}",
        part(0.5),
        part(0.99),
        part(1.0),
        late.len()
    );
}

async fn run(url: &str, plan: Plan) -> Result<()> {
    let launch = || Launch::new(["up"]).env("DATABASE_URL", url).env("RUST_LOG", "warn");
    let launch = || launch().env("TASKFLOW_MAX_RULES_PER_TENANT", "1000000");
    let client = process::client()?;
    let rule = |enabled: bool, expression: &str| {
        json!({"name": "punctual", "enabled": enabled, "trigger": {"type": "cron", "expression": expression},
               "actions": [{"kind": "noop", "target": {"type": "builtin", "name": "noop"}}]})
    };
    let process = launch().start().await?;
    post(&client, &process, "/v1/automation-rules", &rule(false, "0 0 * * *")).await?;
    drop(process);
    fill(url, plan).await?;
    let process = launch().start().await?;
    let mut rules = Vec::new();
    for _ in 0..plan.rules {
        let made = post(&client, &process, "/v1/automation-rules", &rule(true, "* * * * * *")).await?;
        rules.push(made["id"].as_str().context("an id")?.to_owned());
    }
    let mut timer = tokio::time::interval(Duration::from_secs(plan.seconds));
    timer.tick().await;
    timer.tick().await;
    let (mut decided, mut begun) = (Vec::new(), Vec::new());
    for rule in &rules {
        post(&client, &process, &format!("/v1/automation-rules/{rule}/disable"), &json!({})).await?;
        let path = format!("/v1/automation-rules/{rule}/firings?limit=500&outcome=FIRED");
        for firing in get(&client, &process, &path).await? {
            decided.push(apart(&firing["scheduled_at"], &firing["at"])?);
            let job = firing["job_ids"][0].as_str().context("a job")?;
            for attempt in get(&client, &process, &format!("/v1/jobs/{job}/attempts")).await? {
                begun.push(apart(&firing["scheduled_at"], &attempt["started_at"])?);
            }
        }
    }
    told("from the time of an occurrence to its evaluation", decided);
    told("from the time of an occurrence to the start of its job", begun);
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse::<u32>().context("a number"));
    let mut next = |fallback: u32| numbers.next().unwrap_or(Ok(fallback));
    let plan = Plan { idle: next(10_000)?, rules: next(20)?, seconds: u64::from(next(20)?) };
    let directory = tempfile::tempdir()?;
    println!("{plan:?} on SQLite");
    run(&format!("sqlite://{}", directory.path().join("taskflow.db").display()), plan).await?;
    println!("{plan:?} on PostgreSQL");
    run(&fresh_database().await?.url, plan).await
}
