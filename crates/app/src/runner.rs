//! The loops that keep the engine going, supervised.
//!
//! A loop calls one step that takes no input and may be repeated at any time by
//! any number of processes. It runs again when its time has come, when there is
//! news that concerns it, or at once while the step says that there is more. A
//! step that fails is tried again, less and less often, until it succeeds: a
//! database that comes back finds every loop waiting for it.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use metrics::counter;
use taskflow_adapters::telemetry::LOOP_RUNS;
use taskflow_application::maintain::Step;
use taskflow_application::ports::{Clock, StoreResult};
use taskflow_domain::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The first wait after a step that failed; it doubles up to [`LONGEST_BACKOFF`].
const FIRST_BACKOFF: Duration = Duration::from_millis(200);
/// The longest wait after a step that failed: a database that is back is noticed within it.
const LONGEST_BACKOFF: Duration = Duration::from_secs(2);

/// How a loop is doing.
#[derive(Clone, Debug)]
pub(crate) struct LoopStatus {
    /// When its last step began.
    pub(crate) last_run: Timestamp,
    /// How long that took.
    pub(crate) took: Duration,
    /// Why it failed, if it did.
    pub(crate) error: Option<String>,
}

/// When a loop runs besides the times that its step asks for.
pub(crate) struct Rhythm {
    /// At least this often.
    pub(crate) period: Duration,
    /// At each piece of news.
    pub(crate) news: Option<watch::Receiver<u64>>,
}

/// The loops of this process.
#[derive(Clone)]
pub(crate) struct Runner {
    clock: Arc<dyn Clock>,
    shutdown: CancellationToken,
    tasks: TaskTracker,
    status: Arc<Mutex<BTreeMap<&'static str, LoopStatus>>>,
}

impl Runner {
    pub(crate) fn new(clock: Arc<dyn Clock>, shutdown: CancellationToken) -> Self {
        Self { clock, shutdown, tasks: TaskTracker::new(), status: Arc::default() }
    }

    /// How the loops are doing, by name.
    pub(crate) fn status(&self) -> BTreeMap<&'static str, LoopStatus> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Starts a loop.
    pub(crate) fn start<F, S>(&self, name: &'static str, rhythm: Rhythm, step: S)
    where
        F: Future<Output = StoreResult<Step>> + Send,
        S: Fn() -> F + Send + Sync + 'static,
    {
        let runner = self.clone();
        self.tasks.spawn(async move {
            let work = runner.turn(name, rhythm, step);
            tokio::select! {
                () = runner.shutdown.cancelled() => {}
                () = work => {}
            }
        });
    }

    /// Waits until all loops have ended, which they do at shutdown. A step that
    /// was under way is abandoned; what it had sent to the database is complete
    /// or undone there.
    pub(crate) async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    async fn turn<F, S>(&self, name: &'static str, mut rhythm: Rhythm, step: S)
    where
        F: Future<Output = StoreResult<Step>> + Send,
        S: Fn() -> F,
    {
        let mut backoff = FIRST_BACKOFF;
        loop {
            if let Some(news) = &mut rhythm.news {
                news.borrow_and_update();
            }
            let last_run = self.clock.now();
            let begun = Instant::now();
            let outcome = step().await;
            let error = outcome.as_ref().err().map(ToString::to_string);
            self.note(name, LoopStatus { last_run, took: begun.elapsed(), error });
            match outcome {
                Ok(Step { more: true, .. }) => backoff = FIRST_BACKOFF,
                Ok(Step { next, .. }) => {
                    backoff = FIRST_BACKOFF;
                    self.rest(&mut rhythm, next).await;
                }
                Err(_) => {
                    tokio::time::sleep(backoff).await;
                    backoff = (backoff * 2).min(LONGEST_BACKOFF);
                }
            }
        }
    }

    fn note(&self, name: &'static str, status: LoopStatus) {
        let outcome = if status.error.is_some() { "error" } else { "ok" };
        counter!(LOOP_RUNS, "loop" => name, "outcome" => outcome).increment(1);
        let mut all = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        let before = all.insert(name, status.clone()).and_then(|status| status.error);
        // Once when it begins and once when it ends, not at every try.
        match (before, status.error) {
            (None, Some(error)) => tracing::error!(loop.name = name, error, "a loop fails and tries again"),
            (Some(_), None) => tracing::info!(loop.name = name, "a loop works again"),
            _ => {}
        }
    }

    /// Waits for the next time, or for news.
    async fn rest(&self, rhythm: &mut Rhythm, next: Option<Timestamp>) {
        let until_next = next.map(|next| next.micros_since(self.clock.now()).max(0));
        let until_next = until_next.map(|micros| Duration::from_micros(micros.unsigned_abs()));
        let wait = until_next.unwrap_or(rhythm.period).min(rhythm.period);
        match &mut rhythm.news {
            None => tokio::time::sleep(wait).await,
            Some(news) => {
                // A closed channel means that the process is ending: the time alone counts then.
                if let Ok(Err(_)) = tokio::time::timeout(wait, news.changed()).await {
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }
}
