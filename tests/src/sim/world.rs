//! The world of a run: its time, its faults, its memory, and what is written down.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use taskflow_application::memory::MemoryStore;
use taskflow_application::ports::{Clock, Stores, Topic, Wakeups};
use taskflow_domain::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::log::Log;
use super::node::Node;
use super::plan::{Plan, Process, Trouble, TroubleKind};
use crate::builders::START;
use crate::planted::{Bug, plant};

/// How far the clocks of two processes may be apart, in microseconds, steps
/// backwards included. The checker allows for it.
pub(super) const CLOCK_SLACK_US: i64 = 150_000;

/// The world of a run.
pub(super) struct Sim {
    /// What happens in it.
    pub(super) plan: Plan,
    /// The defect that it has on purpose.
    pub(super) bug: Option<Bug>,
    /// The memory.
    pub(super) memory: Arc<MemoryStore>,
    /// Its ports.
    pub(super) truth: Stores,
    /// The memory as the processes reach it, with the defect.
    pub(super) stores: Stores,
    /// Time.
    pub(super) timeline: Arc<Timeline>,
    log: Mutex<Log>,
    nodes: Mutex<Vec<Option<Arc<Node>>>>,
    lives: Mutex<BTreeMap<Process, Life>>,
}

/// The lives of one process.
#[derive(Default)]
struct Life {
    generation: u64,
    current: CancellationToken,
}

impl Sim {
    /// The world of a plan.
    pub(super) fn new(plan: Plan, bug: Option<Bug>) -> Arc<Self> {
        let memory = Arc::new(MemoryStore::default());
        let truth = memory.ports();
        let nodes = vec![None; plan.nodes];
        Arc::new(Self {
            stores: plant(truth.clone(), bug),
            truth,
            memory,
            bug,
            timeline: Arc::new(Timeline { began: Instant::now(), step_us: AtomicI64::new(0) }),
            log: Mutex::default(),
            nodes: Mutex::new(nodes),
            lives: Mutex::default(),
            plan,
        })
    }

    /// Now, by the clock of the store, in microseconds.
    pub(super) fn now_us(&self) -> i64 {
        self.timeline.now().micros()
    }

    /// How long the run has lasted, in milliseconds.
    pub(super) fn at_ms(&self) -> u64 {
        u64::try_from(self.timeline.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// What is written down.
    pub(super) fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a line to the trace.
    pub(super) fn trace(&self, line: &str) {
        let at = self.now_us();
        self.log().trace.add(format!("{at} {line}"));
    }

    /// The faults of a process that are in force now, and those of the store.
    pub(super) fn troubles(&self, process: Process) -> impl Iterator<Item = &Trouble> {
        let now = self.at_ms();
        let current = move |trouble: &&Trouble| trouble.from_ms <= now && now < trouble.to_ms;
        let of = move |trouble: &&Trouble| trouble.process == process || trouble.kind == TroubleKind::Outage;
        self.plan.troubles.iter().filter(current).filter(of)
    }

    /// The same, and those of which something may still be on its way: a message
    /// that was sent in the last moment of a slow time arrives long after it.
    pub(super) fn lingering(&self, process: Process) -> impl Iterator<Item = &Trouble> {
        let now = self.at_ms();
        let current = move |trouble: &&Trouble| {
            let late_ms = if let TroubleKind::Slow(most) = trouble.kind { most } else { 0 };
            trouble.from_ms <= now && now < trouble.to_ms + late_ms
        };
        let of = move |trouble: &&Trouble| trouble.process == process || trouble.kind == TroubleKind::Outage;
        self.plan.troubles.iter().filter(current).filter(of)
    }

    /// Whether a process reaches nobody.
    pub(super) fn is_cut(&self, process: Process) -> bool {
        self.troubles(process).any(|trouble| trouble.kind == TroubleKind::Cut)
    }

    /// Whether nobody reaches the store, or this process does not.
    pub(super) fn store_is_away(&self, process: Process) -> bool {
        self.troubles(process).any(|trouble| matches!(trouble.kind, TroubleKind::Cut | TroubleKind::Outage))
    }

    /// How long messages of a process may take now, in milliseconds.
    pub(super) fn slowness(&self, process: Process) -> u64 {
        let slow = self.troubles(process).filter_map(|trouble| match trouble.kind {
            TroubleKind::Slow(most) => Some(most),
            _ => None,
        });
        slow.max().unwrap_or(3)
    }

    /// How many of a hundred calls of a process have no answer now.
    pub(super) fn unsureness(&self, process: Process) -> u64 {
        let unsure = self.troubles(process).filter_map(|trouble| match trouble.kind {
            TroubleKind::Unsure(percent) => Some(percent),
            _ => None,
        });
        unsure.max().unwrap_or(0)
    }

    /// How many of a hundred reports of a process arrive twice now.
    pub(super) fn repetition(&self, process: Process) -> u64 {
        let repeat = self.troubles(process).filter_map(|trouble| match trouble.kind {
            TroubleKind::Repeat(percent) => Some(percent),
            _ => None,
        });
        repeat.max().unwrap_or(0)
    }

    /// Until when a process stands still, if it does.
    pub(super) fn frozen_until(&self, process: Process) -> Option<Instant> {
        let frozen = self.troubles(process).filter(|trouble| trouble.kind == TroubleKind::Freeze);
        let until = frozen.map(|trouble| trouble.to_ms).max()?;
        Some(self.timeline.began + std::time::Duration::from_millis(until))
    }

    /// The nodes that live.
    pub(super) fn nodes(&self) -> Vec<Arc<Node>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner).iter().flatten().cloned().collect()
    }

    /// The number of the next life of a process.
    pub(super) fn next_generation(&self, process: Process) -> u64 {
        let mut lives = self.lives.lock().unwrap_or_else(PoisonError::into_inner);
        let life = lives.entry(process).or_default();
        life.generation += 1;
        life.generation
    }

    /// Begins the life of a pulling worker.
    pub(super) fn new_life(&self, process: Process) -> CancellationToken {
        let mut lives = self.lives.lock().unwrap_or_else(PoisonError::into_inner);
        let life = lives.entry(process).or_default();
        life.current = CancellationToken::new();
        life.current.clone()
    }

    /// Ends the life of a pulling worker.
    pub(super) fn take_life(&self, process: Process) {
        let lives = self.lives.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(life) = lives.get(&process) {
            life.current.cancel();
        }
    }

    /// Puts a node into its place, or takes it out.
    pub(super) fn place_node(&self, index: usize, node: Option<Arc<Node>>) -> Option<Arc<Node>> {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut nodes[index], node)
    }
}

/// Time: that of the paused runtime, with the steps that the plan makes.
#[derive(Debug)]
pub(super) struct Timeline {
    began: Instant,
    step_us: AtomicI64,
}

impl Timeline {
    /// The clock of the store.
    pub(super) fn now(&self) -> Timestamp {
        let elapsed = i64::try_from(self.began.elapsed().as_micros()).unwrap_or(i64::MAX);
        START.plus_micros(elapsed).plus_micros(self.step_us.load(Ordering::SeqCst))
    }

    /// Jumps.
    pub(super) fn step(&self, millis: i64) {
        self.step_us.fetch_add(millis * 1_000, Ordering::SeqCst);
    }

    /// When the run began.
    pub(super) const fn began(&self) -> Instant {
        self.began
    }
}

/// The clock of one process: a little beside that of the store.
#[derive(Debug)]
pub(super) struct ProcessClock {
    /// Time.
    pub(super) timeline: Arc<Timeline>,
    /// How far beside, in microseconds.
    pub(super) offset_us: i64,
}

impl Clock for ProcessClock {
    fn now(&self) -> Timestamp {
        self.timeline.now().plus_micros(self.offset_us)
    }
}

/// News within one process. Each listener has a channel of its own, so that they
/// are woken in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct ProcessNews {
    listeners: Mutex<Vec<(Topic, watch::Sender<u64>)>>,
}

impl Wakeups for ProcessNews {
    fn nudge(&self, topic: Topic) {
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.retain(|(_, sender)| !sender.is_closed());
        for (_, sender) in listeners.iter().filter(|(of, _)| *of == topic) {
            sender.send_modify(|count| *count = count.wrapping_add(1));
        }
    }

    fn listen(&self, topic: Topic) -> watch::Receiver<u64> {
        let (sender, receiver) = watch::channel(0);
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).push((topic, sender));
        receiver
    }
}
