//! How a worker works.

use std::time::Duration;

/// On which threads executions are driven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// On the runtime that the worker itself runs on. For executions that are
    /// known never to block a thread, and for tests that move the clock.
    Here,
    /// On this many threads of a runtime of their own. An execution that blocks
    /// its thread then stops neither claims, nor reports, nor heartbeats, nor
    /// its own timeout, all of which live on the worker's runtime.
    OwnThreads(usize),
}

/// How a worker works.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// How many jobs it runs at once.
    pub slots: u32,
    /// How many jobs it claims, or reports, in one call at most.
    pub max_batch: u32,
    /// How often it looks for work that nobody told it of.
    pub poll: Duration,
    /// How long an execution that was told to stop may take to do so.
    pub grace: Duration,
    /// How long the last reports may take when the worker leaves, and the
    /// leaving itself.
    pub flush: Duration,
    /// On which threads executions are driven.
    pub placement: Placement,
}

impl Default for WorkerConfig {
    fn default() -> Self {
        Self {
            slots: 1_000,
            max_batch: 1_000,
            poll: Duration::from_secs(1),
            grace: Duration::from_secs(1),
            flush: Duration::from_millis(1_500),
            placement: Placement::OwnThreads(2),
        }
    }
}
