//! A database, a running TaskFlow, and a client of its API.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use sqlx::Connection as _;
use taskflow_tests::postgres::{self, Database};
use taskflow_tests::process::{self, Launch, Process, eventually};
use tempfile::TempDir;

/// A database of one test.
pub(super) enum Store {
    /// A file in a directory that goes with the test.
    Sqlite(TempDir),
    /// On the shared server.
    Postgres(Database),
}

impl Store {
    /// As people call it.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "SQLite",
            Self::Postgres(_) => "PostgreSQL",
        }
    }

    pub(super) fn sqlite() -> Result<Self> {
        Ok(Self::Sqlite(tempfile::tempdir()?))
    }

    pub(super) async fn postgres() -> Result<Self> {
        Ok(Self::Postgres(postgres::fresh_database().await?))
    }

    pub(super) fn url(&self) -> String {
        match self {
            Self::Sqlite(directory) => format!("sqlite://{}", directory.path().join("taskflow.db").display()),
            Self::Postgres(database) => database.url.clone(),
        }
    }

    /// Everything that the database holds, as far as it can be read as text.
    pub(super) fn dump(&self) -> Result<String> {
        match self {
            Self::Sqlite(directory) => {
                let mut text = String::new();
                for file in std::fs::read_dir(directory.path())? {
                    let path = file?.path();
                    // The key of secrets that a development server makes is one.
                    if path.is_file() && path.extension().is_none_or(|kind| kind != "key") {
                        text += &String::from_utf8_lossy(&std::fs::read(path)?);
                    }
                }
                Ok(text)
            }
            Self::Postgres(database) => postgres::dump(&database.url),
        }
    }

    /// The key of secrets that an installation made for itself: in Base64 where a file
    /// has it, in hexadecimal digits where the database does.
    pub(super) async fn own_key(&self) -> Result<String> {
        match self {
            Self::Sqlite(directory) => {
                let key = std::fs::read_to_string(directory.path().join("taskflow.db.key"))?;
                Ok(key.trim().to_owned())
            }
            Self::Postgres(_) => {
                let mut connection = sqlx::PgConnection::connect(&self.url()).await?;
                let key = sqlx::query_scalar("select encode(key, 'hex') from sealing_key");
                Ok(key.fetch_one(&mut connection).await?)
            }
        }
    }

    /// Runs a statement on the database itself.
    pub(super) async fn execute(&self, statement: &str) -> Result<()> {
        let statement = sqlx::AssertSqlSafe(statement.to_owned());
        match self {
            Self::Sqlite(_) => {
                let mut connection = sqlx::SqliteConnection::connect(&self.url()).await?;
                sqlx::raw_sql(statement).execute(&mut connection).await?;
            }
            Self::Postgres(_) => {
                let mut connection = sqlx::PgConnection::connect(&self.url()).await?;
                sqlx::raw_sql(statement).execute(&mut connection).await?;
            }
        }
        Ok(())
    }

    /// What a counting query of the database itself answers.
    pub(super) async fn count(&self, query: &str) -> Result<i64> {
        let query = sqlx::AssertSqlSafe(query.to_owned());
        Ok(match self {
            Self::Sqlite(_) => {
                let mut connection = sqlx::SqliteConnection::connect(&self.url()).await?;
                sqlx::query_scalar(query).fetch_one(&mut connection).await?
            }
            Self::Postgres(_) => {
                let mut connection = sqlx::PgConnection::connect(&self.url()).await?;
                sqlx::query_scalar(query).fetch_one(&mut connection).await?
            }
        })
    }

    /// The same behind the back of the triggers that guard the audit, as only the
    /// owner of the database can.
    pub(super) async fn tamper(&self, statement: &str) -> Result<()> {
        let off = match self {
            Self::Sqlite(_) => "drop trigger audit_kept; drop trigger audit_whole",
            Self::Postgres(_) => "alter table audit disable trigger all",
        };
        self.execute(off).await?;
        self.execute(statement).await
    }

    /// `taskflow` with this command on this database, to be started.
    pub(super) fn launch(&self, command: &str) -> Launch {
        Launch::new([command]).env("DATABASE_URL", &self.url())
    }

    /// `taskflow up` on this database, and a client of it.
    pub(super) async fn up(&self) -> Result<(Process, Api)> {
        let process = self.launch("up").start().await?;
        let api = Api::new(&process.url)?;
        Ok((process, api))
    }
}

/// A client of the API.
#[derive(Clone)]
pub(super) struct Api {
    client: Client,
    url: String,
}

impl Api {
    pub(super) fn new(url: &str) -> Result<Self> {
        Ok(Self { client: process::client()?, url: url.to_owned() })
    }

    /// What a POST answers. An error means that there was no whole answer.
    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<(StatusCode, Value)> {
        let answer = self.client.post(format!("{}{path}", self.url)).json(body).send().await?;
        let status = answer.status();
        Ok((status, answer.json().await?))
    }

    /// The same as another tenant.
    pub(super) async fn post_as(
        &self,
        tenant: &str,
        path: &str,
        body: &Value,
    ) -> Result<(StatusCode, Value)> {
        let request = self.client.post(format!("{}{path}", self.url)).header("taskflow-tenant", tenant);
        let answer = request.json(body).send().await?;
        let status = answer.status();
        Ok((status, answer.json().await?))
    }

    /// What a PUT answers, which must be well.
    pub(super) async fn put(&self, path: &str, body: &Value) -> Result<Value> {
        let answer = self.client.put(format!("{}{path}", self.url)).json(body).send().await?;
        let status = answer.status();
        let body = answer.text().await?;
        ensure!(status.is_success(), "PUT {path}: {status}: {body}");
        Ok(serde_json::from_str(&body)?)
    }

    pub(super) async fn get(&self, path: &str) -> Result<Value> {
        let answer = self.client.get(format!("{}{path}", self.url)).send().await?;
        let status = answer.status();
        let body = answer.text().await?;
        ensure!(status.is_success(), "GET {path}: {status}: {body}");
        Ok(serde_json::from_str(&body)?)
    }

    /// Submits a job that must be accepted; its id.
    pub(super) async fn submit(&self, job: &Value) -> Result<String> {
        let (status, body) = self.post("/v1/jobs", job).await?;
        ensure!(status == StatusCode::CREATED, "{status}: {body}");
        id_of(&body)
    }

    pub(super) async fn job(&self, id: &str) -> Result<Value> {
        self.get(&format!("/v1/jobs/{id}")).await
    }

    /// The job, once it is in this state.
    pub(super) async fn in_state(&self, id: &str, state: &str) -> Result<Value> {
        let mut last = Value::Null;
        let what = format!("job {id} is {state}");
        let found = eventually(&what, async || {
            // A process that is just being restarted does not answer.
            last = self.job(id).await.unwrap_or_default();
            Ok((last["state"] == state).then(|| last.clone()))
        });
        let found = found.await;
        found.with_context(|| format!("the job of the last answer: {last}"))
    }

    /// The outcomes of a job's attempts, in order.
    pub(super) async fn outcomes(&self, id: &str) -> Result<Vec<String>> {
        let attempts = self.get(&format!("/v1/jobs/{id}/attempts?limit=500")).await?;
        let items = attempts["items"].as_array().context("a list has items")?;
        Ok(items.iter().map(|attempt| attempt["outcome"].as_str().unwrap_or("-").to_owned()).collect())
    }

    /// The types of a job's events, in order, which are gapless.
    pub(super) async fn events(&self, id: &str) -> Result<Vec<String>> {
        let events = self.get(&format!("/v1/jobs/{id}/events?limit=500")).await?;
        let items = events["items"].as_array().context("a list has items")?;
        for (index, event) in items.iter().enumerate() {
            ensure!(event["seq"] == index + 1, "the history has a gap: {events}");
        }
        Ok(items.iter().map(|event| event["type"].as_str().unwrap_or("-").to_owned()).collect())
    }
}

pub(super) fn id_of(body: &Value) -> Result<String> {
    Ok(body["id"].as_str().with_context(|| format!("a job has an id: {body}"))?.to_owned())
}

/// A job that calls `url`, with three quick attempts.
pub(super) fn call(url: &str) -> Value {
    json!({
        "kind": "call",
        "payload": {"hello": "world"},
        "target": {"type": "http", "url": url},
        "retry_policy": {"max_attempts": 3, "strategy": "fixed", "base_delay_ms": 10, "jitter": "none"},
    })
}

/// Waits until `true`, for what has no signal of its own.
pub(super) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) -> Result<()> {
    eventually(what, async || Ok(holds().await.then_some(()))).await
}

/// A bound that only a hanging program reaches.
pub(super) async fn bounded<T>(what: &str, future: impl Future<Output = T>) -> Result<T> {
    tokio::time::timeout(Duration::from_mins(1), future)
        .await
        .with_context(|| format!("{what} took too long"))
}
