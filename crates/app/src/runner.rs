//! The loops that keep the engine going, supervised.
//!
//! A loop calls one step that takes no input and may be repeated at any time by
//! any number of processes. It runs again when its time has come, when there is
//! news that concerns it, or at once while the step says that there is more. A
//! step that fails is tried again, less and less often, until it succeeds: a
//! database that comes back finds every loop waiting for it.

use std::collections::BTreeMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use metrics::counter;
use taskflow_adapters::telemetry::LOOP_RUNS;
use taskflow_application::maintain::Step;
use taskflow_application::ports::{Clock, LoopStatus, StoreError, StoreResult};
use taskflow_domain::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The first wait after a step that failed; it doubles up to [`LONGEST_BACKOFF`].
const FIRST_BACKOFF: Duration = Duration::from_millis(200);
/// The longest wait after a step that failed: a database that is back is noticed within it.
const LONGEST_BACKOFF: Duration = Duration::from_secs(2);

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
    /// What each loop did last.
    loops: Arc<Mutex<BTreeMap<&'static str, LoopStatus>>>,
}

impl Runner {
    pub(crate) fn new(clock: Arc<dyn Clock>, shutdown: CancellationToken) -> Self {
        Self { clock, shutdown, tasks: TaskTracker::new(), loops: Arc::default() }
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
            let begun = self.begin(name);
            let outcome = guarded(step()).await;
            self.note(name, begun, outcome.as_ref().err());
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

    /// What each loop of this process did last, by name.
    pub(crate) fn loops(&self) -> Vec<LoopStatus> {
        self.status().values().cloned().collect()
    }

    fn status(&self) -> MutexGuard<'_, BTreeMap<&'static str, LoopStatus>> {
        self.loops.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, name: &'static str) -> Timestamp {
        let now = self.clock.now();
        let mut loops = self.status();
        let status = loops.entry(name).or_insert_with(|| LoopStatus {
            name: name.to_owned(),
            runs: 0,
            failures: 0,
            last_started_us: None,
            last_took_us: None,
            error: None,
        });
        status.last_started_us = Some(now.micros());
        now
    }

    /// The log has the whole failure, and everybody else its sort.
    fn note(&self, name: &'static str, begun: Timestamp, failure: Option<&StoreError>) {
        let outcome = if failure.is_some() { "error" } else { "ok" };
        counter!(LOOP_RUNS, "loop" => name, "outcome" => outcome).increment(1);
        let took_us = self.clock.now().micros_since(begun).max(0);
        let mut loops = self.status();
        let Some(status) = loops.get_mut(name) else { return };
        status.runs += 1;
        status.failures += u64::from(failure.is_some());
        status.last_took_us = Some(took_us);
        // Told once when it begins and once when it ends, not at every try.
        match (failure, &status.error) {
            (Some(error), None) => {
                tracing::error!(loop.name = name, %error, "a loop fails and tries again");
            }
            (None, Some(_)) => tracing::info!(loop.name = name, "a loop works again"),
            _ => {}
        }
        status.error = failure.map(|error| error.cause().to_owned());
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

/// A step that panics is one that failed: the next one may do better, and the
/// other loops are not its concern. What a step shares it shares through the
/// database and through values that are replaced as a whole.
async fn guarded(step: impl Future<Output = StoreResult<Step>>) -> StoreResult<Step> {
    let outcome = AssertUnwindSafe(step).catch_unwind().await;
    outcome.unwrap_or_else(|_| Err(StoreError::Rejected("the step panicked".to_owned())))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use taskflow_adapters::system::SystemClock;

    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    struct Fixture {
        runner: Runner,
        runs: Arc<AtomicUsize>,
        shutdown: CancellationToken,
    }

    fn fixture() -> Fixture {
        let shutdown = CancellationToken::new();
        let runner = Runner::new(Arc::new(SystemClock::new()), shutdown.clone());
        Fixture { runner, runs: Arc::default(), shutdown }
    }

    impl Fixture {
        /// Starts a loop whose runs answer in turn by their number, counted from 0.
        fn start(&self, rhythm: Rhythm, step: fn(usize) -> StoreResult<Step>) {
            let runs = Arc::clone(&self.runs);
            self.runner.start("tested", rhythm, move || {
                let number = runs.fetch_add(1, Ordering::SeqCst);
                async move { step(number) }
            });
        }

        fn failure(&self) -> Option<String> {
            self.runner.loops().into_iter().find(|status| status.name == "tested")?.error
        }

        async fn runs_after(&self, wait: Duration) -> usize {
            tokio::time::sleep(wait).await;
            self.runs.load(Ordering::SeqCst)
        }
    }

    fn every(period: Duration) -> Rhythm {
        Rhythm { period, news: None }
    }

    #[tokio::test(start_paused = true)]
    async fn it_runs_at_its_period_and_again_while_there_is_more() {
        let fixture = fixture();
        fixture.start(every(HOUR), |number| Ok(Step { more: number < 2, ..Step::default() }));
        assert_eq!(fixture.runs_after(HOUR / 2).await, 3);
        assert_eq!(fixture.runs_after(HOUR).await, 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failing_step_is_tried_again_with_growing_waits() {
        let fixture = fixture();
        fixture.start(every(HOUR), |number| match number {
            0..5 => Err(StoreError::Unavailable("away".into())),
            5 => panic!("a fault in the program"),
            _ => Ok(Step::default()),
        });
        // 0.2 + 0.4 + 0.8 + 1.6 seconds of waiting, and then 2 each time.
        assert_eq!(fixture.runs_after(Duration::from_millis(2_900)).await, 4);
        assert_eq!(fixture.failure().as_deref(), Some("the database is unavailable"));
        assert_eq!(fixture.runs_after(Duration::from_secs(10)).await, 7);
        assert_eq!(fixture.failure(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn news_wakes_it() {
        let fixture = fixture();
        let (tell, news) = watch::channel(0);
        fixture.start(Rhythm { period: HOUR, news: Some(news) }, |_| Ok(Step::default()));
        assert_eq!(fixture.runs_after(Duration::from_secs(1)).await, 1);
        tell.send_modify(|count| *count += 1);
        assert_eq!(fixture.runs_after(Duration::from_millis(1)).await, 2);
        drop(tell);
        assert_eq!(fixture.runs_after(3 * HOUR).await, 4, "without news the period counts");
    }

    #[tokio::test(start_paused = true)]
    async fn loops_end_at_shutdown() {
        let fixture = fixture();
        fixture.start(every(HOUR), |_| Ok(Step::default()));
        fixture.runs_after(Duration::from_secs(1)).await;
        fixture.shutdown.cancel();
        fixture.runner.ended().await;
        assert_eq!(fixture.runs_after(2 * HOUR).await, 1);
    }
}
