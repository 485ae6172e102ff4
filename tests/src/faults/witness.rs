//! What the jobs of a trial call: a server that behaves as it is told by the
//! path, and keeps a log of who ran when.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use futures_util::stream::unfold;
use serde_json::{Value, json};
use taskflow_checker::history::Effect;
use taskflow_domain::TenantSlug;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::{now_us, pause};

/// How long `slow` takes.
const SLOW: Duration = Duration::from_millis(150);

/// The server. It ends when this is dropped.
#[derive(Debug)]
pub struct Witness {
    url: String,
    shared: Arc<Shared>,
    _server: AbortOnDropHandle<()>,
}

#[derive(Debug)]
struct Shared {
    effects: Mutex<Vec<Effect>>,
    /// How many calls there were, of all and of `/die`.
    calls: watch::Sender<usize>,
    deaths: watch::Sender<usize>,
    /// Whether `/hold` may answer.
    open: watch::Sender<bool>,
}

impl Shared {
    fn effects(&self) -> MutexGuard<'_, Vec<Effect>> {
        self.effects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call under way; it ends when this is dropped, however that comes.
struct Entry(Arc<Shared>, usize);

impl Drop for Entry {
    fn drop(&mut self) {
        let now = now_us();
        if let Some(effect) = self.0.effects().get_mut(self.1) {
            effect.ended_at = Some(now);
        }
    }
}

impl Witness {
    /// Starts it.
    pub async fn start() -> Result<Self> {
        let shared = Arc::new(Shared {
            effects: Mutex::default(),
            calls: watch::channel(0).0,
            deaths: watch::channel(0).0,
            open: watch::channel(false).0,
        });
        let router =
            Router::new().route("/{behaviour}", axum::routing::any(answer)).with_state(Arc::clone(&shared));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let server = AbortOnDropHandle::new(tokio::spawn(async move {
            // It serves until it is aborted.
            let _ = axum::serve(listener, router).await;
        }));
        Ok(Self { url, shared, _server: server })
    }

    /// A job that calls where it behaves so: `ok`, `hold` (answers when opened),
    /// `slow`, `silent`, `endless`, `trickle`, `die`.
    pub fn job(&self, behaviour: &str) -> Value {
        json!({
            "kind": behaviour,
            "target": {"type": "http", "url": format!("{}/{behaviour}", self.url)},
            "retry_policy": {"max_attempts": 10, "strategy": "fixed", "base_delay_ms": 10, "jitter": "none"},
        })
    }

    /// Waits until there were so many calls.
    pub async fn called(&self, times: usize) -> Result<()> {
        self.shared.calls.subscribe().wait_for(|count| *count >= times).await?;
        Ok(())
    }

    /// How many calls of `/die` there were, to be waited for.
    pub fn deaths(&self) -> watch::Receiver<usize> {
        self.shared.deaths.subscribe()
    }

    /// Lets `hold` answer from now on.
    pub fn open(&self) {
        self.shared.open.send_replace(true);
    }

    /// Its log.
    pub fn effects(&self) -> Vec<Effect> {
        self.shared.effects().clone()
    }
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    Path(behaviour): Path<String>,
    headers: HeaderMap,
) -> Body {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("").to_owned();
    let effect = Effect {
        job: header("taskflow-job-id"),
        tenant: TenantSlug::fallback().as_str().into(),
        attempt: header("taskflow-attempt").parse().unwrap_or_default(),
        token: header("taskflow-lease-token"),
        began_at: now_us(),
        ended_at: None,
    };
    let entry = {
        let mut effects = shared.effects();
        effects.push(effect);
        Entry(Arc::clone(&shared), effects.len() - 1)
    };
    shared.calls.send_modify(|count| *count += 1);
    match behaviour.as_str() {
        "silent" => std::future::pending().await,
        "die" => {
            shared.deaths.send_modify(|count| *count += 1);
            std::future::pending().await
        }
        "hold" => {
            // The sender lives as long as this state.
            let _ = shared.open.subscribe().wait_for(|open| *open).await;
            Body::from(r#"{"ok":true}"#)
        }
        "endless" => endless(vec![b'x'; 64 * 1024], Duration::ZERO, entry),
        "slow" => {
            pause(SLOW).await;
            Body::from(r#"{"ok":true}"#)
        }
        "trickle" => endless(vec![b'x'], Duration::from_millis(50), entry),
        _ => Body::from(r#"{"ok":true}"#),
    }
}

/// A body that never ends.
fn endless(part: Vec<u8>, every: Duration, entry: Entry) -> Body {
    let part = Bytes::from(part);
    let parts = unfold((part, entry), move |(part, entry)| async move {
        if !every.is_zero() {
            pause(every).await;
        }
        Some((Ok::<_, std::convert::Infallible>(part.clone()), (part, entry)))
    });
    Body::from_stream(parts)
}
