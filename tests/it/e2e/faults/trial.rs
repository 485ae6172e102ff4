//! A run with a real fault: what clients did and were told is written down, and
//! in the end the checker judges it together with the tables.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use sqlx::Connection as _;
use taskflow_application::ports::Stores;
use taskflow_checker::History;
use taskflow_checker::history::{Call, Fault, Known, Op};
use taskflow_domain::{JobState, TenantSlug};
use taskflow_tests::faults::now_us;
use taskflow_tests::faults::site::{SLACK_US, judge, stores_of};
use taskflow_tests::faults::watch::Watch;
use taskflow_tests::faults::witness::Witness;
use taskflow_tests::process::{Launch, Process, eventually};
use taskflow_tests::sim::tables::{all_jobs, collect};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::e2e::api::{Api, Store, id_of};

/// A run with a real fault.
pub(super) struct Trial {
    name: &'static str,
    pub(super) store: Store,
    lease_ms: i64,
    watch: Watch,
    history: Mutex<History>,
    next: AtomicU32,
    /// How many submits were acknowledged.
    acknowledged: watch::Sender<usize>,
    /// The bodies of the submits whose outcome nobody knows.
    unclear: Mutex<Vec<(u32, Value)>>,
}

impl Trial {
    pub(super) fn new(name: &'static str, store: Store, lease_ms: i64) -> Arc<Self> {
        Arc::new(Self {
            name,
            watch: Watch::start(&store.url()),
            store,
            lease_ms,
            history: Mutex::default(),
            next: AtomicU32::new(0),
            acknowledged: watch::channel(0).0,
            unclear: Mutex::default(),
        })
    }

    /// `taskflow` with this command on the trial's database.
    pub(super) fn launch(&self, command: &str) -> Launch {
        self.store.launch(command).env("TASKFLOW_LEASE_MS", &self.lease_ms)
    }

    /// `taskflow up`, and a client of it.
    pub(super) async fn up(&self) -> Result<(Process, Api)> {
        let process = self.launch("up").start().await?;
        let api = Api::new(&process.url)?;
        Ok((process, api))
    }

    pub(super) fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many submits were acknowledged, to be waited for.
    pub(super) fn acknowledged(&self) -> watch::Receiver<usize> {
        self.acknowledged.subscribe()
    }

    /// Submits a job like `job`, once; its number, and its id if it was acknowledged.
    pub(super) async fn submit(&self, api: &Api, job: &Value) -> (u32, Option<String>) {
        let number = self.next.fetch_add(1, Ordering::SeqCst);
        let mut body = job.clone();
        body["payload"] = json!({"number": number});
        body["idempotency_key"] = json!(format!("key-{number}"));
        (number, self.post(api, number, body).await)
    }

    async fn post(&self, api: &Api, number: u32, body: Value) -> Option<String> {
        let invoked_at = now_us();
        let answer = api.post("/v1/jobs", &body).await;
        let returned_at = now_us();
        let (known, job) = match &answer {
            Ok((status, answer)) if status.is_success() => (Known::Ok, id_of(answer).ok()),
            Ok((status, _)) if status.as_u16() < 500 => (Known::Fail, None),
            // A 503 promises nothing, and neither does silence.
            Ok(_) | Err(_) => (Known::Unknown, None),
        };
        let op = Op::Submit {
            tenant: TenantSlug::fallback().as_str().into(),
            marker: format!("m-{number}"),
            key: Some(format!("key-{number}")),
            run_at: None,
            job: job.clone(),
        };
        self.history().calls.push(Call { invoked_at, returned_at, known, op });
        if job.is_some() {
            self.acknowledged.send_modify(|count| *count += 1);
        } else if known == Known::Unknown {
            self.unclear.lock().unwrap_or_else(PoisonError::into_inner).push((number, body));
        }
        job
    }

    /// Submits so many jobs like `job` in one request, which must be accepted.
    pub(super) async fn submit_many(&self, api: &Api, job: &Value, count: usize) -> Result<()> {
        let mut numbers = Vec::with_capacity(count);
        let bodies: Vec<_> = (0..count)
            .map(|_| {
                let number = self.next.fetch_add(1, Ordering::SeqCst);
                let mut body = job.clone();
                body["payload"] = json!({"number": number});
                numbers.push(number);
                body
            })
            .collect();
        let invoked_at = now_us();
        let (status, answer) = api.post("/v1/jobs/batch", &json!({"jobs": bodies})).await?;
        ensure!(status.is_success(), "{status}: {answer}");
        let returned_at = now_us();
        let items = answer["items"].as_array().context("a list of answers")?;
        ensure!(items.len() == count, "{} answers to {count} jobs", items.len());
        for (number, item) in numbers.into_iter().zip(items) {
            let op = Op::Submit {
                tenant: TenantSlug::fallback().as_str().into(),
                marker: format!("m-{number}"),
                key: None,
                run_at: None,
                job: id_of(item).or_else(|_| id_of(&item["job"])).ok(),
            };
            self.history().calls.push(Call { invoked_at, returned_at, known: Known::Ok, op });
        }
        self.acknowledged.send_modify(|acknowledged| *acknowledged += count);
        Ok(())
    }

    /// Callers that submit until `enough`, whatever is answered.
    pub(super) fn callers(
        self: &Arc<Self>,
        count: usize,
        api: &Api,
        job: &Value,
        enough: &watch::Receiver<bool>,
    ) -> Vec<JoinHandle<()>> {
        let caller = |_| {
            let (trial, api, job, enough) = (Arc::clone(self), api.clone(), job.clone(), enough.clone());
            tokio::spawn(async move {
                while !*enough.borrow() {
                    trial.submit(&api, &job).await;
                }
            })
        };
        (0..count).map(caller).collect()
    }

    /// Asks again for everything whose outcome nobody knows: each is now acknowledged.
    pub(super) async fn ask_again(&self, api: &Api) -> Result<usize> {
        let unclear = std::mem::take(&mut *self.unclear.lock().unwrap_or_else(PoisonError::into_inner));
        let count = unclear.len();
        for (number, body) in unclear {
            let id = self.post(api, number, body).await;
            ensure!(id.is_some(), "submit {number} was asked again and not acknowledged");
        }
        Ok(count)
    }

    /// From `from` until now no engine could do its duty. Whoever begins leaves
    /// all leases alone for the time of one.
    pub(super) fn no_engine_since(&self, from: i64) {
        let to = now_us() + (self.lease_ms + 3_000) * 1_000;
        self.history().faults.push(Fault::NoEngine { from, to });
    }

    /// Waits until everything has ended, and judges it. `witness`: what the
    /// targets were, if every job had one.
    pub(super) async fn judge(&self, witness: Option<&Witness>) -> Result<History> {
        let stores = self.stores().await?;
        let tenant = stores.tenants.get(&TenantSlug::fallback()).await?.context("a tenant")?.id;
        eventually("every job has ended", async || {
            let jobs = all_jobs(&stores, tenant).await?;
            let rests = |state: JobState| state.is_terminal() || state == JobState::Paused;
            Ok(jobs.iter().all(|job| rests(job.standing.state())).then_some(()))
        })
        .await?;
        let mut history = std::mem::take(&mut *self.history());
        history.run.lease_us = self.lease_ms * 1_000;
        history.run.clock_slack_us = SLACK_US;
        history.run.ended_at = now_us();
        history.run.settled = true;
        history.run.effects_complete = witness.is_some();
        history.effects = witness.map(Witness::effects).unwrap_or_default();
        collect(&stores, &[TenantSlug::fallback()], &mut history).await?;
        history.leases = self.watch.leases(&history.attempts);
        judge(&format!("{}, {}", self.name, self.store.name()), &history)?;
        Ok(history)
    }

    /// Looks whether the files of the database are whole, where they can be looked at.
    pub(super) async fn is_whole(&self) -> Result<()> {
        if let Store::Sqlite(_) = &self.store {
            let mut connection = sqlx::SqliteConnection::connect(&self.store.url()).await?;
            let found: String =
                sqlx::query_scalar("pragma integrity_check").fetch_one(&mut connection).await?;
            ensure!(found == "ok", "the database is not whole: {found}");
            connection.close().await?;
        }
        Ok(())
    }

    /// The trial's database, beside the engine.
    pub(super) async fn stores(&self) -> Result<Stores> {
        stores_of(&self.store.url()).await
    }
}

/// A job that the engine does at once.
pub(super) fn noop() -> Value {
    json!({"kind": "noop", "target": {"type": "builtin", "name": "noop"}})
}

/// The outcomes of a job's attempts, as the tables have them.
pub(super) fn outcomes<'a>(history: &'a History, id: &str) -> Vec<&'a str> {
    let of = history.attempts.iter().filter(|attempt| attempt.job == id);
    of.map(|attempt| attempt.outcome.as_deref().unwrap_or("-")).collect()
}

/// A session of a test beside the engine's.
pub(super) async fn connect(url: &str) -> Result<tokio_postgres::Client> {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}
