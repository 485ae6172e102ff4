//! Who submits jobs meanwhile, and under which limits.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, ensure};
use reqwest::Client;
use serde_json::{Value, json};
use taskflow_checker::History;
use taskflow_checker::history::{Call, Known, LeaseRow, Op};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::faults::{now_us, pause};
use crate::process::client;
use crate::sim::payload_of;

/// A limit: of a queue, of a tenant, or of a tenant in a queue.
struct Limit {
    queue: Option<&'static str>,
    tenant: Option<&'static str>,
    most: u64,
}

/// Who has jobs.
pub(super) const TENANTS: [&str; 3] = ["small", "big", "other"];
const NARROW: &str = "narrow";
const WIDE: &str = "wide";
const IN_NARROW: u64 = 8;
const EACH_IN_NARROW: u64 = 4;
const OF_SMALL: u64 = 3;

/// All that are set.
const LIMITS: [Limit; 5] = [
    Limit { queue: Some(NARROW), tenant: None, most: IN_NARROW },
    Limit { queue: None, tenant: Some("small"), most: OF_SMALL },
    Limit { queue: Some(NARROW), tenant: Some("small"), most: EACH_IN_NARROW },
    Limit { queue: Some(NARROW), tenant: Some("big"), most: EACH_IN_NARROW },
    Limit { queue: Some(NARROW), tenant: Some("other"), most: EACH_IN_NARROW },
];

/// Callers of each tenant, and how long one waits between two jobs.
const CALLERS: usize = 2;
const PACE: Duration = Duration::from_millis(110);
const AGAIN: Duration = Duration::from_millis(100);

/// The clients of a run, and what they were told.
pub(super) struct Load {
    client: Client,
    url: Mutex<String>,
    calls: Mutex<Vec<Call>>,
    next: AtomicU64,
}

impl Load {
    pub(super) fn new() -> Result<Self> {
        let (url, calls) = (Mutex::default(), Mutex::default());
        Ok(Self { client: client()?, url, calls, next: AtomicU64::new(0) })
    }

    /// From now on the API is there.
    pub(super) fn moved(&self, url: String) {
        *self.url.lock().unwrap_or_else(PoisonError::into_inner) = url;
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.url.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, invoked_at: i64, known: Known, op: Op) {
        let call = Call { invoked_at, returned_at: now_us(), known, op };
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).push(call);
    }

    pub(super) async fn set_limits(&self) -> Result<()> {
        let began = now_us();
        let queue = json!({"max_running": IN_NARROW, "max_running_per_tenant": EACH_IN_NARROW});
        self.put(&format!("/v1/admin/queues/{NARROW}"), &queue).await?;
        let set = Op::SetQueue {
            queue: NARROW.to_owned(),
            max_running: Some(IN_NARROW),
            max_running_per_tenant: Some(EACH_IN_NARROW),
            rate: None,
            paused: false,
            paused_until: None,
        };
        self.note(began, Known::Ok, set);
        self.put("/v1/admin/tenants/small", &json!({"max_running": OF_SMALL})).await?;
        let (tenant, max_running) = ("small".to_owned(), Some(OF_SMALL));
        self.note(began, Known::Ok, Op::SetTenant { tenant, max_running, paused: false });
        Ok(())
    }

    async fn put(&self, path: &str, body: &Value) -> Result<()> {
        let answer = self.client.put(self.url(path)).json(body).send().await?;
        ensure!(answer.status().is_success(), "PUT {path}: {}", answer.text().await?);
        Ok(())
    }

    /// Begins to submit, until it is over. Each job is asked for until it is acknowledged.
    pub(super) fn start(self: &Arc<Self>, over: &watch::Receiver<bool>) -> Vec<JoinHandle<Result<()>>> {
        let caller = |index: usize| {
            let (load, over) = (Arc::clone(self), over.clone());
            tokio::spawn(async move {
                while !*over.borrow() {
                    load.submit(TENANTS[index % TENANTS.len()]).await?;
                    pause(PACE).await;
                }
                Ok(())
            })
        };
        (0..CALLERS * TENANTS.len()).map(caller).collect()
    }

    async fn submit(&self, tenant: &str) -> Result<()> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        // Most go where all limits meet. How long they take differs from job to job.
        let queue = if number.is_multiple_of(4) { WIDE } else { NARROW };
        let body = json!({
            "kind": "work",
            "queue": queue,
            "payload": serde_json::from_str::<Value>(&payload_of(u32::try_from(number)?))?,
            "target": {"type": "builtin", "name": "sleep", "ms": 20 + number * 7 % 200},
            "retry_policy": {"max_attempts": 100, "strategy": "fixed", "base_delay_ms": 10},
            "idempotency_key": format!("key-{number}"),
        });
        while !self.once(tenant, number, &body).await? {
            pause(AGAIN).await;
        }
        Ok(())
    }

    /// Whether it was acknowledged.
    async fn once(&self, tenant: &str, number: u64, body: &Value) -> Result<bool> {
        let invoked_at = now_us();
        let request = self.client.post(self.url("/v1/jobs")).header("taskflow-tenant", tenant).json(body);
        let (mut known, mut job) = (Known::Unknown, None);
        if let Ok(answer) = request.send().await {
            let status = answer.status();
            if let (true, Ok(told)) = (status.is_success(), answer.json::<Value>().await) {
                job = told["id"].as_str().map(str::to_owned);
                known = Known::Ok;
            }
            // The first request with this key may still be under way.
            let refused = status.is_client_error() && status != 409;
            ensure!(!refused, "POST /v1/jobs: {status}");
        }
        let (marker, key) = (format!("m-{number}"), Some(format!("key-{number}")));
        self.note(
            invoked_at,
            known,
            Op::Submit { tenant: tenant.to_owned(), marker, key, run_at: None, job },
        );
        Ok(known == Known::Ok)
    }
}

/// For each limit, how many jobs ran under it at most.
pub(super) fn peaks(history: &History) -> Vec<(String, usize, u64)> {
    let counts = |limit: &Limit| {
        let under = history.jobs.iter().filter(|job| {
            limit.queue.is_none_or(|queue| job.queue == queue)
                && limit.tenant.is_none_or(|tenant| job.tenant == tenant)
        });
        let under: BTreeSet<&str> = under.map(|job| job.job.as_str()).collect();
        let (mut running, mut most) = (BTreeSet::new(), 0);
        for lease in &history.leases {
            match lease {
                LeaseRow::Grant { job, token, .. } if under.contains(job.as_str()) => {
                    running.insert((job, token));
                }
                LeaseRow::End { job, token, .. } => {
                    running.remove(&(job, token));
                }
                _ => {}
            }
            most = running.len().max(most);
        }
        let name = [limit.tenant, limit.queue].into_iter().flatten().collect::<Vec<_>>().join(" in ");
        (name, most, limit.most)
    };
    LIMITS.iter().map(counts).collect()
}
