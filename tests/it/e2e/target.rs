//! What jobs call: an HTTP server on loopback that behaves as it is told by the
//! path, and remembers who called.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use anyhow::Result;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// One call.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) job: String,
    pub(super) attempt: String,
    pub(super) token: String,
    pub(super) traceparent: String,
}

/// The server. It ends when this is dropped.
pub(super) struct Target {
    url: String,
    state: Shared,
    _server: AbortOnDropHandle<()>,
}

#[derive(Clone)]
struct Shared {
    calls: Arc<Mutex<Vec<Call>>>,
    /// How many calls there were.
    count: watch::Sender<usize>,
    /// Whether `/hold` may answer.
    open: watch::Sender<bool>,
}

impl Target {
    pub(super) async fn start() -> Result<Self> {
        let state =
            Shared { calls: Arc::default(), count: watch::channel(0).0, open: watch::channel(false).0 };
        let router =
            Router::new().route("/{behaviour}", axum::routing::any(answer)).with_state(state.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let server = AbortOnDropHandle::new(tokio::spawn(async move {
            // It serves until it is aborted.
            let _ = axum::serve(listener, router).await;
        }));
        Ok(Self { url, state, _server: server })
    }

    /// Where it behaves so: `ok`, `flaky` (fails twice for each job), `broken`,
    /// `missing`, `silent`, `hold` (answers when opened).
    pub(super) fn url(&self, behaviour: &str) -> String {
        format!("{}/{behaviour}", self.url)
    }

    pub(super) fn calls(&self) -> Vec<Call> {
        self.state.calls.lock().unwrap().clone()
    }

    /// How often each job called.
    pub(super) fn calls_by_job(&self) -> BTreeMap<String, usize> {
        let mut by_job = BTreeMap::new();
        for call in self.calls() {
            *by_job.entry(call.job).or_default() += 1;
        }
        by_job
    }

    /// Waits until there were so many calls.
    pub(super) async fn called(&self, times: usize) -> Result<()> {
        self.state.count.subscribe().wait_for(|count| *count >= times).await?;
        Ok(())
    }

    /// Lets `hold` answer from now on.
    pub(super) fn open(&self) {
        self.state.open.send_replace(true);
    }
}

async fn answer(
    State(state): State<Shared>,
    Path(behaviour): Path<String>,
    headers: HeaderMap,
) -> (StatusCode, &'static str) {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("").to_owned();
    let call = Call {
        job: header("taskflow-job-id"),
        attempt: header("taskflow-attempt"),
        token: header("taskflow-lease-token"),
        traceparent: header("traceparent"),
    };
    let tries = {
        let mut calls = state.calls.lock().unwrap();
        calls.push(call.clone());
        calls.iter().filter(|other| other.job == call.job).count()
    };
    state.count.send_modify(|count| *count += 1);
    match behaviour.as_str() {
        "flaky" if tries <= 2 => (StatusCode::SERVICE_UNAVAILABLE, "not yet"),
        "broken" => (StatusCode::INTERNAL_SERVER_ERROR, "broken"),
        "missing" => (StatusCode::NOT_FOUND, "nothing here"),
        "silent" => std::future::pending().await,
        "hold" => {
            // The sender lives as long as this state.
            let _ = state.open.subscribe().wait_for(|open| *open).await;
            (StatusCode::OK, r#"{"ok":true}"#)
        }
        _ => (StatusCode::OK, r#"{"ok":true}"#),
    }
}
