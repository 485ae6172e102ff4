//! An engine process: the use cases, the loops that keep the engine going, and
//! the worker, all over one link to the store.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use taskflow_application::World;
use taskflow_application::access::Access;
use taskflow_application::automation::Automation;
use taskflow_application::jobs::Jobs;
use taskflow_application::maintain::{Maintain, Retention, Step};
use taskflow_application::memory::{SeededIds, SeededJitter};
use taskflow_application::ports::{StoreResult, Topic, Worker as Known};
use taskflow_application::queues::Queues;
use taskflow_application::tenants::Tenants;
use taskflow_application::work::Work;
use taskflow_domain::WorkerName;
use taskflow_worker::{Placement, Worker, WorkerConfig};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::executor::SimExecutor;
use super::link::Link;
use super::rng::Rng;
use super::source::SimSource;
use super::tools::tools;
use super::world::{ProcessClock, ProcessNews, Sim};
use crate::planted::Bug;

/// How long running work may take to end when the process is told to go.
const DRAIN: Duration = Duration::from_secs(2);
/// Longer than any run: how often a process looks that never looks by itself.
const NEVER: Duration = Duration::from_secs(1_000_000);

/// An engine process.
pub(super) struct Node {
    /// Which.
    pub(super) index: usize,
    /// Ends when the process dies.
    pub(super) life: CancellationToken,
    /// Set when the process is told to go.
    pub(super) going: CancellationToken,
    /// Jobs.
    pub(super) jobs: Jobs,
    /// Work.
    pub(super) work: Work,
    /// Queues.
    pub(super) queues: Queues,
    /// Tenants.
    pub(super) tenants: Tenants,
    /// Automation rules.
    pub(super) rules: Automation,
    /// Who may come in: everybody.
    pub(super) access: Access,
}

impl Node {
    /// Starts a process in the place `index`, for the `generation`th time.
    pub(super) fn start(sim: &Arc<Sim>, index: usize, generation: u64) -> Arc<Self> {
        let (life, going) = (CancellationToken::new(), CancellationToken::new());
        let stream = (index as u64 + 1) * 1_000 + generation;
        let mut rng = Rng::new(sim.plan.seed, stream);
        let offset_us = rng.between(0, 40_000) as i64 - 20_000;
        let world = World {
            stores: Link::stores(sim, index, generation, life.clone()),
            clock: Arc::new(ProcessClock { timeline: Arc::clone(&sim.timeline), offset_us }),
            ids: Arc::new(SeededIds::new(rng.draw())),
            jitter: Arc::new(SeededJitter::new(rng.draw())),
            wakeups: Arc::new(ProcessNews::default()),
            tally: taskflow_application::tally::Tally::default(),
            drains: taskflow_application::drains::Drains::default(),
            vault: None,
        };
        let node = Arc::new(Self {
            index,
            life,
            going,
            jobs: Jobs::new(world.clone()),
            work: Work::new(world.clone()),
            queues: Queues::new(world.clone()),
            tenants: Tenants::new(world.clone()),
            rules: Automation::new(world.clone(), tools()).with_chunk(1),
            access: Access::open(world.clone()),
        });
        sim.place_node(index, Some(Arc::clone(&node)));
        sim.trace(&format!("node {index} begins its life {generation}"));
        node.start_loops(sim, &world);
        if sim.plan.has_rules() {
            node.start_rules(&world);
        }
        node.start_worker(sim, &world, generation);
        node
    }

    /// Runs something within this process: it ends with it.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let life = self.life.clone();
        tokio::spawn(async move {
            life.run_until_cancelled(work).await;
        });
    }

    fn start_loops(&self, sim: &Arc<Sim>, world: &World) {
        let lease_ms = sim.plan.lease_ms;
        let lossy = sim.bug == Some(Bug::NewsOnly);
        let period = |seconds| if lossy { NEVER } else { Duration::from_secs(seconds) };
        let maintain = Arc::new(Maintain::new(world.clone(), Retention::default(), lease_ms));
        let reaping = (Arc::clone(&maintain), world.clone(), sim.bug);
        self.spawn(turn(Duration::from_secs(1), None, world.clone(), move || {
            let (maintain, world, bug) = reaping.clone();
            async move {
                // Whoever has just begun remembers no outage.
                let fresh = Maintain::new(world, Retention::default(), 0);
                if bug == Some(Bug::NoGrace) { fresh.reap().await } else { maintain.reap().await }
            }
        }));
        let news = world.wakeups.listen(Topic::Schedule);
        let promoting = Arc::clone(&maintain);
        self.spawn(turn(period(1), Some(news), world.clone(), move || {
            let maintain = Arc::clone(&promoting);
            async move { maintain.promote().await }
        }));
        self.spawn(turn(Duration::from_secs(10), None, world.clone(), move || {
            let maintain = Arc::clone(&maintain);
            async move { maintain.sweep().await.map(|_| Step::default()) }
        }));
    }

    /// What makes rules fire. Any number of processes do it.
    fn start_rules(&self, world: &World) {
        let second = Duration::from_secs(1);
        let (news, rules) = (world.wakeups.listen(Topic::Schedule), self.rules.clone());
        self.spawn(turn(second, Some(news), world.clone(), move || {
            let rules = rules.clone();
            async move { rules.tick().await }
        }));
        let rules = self.rules.clone();
        self.spawn(turn(second, None, world.clone(), move || {
            let rules = rules.clone();
            async move { rules.dispatch().await }
        }));
        let rules = self.rules.clone();
        self.spawn(turn(second, None, world.clone(), move || {
            let rules = rules.clone();
            async move { rules.fan_out().await }
        }));
    }

    fn start_worker(self: &Arc<Self>, sim: &Arc<Sim>, world: &World, generation: u64) {
        let text = format!("n{}-{generation}", self.index);
        let Ok(name) = WorkerName::new(&text) else { return };
        let now = world.clock.now();
        let known = Known {
            name,
            tenant: None,
            queues: Vec::new(),
            kinds: Vec::new(),
            slots: 4,
            started_at: now,
            beat_at: now,
            lease_until: now,
        };
        let poll = if sim.bug == Some(Bug::NewsOnly) { NEVER } else { Duration::from_secs(1) };
        let config = WorkerConfig { slots: 4, poll, placement: Placement::Here, ..WorkerConfig::default() };
        let source = Arc::new(SimSource::new(sim, self, world, known));
        let executor = Arc::new(SimExecutor::new(sim, self.index));
        let (going, life) = (self.going.clone(), self.life.clone());
        self.spawn(async move {
            // However it ends, the process ends with it.
            drop(Worker::new(config).run(source, executor, going, DRAIN).await);
            life.cancel();
        });
    }
}

/// Repeats a step as the supervisor of the real loops does.
async fn turn<F>(
    period: Duration,
    mut news: Option<watch::Receiver<u64>>,
    world: World,
    step: impl Fn() -> F + Send,
) where
    F: Future<Output = StoreResult<Step>> + Send,
{
    let mut backoff = Duration::from_millis(200);
    loop {
        if let Some(news) = &mut news {
            news.borrow_and_update();
        }
        let Ok(done) = step().await else {
            sleep(backoff).await;
            backoff = (backoff * 2).min(Duration::from_secs(2));
            continue;
        };
        backoff = Duration::from_millis(200);
        if done.more {
            continue;
        }
        let until_next = done.next.map(|next| next.micros_since(world.clock.now()).max(0).unsigned_abs());
        let wait = until_next.map_or(period, Duration::from_micros).min(period);
        match &mut news {
            None => sleep(wait).await,
            Some(news) => drop(timeout(wait, news.changed()).await),
        }
    }
}
