//! What jobs call: a server that takes its time, and writes down who called.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use serde_json::{Value, json};
use taskflow_checker::history::Effect;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use super::{now_us, pause};

/// The server. It ends when this is dropped.
#[derive(Debug)]
pub struct Target {
    url: String,
    seen: Seen,
    _server: AbortOnDropHandle<()>,
}

#[derive(Clone, Debug)]
struct Seen {
    effects: Arc<Mutex<Vec<Effect>>>,
    takes: Duration,
}

impl Target {
    /// One that takes so long for each call.
    pub async fn start(takes: Duration) -> Result<Self> {
        let seen = Seen { effects: Arc::default(), takes };
        let router = Router::new().route("/work", axum::routing::any(answer)).with_state(seen.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/work", listener.local_addr()?);
        let server = AbortOnDropHandle::new(tokio::spawn(async move {
            // It serves until it is aborted.
            let _ = axum::serve(listener, router).await;
        }));
        Ok(Self { url, seen, _server: server })
    }

    /// A job that calls it.
    pub fn job(&self) -> Value {
        json!({"kind": "call", "target": {"type": "http", "url": self.url},
               "retry_policy": {"max_attempts": 10, "strategy": "fixed", "base_delay_ms": 50, "jitter": "none"}})
    }

    /// The calls so far.
    pub fn effects(&self) -> Vec<Effect> {
        self.seen.effects.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn answer(State(seen): State<Seen>, headers: HeaderMap) -> &'static str {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let effect = Effect {
        job: header("taskflow-job-id").to_owned(),
        tenant: "default".to_owned(),
        attempt: header("taskflow-attempt").parse().unwrap_or_default(),
        token: header("taskflow-lease-token").to_owned(),
        began_at: now_us(),
        ended_at: None,
    };
    let place = {
        let mut effects = seen.effects.lock().unwrap_or_else(PoisonError::into_inner);
        effects.push(effect);
        effects.len() - 1
    };
    pause(seen.takes).await;
    seen.effects.lock().unwrap_or_else(PoisonError::into_inner)[place].ended_at = Some(now_us());
    "{}"
}
