//! Lists, counts and what operators look at, over a long history: what they cost
//! when millions of jobs have ended. The rows are written by plain statements, as the
//! engine would leave them, and the questions go to a real process over HTTP.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use reqwest::Client;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};
use tokio::time::Instant;

use super::claims;
use crate::faults::pause;
use crate::postgres::{Cluster, create_database};
use crate::process::{Launch, client};

const FIRST: &str = "
insert into tenant (slug, attributes, weight, paused, created_at, updated_at) values ('other', '{}', 1, false, 0, 0);
insert into queue (name) values ('default');
insert into kind (name) values ('noop');
insert into worker (name, queues, kinds, slots, known, started_at, beat_at, lease_until)
values ('w', '[]', '[]', 1, false, 0, 0, 0);
insert into lane (tenant_id, queue_id, route, weight, cost_us, paused) values (1, 1, 0, 1, 10000, false),
    (2, 1, 0, 1, 10000, false)";

/// Of a million jobs nine tenths are of the tenant `default`, and of a hundred one
/// has failed, one is dead and one was cancelled.
const FILL: &str = "
create temp table made as
select i, case when i % 10 = 9 then 2 else 1 end tenant,
    (lpad(to_hex(1700000000000 + i), 12, '0') || '70008000' || lpad(to_hex(i), 12, '0'))::uuid id,
    (1700000000000 + i) * 1000 as at,
    case i % 100 when 1 then 6 when 2 then 7 when 3 then 8 else 5 end as state
from generate_series({first}, {last}) i;
insert into job (tenant_id, id, queue_id, kind_id, lane_id, priority, payload, timeout_ms, created_by,
    created_at, run_at)
select tenant, id, 1, 1, tenant, 2, '{\"text\":\"xxxxxxxxxxxxxxxx\"}', 60000, 'api', at, at from made;
insert into finished (tenant_id, job_id, lane_id, kind_id, state, finished_at, attempt, spent, lost,
    interrupted, snoozed, seq, worker_id, token, started_at, started_seq, outcome)
select tenant, id, tenant, 1, state, at, 1, 1, 0, 0, 0, 3, 1, 281474976710656, at, 2,
    case when state = 5 then 0 else 1 end
from made;
drop table made";

const LAST: [&str; 4] = [
    "insert into depth select 1, state, count(*) from finished group by state",
    "vacuum (analyze, freeze) job",
    "vacuum (analyze, freeze) finished",
    "checkpoint",
];

const MILLION: u64 = 1_000_000;
const ASKED: usize = 50;

const QUESTIONS: [&str; 17] = [
    "/v1/jobs?limit=50",
    "/v1/jobs?limit=50&state=SUCCEEDED",
    "/v1/jobs?limit=50&state=FAILED",
    "/v1/jobs?limit=50&state=DEAD",
    "/v1/jobs?limit=50&state=CANCELLED",
    "/v1/jobs?limit=50&state=RUNNING",
    "/v1/jobs?limit=50&state=PENDING",
    "/v1/jobs?limit=50&state=FAILED&state=DEAD&queue=default",
    "/v1/admin/queues",
    "/v1/admin/queues/default",
    "/v1/admin/queues/default/explain",
    "/v1/admin/stats?span=hour&by=queue",
    "/v1/admin/tenants",
    "/v1/admin/workers",
    "/v1/admin/runner",
    "/v1/admin/automations",
    "/metrics",
];

/// Measures every question and prints a table.
pub async fn measure(cluster: &Cluster, millions: u64) -> Result<()> {
    let database = create_database(&cluster.url()).await?;
    claims::open(&database.url, 1).await?.close().await;
    let mut sql = PgConnection::connect(&database.url).await?;
    let begun = Instant::now();
    fill(&mut sql, millions).await?;
    eprintln!("{millions} million ended jobs were written in {:.0} s", begun.elapsed().as_secs_f64());
    let api = Launch::new(["api"]).env("DATABASE_URL", &database.url).env("RUST_LOG", "warn").start().await?;
    let http = client()?;
    println!("| question | items | p50 ms | p99 ms | rows | pages |\n|---|---|---|---|---|---|");
    for question in QUESTIONS {
        let url = format!("{}{question}", api.url);
        ask(&http, &url).await?;
        let before = touched(&mut sql).await?;
        let (mut times, mut items) = (Vec::new(), 0);
        for _ in 0..ASKED {
            let begun = Instant::now();
            items = ask(&http, &url).await?;
            times.push(begun.elapsed().as_secs_f64() * 1e3);
        }
        let after = touched(&mut sql).await?;
        let [rows, pages] = [0, 1].map(|at| (after[at] - before[at]) / ASKED as i64);
        times.sort_by(f64::total_cmp);
        let (middle, last) = (times[times.len() / 2], times[times.len() - 1]);
        println!("| `{question}` | {items} | {middle:.1} | {last:.1} | {rows} | {pages} |");
    }
    let begun = Instant::now();
    let (status, output, _) = Launch::new(["doctor"]).env("DATABASE_URL", &database.url).output()?;
    eprintln!("`taskflow doctor` took {:.0} s ({status}):\n{output}", begun.elapsed().as_secs_f64());
    Ok(())
}

async fn fill(sql: &mut PgConnection, millions: u64) -> Result<()> {
    sqlx::raw_sql(FIRST).execute(&mut *sql).await?;
    for part in 0..millions {
        let (first, last) = (part * MILLION, (part + 1) * MILLION - 1);
        let statements = FILL.replace("{first}", &first.to_string()).replace("{last}", &last.to_string());
        sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut *sql).await?;
    }
    for statement in LAST {
        sqlx::raw_sql(statement).execute(&mut *sql).await?;
    }
    Ok(())
}

/// How many items the answer has.
async fn ask(http: &Client, url: &str) -> Result<usize> {
    let answer = http.get(url).send().await?;
    let (status, text) = (answer.status(), answer.text().await?);
    ensure!(status.is_success(), "{url}: {text}");
    if url.ends_with("/metrics") {
        return Ok(text.lines().count());
    }
    let body: serde_json::Value = serde_json::from_str(&text).context("an answer in JSON")?;
    Ok(body["items"].as_array().map_or(1, Vec::len))
}

/// Rows and pages that were touched so far. What a session counts is shown a second
/// later, unless it is busy.
async fn touched(sql: &mut PgConnection) -> Result<[i64; 2]> {
    pause(Duration::from_millis(1_500)).await;
    let row = sqlx::query(
        "select (select sum(seq_tup_read + coalesce(idx_tup_fetch, 0))::int8 from pg_stat_user_tables),
            (select (blks_hit + blks_read)::int8 from pg_stat_database where datname = current_database())",
    )
    .fetch_one(sql)
    .await?;
    Ok([row.try_get(0)?, row.try_get(1)?])
}
