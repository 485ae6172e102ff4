//! What is stored in the end, as clients see it. Only the tokens of attempts,
//! which no client is shown, are read from the table.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use futures_util::{StreamExt as _, TryStreamExt as _};
use serde_json::Value;
use sqlx::{Connection as _, Row as _};
use taskflow_checker::History;
use taskflow_checker::history::{AttemptRow, DepthRow, EventRow, JobRow};

use super::client::Client;

/// Requests at the same time.
const AT_ONCE: usize = 12;

/// By job and number.
type Tokens = BTreeMap<(String, u32), String>;

/// Reads the jobs with all that belongs to them, and the depths of the queues.
pub async fn collect(client: &Client, database: &str, history: &mut History) -> Result<()> {
    let tokens = tokens(database).await?;
    let tokens = &tokens;
    let jobs = client.list("/v1/jobs").await?;
    let lives = futures_util::stream::iter(jobs).map(|job| async move { life(client, &job, tokens).await });
    let lives: Vec<_> = lives.buffered(AT_ONCE).try_collect().await?;
    for (job, attempts, events) in lives {
        history.jobs.push(job);
        history.attempts.extend(attempts);
        history.events.extend(events);
    }
    for queue in items(&client.get("/v1/admin/queues").await?)? {
        let name = text(queue, "name")?;
        for (state, jobs) in queue["depth"].as_object().context("a queue has depths")? {
            let jobs = jobs.as_u64().unwrap_or_default();
            history.depths.push(DepthRow { queue: name.clone(), state: state.clone(), jobs });
        }
    }
    Ok(())
}

async fn life(
    client: &Client,
    listed: &Value,
    tokens: &Tokens,
) -> Result<(JobRow, Vec<AttemptRow>, Vec<EventRow>)> {
    let id = text(listed, "id")?;
    let paths = ["", "/attempts?limit=500", "/events?limit=500"].map(|part| format!("/v1/jobs/{id}{part}"));
    let (job, attempts, events) =
        futures_util::try_join!(client.get(&paths[0]), client.get(&paths[1]), client.get(&paths[2]))?;
    let tenant = text(&job, "tenant")?;
    let attempts: Vec<_> = items(&attempts)?
        .iter()
        .map(|attempt| attempt_row(&id, &tenant, attempt, tokens))
        .collect::<Result<_>>()?;
    let events: Vec<_> =
        items(&events)?.iter().map(|event| event_row(&id, &tenant, event)).collect::<Result<_>>()?;
    let row = JobRow {
        queue: text(&job, "queue")?,
        marker: job["payload"]["marker"].as_str().unwrap_or("none").to_owned(),
        key: job["idempotency_key"].as_str().map(str::to_owned),
        state: text(&job, "state")?,
        due: time(&job, "next_run_at").or_else(|| time(&job, "run_at")).context("a job has a time")?,
        max_attempts: number(&job["retry_policy"]["max_attempts"]),
        seq: events.last().map_or(0, |event| event.seq),
        attempts: number(&job["attempts_made"]),
        job: id,
        tenant,
    };
    Ok((row, attempts, events))
}

fn attempt_row(job: &str, tenant: &str, attempt: &Value, tokens: &Tokens) -> Result<AttemptRow> {
    let number = number(&attempt["attempt"]);
    let ended_at = time(attempt, "finished_at");
    Ok(AttemptRow {
        job: job.to_owned(),
        tenant: tenant.to_owned(),
        number,
        worker: text(attempt, "worker_id")?,
        token: tokens.get(&(job.to_owned(), number)).cloned().unwrap_or_default(),
        started_at: time(attempt, "started_at").context("an attempt has begun")?,
        ended_at,
        outcome: attempt["outcome"].as_str().map(str::to_owned),
        then: None,
    })
}

fn event_row(job: &str, tenant: &str, event: &Value) -> Result<EventRow> {
    Ok(EventRow {
        job: job.to_owned(),
        tenant: tenant.to_owned(),
        seq: number(&event["seq"]),
        kind: text(event, "type")?,
        at: time(event, "at").context("an event has a time")?,
        attempt: event["data"]["attempt"].as_u64().map(|number| number as u32),
        due: time(&event["data"], "next_run_at").or_else(|| time(&event["data"], "run_at")),
    })
}

fn items(list: &Value) -> Result<&Vec<Value>> {
    list["items"].as_array().context("a list has items")
}

fn text(of: &Value, field: &str) -> Result<String> {
    Ok(of[field].as_str().with_context(|| format!("{field} is missing: {of}"))?.to_owned())
}

fn number(value: &Value) -> u32 {
    value.as_u64().unwrap_or_default() as u32
}

fn time(of: &Value, field: &str) -> Option<i64> {
    chrono::DateTime::parse_from_rfc3339(of[field].as_str()?).ok().map(|time| time.timestamp_micros())
}

/// The fences of all attempts.
async fn tokens(database: &str) -> Result<Tokens> {
    // An attempt that ended its job stands with it.
    let sql = "select job_id, number, token from attempt union all select job_id, attempt, token from running \
        union all select job_id, attempt, token from finished where token is not null";
    let mut tokens = Tokens::new();
    let mut keep = |id: uuid::Uuid, number: i64, token: i64| {
        tokens.insert((id.to_string(), number as u32), format!("{token:016x}"));
    };
    if database.starts_with("sqlite") {
        let mut connection = sqlx::SqliteConnection::connect(database).await?;
        for row in sqlx::query(sql).fetch_all(&mut connection).await? {
            keep(row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        }
        connection.close().await?;
    } else {
        let mut connection = sqlx::PgConnection::connect(database).await?;
        for row in sqlx::query(sql).fetch_all(&mut connection).await? {
            keep(row.try_get(0)?, row.try_get::<i16, _>(1)?.into(), row.try_get(2)?);
        }
        connection.close().await?;
    }
    Ok(tokens)
}
