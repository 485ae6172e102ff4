//! One bounded tick, for platforms without processes that run on.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use taskflow_domain::Timestamp;

use super::Automation;
use crate::maintain::{Maintain, Step};
use crate::ports::StoreResult;

/// Steps of each kind in one pulse.
const STEPS: u32 = 20;

/// What runs jobs within a pulse.
#[async_trait]
pub trait PulseWorker: Send + Sync {
    /// Claims and runs due jobs of the engine's own worker, at most `jobs`, and
    /// waits for their ends; it claims none after `begins`. What runs then is
    /// handed back, unspent, before another `again` has passed.
    async fn run(&self, jobs: u32, begins: Duration, again: Duration) -> StoreResult<Ran>;
}

/// What was run within a pulse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ran {
    /// Jobs that were begun.
    pub jobs: u32,
    /// Whether others may be due: false only if none was found when all of these
    /// had ended.
    pub more: bool,
}

/// What a pulse did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pulsed {
    /// Rules that fired by the clock.
    pub rules: u32,
    /// Events that were dispatched.
    pub events: u32,
    /// Firings of rules that act for many tenants.
    pub fan_out: u32,
    /// Scheduled jobs that became due.
    pub promoted: u32,
    /// Jobs that were run.
    pub jobs: u32,
    /// Whether something due may be left, a job that was handed back included.
    pub more: bool,
}

/// One bounded tick.
#[derive(Clone)]
pub struct Pulse {
    automation: Automation,
    maintain: Arc<Maintain>,
    worker: Arc<dyn PulseWorker>,
}

impl Pulse {
    /// A pulse over these loops.
    pub fn new(automation: Automation, maintain: Arc<Maintain>, worker: Arc<dyn PulseWorker>) -> Self {
        Self { automation, maintain, worker }
    }

    /// Keeps contact with the database between two pulses, so that the next one may take
    /// back leases.
    pub async fn keep_contact(&self) -> StoreResult<Step> {
        self.maintain.keep_contact().await
    }

    /// Fires what is due, dispatches what happened, and runs at most `jobs` due
    /// jobs, to their ends. Nothing is begun after `budget`, and all of it takes at
    /// most about twice as long. Safe beside any number of runners.
    pub async fn run(&self, jobs: u32, budget: Duration) -> StoreResult<Pulsed> {
        let clock = &self.automation.world.clock;
        let budget_ms = i64::try_from(budget.as_millis()).unwrap_or(i64::MAX);
        let end = clock.now().plus_millis(budget_ms);
        let mut pulsed = Pulsed::default();
        self.maintain.reap().await?;
        for _ in 0..STEPS {
            pulsed.more = self.round(&mut pulsed, end).await?;
            if !pulsed.more || clock.now() >= end {
                break;
            }
        }
        let left_us = u64::try_from(end.micros_since(clock.now())).unwrap_or(0);
        if jobs > 0 && left_us > 0 {
            let ran = self.worker.run(jobs, Duration::from_micros(left_us), budget).await?;
            (pulsed.jobs, pulsed.more) = (ran.jobs, pulsed.more || ran.more);
            let before = pulsed;
            // What the jobs' ends bring about, and what became due meanwhile, begins
            // in this pulse already. Its jobs are left to the next one.
            let more = if clock.now() < end {
                self.round(&mut pulsed, end).await?
            } else {
                pulsed.events += self.automation.dispatch().await?.jobs;
                true
            };
            pulsed.more |= more || pulsed != before;
        } else {
            // There was no time to look for jobs.
            pulsed.more |= jobs > 0;
        }
        Ok(pulsed)
    }

    /// One step of each kind, as far as the time goes. Answers whether there is more to do.
    async fn round(&self, pulsed: &mut Pulsed, end: Timestamp) -> StoreResult<bool> {
        let over = || self.automation.world.clock.now() >= end;
        let tick = self.automation.tick().await?;
        pulsed.rules += tick.jobs;
        if over() {
            return Ok(true);
        }
        let dispatch = self.automation.dispatch().await?;
        pulsed.events += dispatch.jobs;
        if over() {
            return Ok(true);
        }
        let (fan_out, promote) = (self.automation.fan_out().await?, self.maintain.promote().await?);
        pulsed.fan_out += fan_out.jobs;
        pulsed.promoted += promote.jobs;
        Ok(tick.more || dispatch.more || fan_out.more || promote.more)
    }
}
