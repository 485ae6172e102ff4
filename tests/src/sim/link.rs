//! The way of one process to the store: it delays, cuts and forgets, and it
//! writes down what was committed, in the order of the commits.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use taskflow_application::ports::{StoreError, StoreResult, Stores};
use tokio_util::sync::CancellationToken;

use super::log::Log;
use super::plan::Process;
use super::rng::Rng;
use super::world::Sim;
use crate::planted::Bug;

/// The way of one process to the store.
pub(super) struct Link {
    pub(super) sim: Arc<Sim>,
    process: Process,
    life: CancellationToken,
    rng: Mutex<Rng>,
}

impl Link {
    /// The stores as `process` reaches them while `life` lasts.
    pub(super) fn stores(
        sim: &Arc<Sim>,
        process: Process,
        generation: u64,
        life: CancellationToken,
    ) -> Stores {
        let stream = 1_000 + process as u64 * 100 + generation;
        let rng = Mutex::new(Rng::new(sim.plan.seed, stream));
        let link = Arc::new(Self { sim: Arc::clone(sim), process, life, rng });
        Stores {
            jobs: link.clone(),
            reader: link.clone(),
            queues: link.clone(),
            tenants: link.clone(),
            workers: link.clone(),
            rules: link.clone(),
            events: link,
            // Keys, the audit and figures are about what happened, and decide nothing.
            ..sim.stores.clone()
        }
    }

    /// One call: the way there, the step itself, the way back.
    pub(super) async fn pass<T>(
        &self,
        op: &'static str,
        apply: impl Future<Output = StoreResult<T>> + Send,
        note: impl FnOnce(&mut Log, &T, i64) -> String + Send,
    ) -> StoreResult<T> {
        let (there, back, drop_before, drop_after) = self.fate();
        tokio::time::sleep(Duration::from_millis(there)).await;
        self.reaches(op)?;
        if drop_before {
            self.sim.log().count("calls lost before the store");
            return Err(away(op));
        }
        let answer = apply.await?;
        self.written_down(op, &answer, note);
        tokio::time::sleep(Duration::from_millis(back)).await;
        self.reaches(op)?;
        if drop_after {
            self.sim.log().count("answers lost after the store");
            return Err(if self.sim.bug == Some(Bug::UnknownToldAsFailed) {
                StoreError::Rejected(op.into())
            } else {
                away(op)
            });
        }
        Ok(answer)
    }

    fn fate(&self) -> (u64, u64, bool, bool) {
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        let most = self.sim.slowness(self.process);
        let (there, back) = (rng.between(0, most), rng.between(0, most.min(5)));
        let (there, back) = if rng.percent(50) { (there, back) } else { (back, there) };
        let unsure = rng.percent(self.sim.unsureness(self.process));
        let before = rng.percent(50);
        (there, back, unsure && before, unsure && !before)
    }

    fn reaches(&self, op: &'static str) -> StoreResult<()> {
        if self.life.is_cancelled() || self.sim.store_is_away(self.process) {
            return Err(away(op));
        }
        Ok(())
    }

    fn written_down<T>(&self, op: &'static str, answer: &T, note: impl FnOnce(&mut Log, &T, i64) -> String) {
        let now = self.sim.now_us();
        let mut log = self.sim.log();
        let what = note(&mut log, answer, now);
        log.trace.add(format!("{now} p{} {op} {what}", self.process));
    }
}

fn away(op: &str) -> StoreError {
    StoreError::Unavailable(format!("no answer to {op}"))
}
