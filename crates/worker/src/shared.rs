//! What the loops of one worker share.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, watch};

use crate::config::WorkerConfig;
use crate::control::Why;
use crate::executor::Executor;
use crate::held::HeldTable;
use crate::source::{Finished, LeaseSource};
use crate::stats::WorkerStats;

/// Where ended attempts go: in chunks, so that what one claim brought and ended
/// at once is reported at once.
pub(crate) type Reports = mpsc::UnboundedSender<Vec<Finished>>;

/// What the loops of one worker share.
pub(crate) struct Shared {
    pub(crate) config: WorkerConfig,
    pub(crate) source: Arc<dyn LeaseSource>,
    pub(crate) executor: Arc<dyn Executor>,
    /// Where executions are driven.
    pub(crate) executions: Handle,
    pub(crate) stats: Arc<WorkerStats>,
    pub(crate) lease: Duration,
    /// Whether the worker may believe in its leases, and so may claim.
    pub(crate) tenured: watch::Sender<bool>,
    held: Mutex<HeldTable>,
    changed: Notify,
}

impl Shared {
    pub(crate) fn new(
        config: WorkerConfig,
        source: Arc<dyn LeaseSource>,
        executor: Arc<dyn Executor>,
        executions: Handle,
        stats: Arc<WorkerStats>,
    ) -> Self {
        let lease = source.lease();
        Self {
            config,
            source,
            executor,
            executions,
            stats,
            lease,
            tenured: watch::Sender::new(false),
            held: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// The leases that the worker knows. Never held across a wait.
    pub(crate) fn held(&self) -> MutexGuard<'_, HeldTable> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that slots or room for reports became free.
    pub(crate) fn changed(&self) {
        self.changed.notify_waiters();
    }

    /// Waits until `check` gives a value; looks again whenever slots or room
    /// became free.
    pub(crate) async fn until<T>(&self, mut check: impl FnMut() -> Option<T>) -> T {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Registered before the look, so that no change falls in between.
            changed.as_mut().enable();
            if let Some(value) = check() {
                return value;
            }
            changed.await;
        }
    }

    /// Waits until nothing runs.
    pub(crate) async fn idle(&self) {
        self.until(|| (self.stats.running.load(Ordering::Relaxed) == 0).then_some(())).await;
    }

    /// Gives up all leases: stops everything and drops every report.
    pub(crate) fn lose_all(&self) {
        let lost = self.held().lose_all();
        for control in lost {
            control.stop(Why::Lost);
        }
    }
}
