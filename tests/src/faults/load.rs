//! Clients that submit jobs for as long as they are let, and write down what
//! they asked for and what they were told.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use taskflow_checker::history::{Call, Known, Op};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::client::Client;
use super::{now_us, pause};

/// How a load goes about its work.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Clients at the same time. Every second one gives its jobs a key, and
    /// repeats a request until it knows what became of it.
    pub callers: usize,
    /// Between two requests of one client.
    pub pace: Duration,
    /// What is submitted, but for the payload.
    pub job: Value,
    /// Fills the payload up to so many bytes.
    pub payload: usize,
}

impl Default for Plan {
    fn default() -> Self {
        Self { callers: 6, pace: Duration::from_millis(5), job: noop(), payload: 0 }
    }
}

/// A job that does nothing.
pub fn noop() -> Value {
    json!({"kind": "noop", "target": {"type": "builtin", "name": "noop"}})
}

/// Clients at work.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    callers: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    client: Client,
    plan: Plan,
    calls: Mutex<Vec<Call>>,
    /// How often each status was answered; 0 for no answer.
    answers: Mutex<BTreeMap<u16, u64>>,
    accepted: watch::Sender<u64>,
    refused: watch::Sender<u64>,
    next: AtomicU64,
    over: AtomicBool,
}

impl Load {
    /// Begins.
    pub fn start(client: &Client, plan: Plan) -> Self {
        // Names differ between the loads of one run.
        static LOADS: AtomicU64 = AtomicU64::new(0);
        let first = LOADS.fetch_add(1, Ordering::Relaxed) * 10_000_000;
        let callers = plan.callers;
        let shared = Arc::new(Shared {
            client: client.clone(),
            plan,
            calls: Mutex::default(),
            answers: Mutex::default(),
            accepted: watch::channel(0).0,
            refused: watch::channel(0).0,
            next: AtomicU64::new(first),
            over: AtomicBool::new(false),
        });
        let callers = (0..callers).map(|number| tokio::spawn(call(Arc::clone(&shared), number % 2 == 1)));
        Self { callers: callers.collect(), shared }
    }

    /// How many jobs were acknowledged so far.
    pub fn accepted(&self) -> u64 {
        *self.shared.accepted.borrow()
    }

    /// How many requests were not.
    pub fn refused(&self) -> u64 {
        *self.shared.refused.borrow()
    }

    /// How often each status was answered so far; 0 means no answer.
    pub fn answers(&self) -> BTreeMap<u16, u64> {
        self.shared.answers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What was asked for and answered so far.
    pub fn calls(&self) -> Vec<Call> {
        self.shared.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until so many more are acknowledged.
    pub async fn accepts(&self, more: u64, patience: Duration) -> Result<()> {
        let until = self.accepted() + more;
        let mut seen = self.shared.accepted.subscribe();
        let waited = tokio::time::timeout(patience, seen.wait_for(|accepted| *accepted >= until)).await;
        waited.with_context(|| format!("{more} more jobs were not accepted: {:?}", self.answers()))??;
        Ok(())
    }

    /// Waits until so many more are refused.
    pub async fn refuses(&self, more: u64, patience: Duration) -> Result<()> {
        let until = self.refused() + more;
        let mut seen = self.shared.refused.subscribe();
        let waited = tokio::time::timeout(patience, seen.wait_for(|refused| *refused >= until)).await;
        waited.with_context(|| format!("{more} more requests were not refused: {:?}", self.answers()))??;
        Ok(())
    }

    /// Ends, and tells what was asked for and answered.
    pub async fn finish(self) -> Result<Vec<Call>> {
        self.shared.over.store(true, Ordering::Relaxed);
        for caller in self.callers {
            caller.await?;
        }
        Ok(std::mem::take(&mut *self.shared.calls.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// One client.
async fn call(shared: Arc<Shared>, with_key: bool) {
    while !shared.over.load(Ordering::Relaxed) {
        let number = shared.next.fetch_add(1, Ordering::Relaxed);
        let marker = format!("m-{number}");
        let key = with_key.then_some(marker.as_str());
        while !once(&shared, number, &marker, key).await {
            if key.is_none() || shared.over.load(Ordering::Relaxed) {
                break;
            }
            pause(Duration::from_millis(50)).await;
        }
        if !shared.plan.pace.is_zero() {
            pause(shared.plan.pace).await;
        }
    }
}

/// One request; whether its outcome is known now.
async fn once(shared: &Shared, number: u64, marker: &str, key: Option<&str>) -> bool {
    let mut body = shared.plan.job.clone();
    body["payload"] = json!({"number": number, "padding": "x".repeat(shared.plan.payload)});
    let invoked_at = now_us();
    let answer = shared.client.post("/v1/jobs", key, &body).await;
    let status = answer.as_ref().map_or(0, |(status, _)| *status);
    let job = answer.ok().and_then(|(_, body)| body["id"].as_str().map(str::to_owned));
    let known = match status {
        200 | 201 => Known::Ok,
        // The first request with this key may still be carried out.
        409 => Known::Unknown,
        400..=499 => Known::Fail,
        _ => Known::Unknown,
    };
    *shared.answers.lock().unwrap_or_else(PoisonError::into_inner).entry(status).or_default() += 1;
    let op = Op::Submit {
        tenant: "default".to_owned(),
        marker: marker.to_owned(),
        key: key.map(str::to_owned),
        run_at: None,
        job: job.filter(|_| known == Known::Ok),
    };
    let call = Call { invoked_at, returned_at: now_us(), known, op };
    shared.calls.lock().unwrap_or_else(PoisonError::into_inner).push(call);
    if known == Known::Ok {
        shared.accepted.send_modify(|accepted| *accepted += 1);
    } else {
        shared.refused.send_modify(|refused| *refused += 1);
    }
    known != Known::Unknown
}
