//! The workers, and what is done to them.

use std::time::Duration;

use anyhow::Result;
use tokio::time::Instant;

use super::{LEASE_MS, Plan};
use crate::faults::{pause, random};
use crate::process::{Launch, Process, Signal};

/// The workers of a run. Each has its place; who comes after a killed one takes it.
pub(super) struct Victims {
    workers: Vec<Process>,
    launch: Launch,
    /// Those that are frozen, and until when.
    frozen: Vec<(usize, Instant)>,
    chance: u64,
    every_ms: u64,
    counts: [usize; 3],
}

impl Victims {
    pub(super) async fn start(plan: Plan, launch: Launch) -> Result<Self> {
        let mut workers = Vec::new();
        for _ in 0..plan.workers {
            workers.push(launch.clone().spawn()?);
        }
        for worker in &mut workers {
            worker.ready().await?;
        }
        let (chance, every_ms) = (plan.seed, plan.fault_every_ms);
        Ok(Self { workers, launch, frozen: Vec::new(), chance, every_ms, counts: [0; 3] })
    }

    /// Where the first of them listens.
    pub(super) fn url(&self) -> String {
        self.workers[0].url.clone()
    }

    /// Waits a while and then harms somebody.
    pub(super) async fn strike(&mut self) -> Result<()> {
        let wait = self.every_ms / 2 + random(&mut self.chance, self.every_ms);
        pause(Duration::from_millis(wait)).await;
        self.thaw(Instant::now())?;
        let at = random(&mut self.chance, self.workers.len() as u64) as usize;
        if self.frozen.iter().any(|(frozen, _)| *frozen == at) {
            return Ok(());
        }
        match random(&mut self.chance, 10) {
            // For longer than its lease: it comes back and reports what is no longer its own.
            0 | 1 => {
                self.workers[at].signal(Signal::Stop)?;
                self.counts[1] += 1;
                let long = Duration::from_millis(u64::from(LEASE_MS) * 2);
                self.frozen.push((at, Instant::now() + long));
            }
            2 => {
                self.workers[at].signal(Signal::Term)?;
                self.workers[at].ended().await?;
                self.counts[2] += 1;
                self.replace(at).await?;
            }
            _ => {
                self.workers[at].kill()?;
                self.counts[0] += 1;
                self.replace(at).await?;
            }
        }
        Ok(())
    }

    /// One that is alone must be there before the next is harmed; of several the others
    /// go on meanwhile.
    async fn replace(&mut self, at: usize) -> Result<()> {
        self.workers[at] = self.launch.clone().spawn()?;
        if self.workers.len() == 1 {
            self.workers[at].ready().await?;
        }
        Ok(())
    }

    fn thaw(&mut self, now: Instant) -> Result<()> {
        for (at, _) in self.frozen.extract_if(.., |(_, until)| *until <= now) {
            self.workers[at].signal(Signal::Cont)?;
        }
        Ok(())
    }

    /// Ends all harm.
    pub(super) async fn heal(&mut self) -> Result<()> {
        for (at, _) in std::mem::take(&mut self.frozen) {
            self.workers[at].signal(Signal::Cont)?;
        }
        for at in 0..self.workers.len() {
            // One that was frozen for long may have ended itself.
            if self.workers[at].ready().await.is_err() {
                self.replace(at).await?;
                self.workers[at].ready().await?;
            }
        }
        Ok(())
    }

    /// Kills, freezes, stops in good order.
    pub(super) fn counts(&self) -> [usize; 3] {
        self.counts
    }
}
