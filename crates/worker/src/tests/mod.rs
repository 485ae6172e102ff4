//! The worker against a source that is written for the purpose, on a clock that
//! moves by itself when everybody waits.

mod beating;
mod claiming;
mod executing;
mod leaving;
mod settling;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use taskflow_domain::{
    Actor, ClaimedJob, CorrelationId, Counters, JobId, JobSpec, Json, Kind, Labels, Lease, LeaseToken,
    Priority, QueueName, RetryPolicy, TenantId, TenantSlug, Timestamp, Verdict, WorkerName,
};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    Claimed, Execution, Executor, Finished, Held, LeaseSource, Placement, RunContext, Settled, SourceError,
    Worker, WorkerConfig, WorkerStats,
};

pub(super) const LEASE: Duration = Duration::from_secs(30);

pub(super) const fn id(n: u128) -> JobId {
    JobId(Uuid::from_u128(n))
}

pub(super) const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(super) fn job(n: u128) -> ClaimedJob {
    let (tenant, at) = (TenantId(1), Timestamp::from_micros(0));
    let counters = Counters { attempt: 1, spent: 1, ..Counters::default() };
    ClaimedJob {
        lease: Lease {
            tenant,
            job: id(n),
            queue: QueueName::fallback(),
            kind: Kind::new("k").unwrap(),
            token: LeaseToken::new(1, n as u64),
            worker: WorkerName::new("w").unwrap(),
            counters,
            retry_policy: RetryPolicy::default(),
            due: at,
            started_at: at,
            charged_us: 0,
            cancel: None,
            timeout_ms: 30_000,
            until: None,
        },
        spec: JobSpec {
            id: id(n),
            tenant,
            queue: QueueName::fallback(),
            kind: Kind::new("k").unwrap(),
            priority: Priority::Medium,
            payload: Json::object(),
            labels: Labels::new(),
            target: None,
            retry_policy: RetryPolicy::default(),
            timeout_ms: 3_600_000,
            idempotency_key: None,
            correlation_id: CorrelationId(Uuid::from_u128(n)),
            parent_job_id: None,
            rule_id: None,
            firing_id: None,
            traceparent: None,
            created_by: Actor::engine(),
            created_at: at,
            run_at: at,
        },
        slug: TenantSlug::fallback(),
        expires_at: at,
    }
}

#[derive(Default)]
pub(super) struct State {
    pub(super) queue: VecDeque<ClaimedJob>,
    pub(super) held: BTreeMap<JobId, Held>,
    /// When each claim came, how many it asked for and how many it got.
    pub(super) claims: Vec<(Instant, u32, usize)>,
    pub(super) settles: Vec<(Instant, usize)>,
    pub(super) ended: Vec<(JobId, Verdict, i64)>,
    pub(super) beats: Vec<Instant>,
    pub(super) released: Vec<Held>,
    pub(super) left: Option<Instant>,
    /// When it was told that the worker takes no more jobs.
    pub(super) closed: Option<Instant>,
    /// Everything fails.
    pub(super) down: bool,
    pub(super) beats_fail: bool,
    /// The next claim succeeds, and its answer is lost.
    pub(super) lose_claim: bool,
    /// Settles that hold this job fail.
    pub(super) refuse: Option<JobId>,
    /// Settles that hold this job fail, unless they report a failure of it.
    pub(super) refuse_success: Option<JobId>,
}

pub(super) struct Source {
    pub(super) state: Mutex<State>,
    pub(super) work: Notify,
    pub(super) cancels: Notify,
    /// Each settle takes one permit; many to begin with.
    pub(super) gate: Semaphore,
    pub(super) claim_takes: Duration,
    pub(super) settle_takes: Duration,
}

impl Source {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::default(),
            work: Notify::new(),
            cancels: Notify::new(),
            gate: Semaphore::new(1_000_000),
            claim_takes: Duration::ZERO,
            settle_takes: Duration::ZERO,
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, jobs: impl IntoIterator<Item = ClaimedJob>) {
        self.state().queue.extend(jobs);
        self.work.notify_one();
    }

    pub(super) fn cancel(&self, n: u128) {
        self.state().held.get_mut(&id(n)).unwrap().cancel = true;
        self.cancels.notify_one();
    }

    pub(super) fn ended(&self, n: u128) -> Option<Verdict> {
        self.state().ended.iter().find(|(job, ..)| *job == id(n)).map(|(_, verdict, _)| verdict.clone())
    }

    fn up(&self) -> Result<MutexGuard<'_, State>, SourceError> {
        let state = self.state();
        if state.down { Err(SourceError("down".into())) } else { Ok(state) }
    }
}

/// No time passes for `Duration::ZERO`, not even the timer's grain.
async fn takes(time: Duration) {
    if !time.is_zero() {
        sleep(time).await;
    }
}

#[async_trait]
impl LeaseSource for Source {
    async fn claim(&self, max: u32) -> Result<Claimed, SourceError> {
        takes(self.claim_takes).await;
        let mut state = self.up()?;
        let count = state.queue.len().min(max as usize);
        let jobs: Vec<_> = state.queue.drain(..count).collect();
        for ClaimedJob { lease, .. } in &jobs {
            let held = Held { tenant: lease.tenant, job: lease.job, token: lease.token, cancel: false };
            state.held.insert(lease.job, held);
        }
        state.claims.push((Instant::now(), max, count));
        if std::mem::take(&mut state.lose_claim) {
            return Err(SourceError("the answer was lost".into()));
        }
        Ok(Claimed { jobs, more: !state.queue.is_empty() })
    }

    async fn settle(&self, finished: &[Finished]) -> Result<Vec<Settled>, SourceError> {
        self.gate.acquire().await.unwrap().forget();
        takes(self.settle_takes).await;
        let mut state = self.up()?;
        let bad = |one: &Finished| {
            let job = Some(one.lease.job);
            state.refuse == job
                || (state.refuse_success == job && matches!(one.verdict, Verdict::Succeeded { .. }))
        };
        if finished.iter().any(bad) {
            return Err(SourceError("refused".into()));
        }
        state.settles.push((Instant::now(), finished.len()));
        let settle = |one: &Finished| {
            let held = state.held.get(&one.lease.job).is_some_and(|held| held.token == one.lease.token);
            if !held {
                return Settled::LeaseLost;
            }
            state.held.remove(&one.lease.job);
            state.ended.push((one.lease.job, one.verdict.clone(), one.took_us));
            Settled::Done
        };
        Ok(finished.iter().map(settle).collect())
    }

    async fn beat(&self) -> Result<Vec<Held>, SourceError> {
        let mut state = self.up()?;
        if state.beats_fail {
            return Err(SourceError("no beat".into()));
        }
        state.beats.push(Instant::now());
        Ok(state.held.values().copied().collect())
    }

    async fn release(&self, held: &[Held]) -> Result<(), SourceError> {
        let mut state = self.up()?;
        for one in held {
            state.held.remove(&one.job);
        }
        state.released.extend(held);
        Ok(())
    }

    async fn work_arrives(&self, longest: Duration) {
        let _ = tokio::time::timeout(longest, self.work.notified()).await;
    }

    async fn cancel_arrives(&self) {
        self.cancels.notified().await;
    }

    fn close(&self) {
        self.state().closed = Some(Instant::now());
        self.cancels.notify_one();
    }

    async fn leave(&self) {
        self.state().left = Some(Instant::now());
    }

    fn lease(&self) -> Duration {
        LEASE
    }
}

type Script = Box<dyn Fn(u128, RunContext) -> Execution + Send + Sync>;

pub(super) struct Scripted(Script);

impl Executor for Scripted {
    fn execute(&self, job: Arc<ClaimedJob>, context: RunContext) -> Execution {
        (self.0)(job.spec.id.0.as_u128(), context)
    }
}

/// A worker that runs.
pub(super) struct Rig {
    pub(super) source: Arc<Source>,
    pub(super) stats: Arc<WorkerStats>,
    pub(super) shutdown: CancellationToken,
    pub(super) began: Instant,
    pub(super) running: JoinHandle<std::io::Result<()>>,
}

pub(super) fn config(slots: u32) -> WorkerConfig {
    WorkerConfig { slots, placement: Placement::Here, ..WorkerConfig::default() }
}

impl Rig {
    pub(super) fn new(
        config: WorkerConfig,
        source: Source,
        drain: Duration,
        script: impl Fn(u128, RunContext) -> Execution + Send + Sync + 'static,
    ) -> Self {
        let source = Arc::new(source);
        let shutdown = CancellationToken::new();
        let worker = Worker::new(config);
        let stats = worker.stats();
        let executor = Arc::new(Scripted(Box::new(script)));
        let run = worker.run(Arc::clone(&source) as Arc<dyn LeaseSource>, executor, shutdown.clone(), drain);
        Self { source, stats, shutdown, began: Instant::now(), running: tokio::spawn(run) }
    }

    /// Waits until `check` holds, as far as the clock has to move for it.
    pub(super) async fn until(&self, check: impl Fn(&State) -> bool) {
        let deadline = Instant::now() + Duration::from_mins(10);
        while !check(&self.source.state()) {
            assert!(Instant::now() < deadline, "it never came true");
            sleep(ms(1)).await;
        }
    }

    pub(super) async fn stop(self) -> Duration {
        let began = Instant::now();
        self.shutdown.cancel();
        self.running.await.unwrap().unwrap();
        began.elapsed()
    }
}

pub(super) fn succeeded() -> Verdict {
    Verdict::Succeeded { result: None }
}

pub(super) fn at_once(_: u128, _: RunContext) -> Execution {
    Execution::Done(succeeded())
}

/// Works for `time`, and stops at once when it is told to.
pub(super) fn for_time(time: Duration) -> impl Fn(u128, RunContext) -> Execution {
    move |_, context| {
        Execution::Running(
            async move {
                tokio::select! {
                    () = context.cancel.cancelled() => Verdict::Cancelled,
                    () = sleep(time) => succeeded(),
                }
            }
            .boxed(),
        )
    }
}

/// Never ends, whatever it is told; tells when it is dropped.
type Dropped = Arc<Mutex<HashMap<u128, Instant>>>;

pub(super) fn deaf(dropped: &Dropped) -> impl Fn(u128, RunContext) -> Execution + use<> {
    struct Tell(u128, Arc<Mutex<HashMap<u128, Instant>>>);
    impl Drop for Tell {
        fn drop(&mut self) {
            self.1.lock().unwrap().insert(self.0, Instant::now());
        }
    }
    let dropped = Arc::clone(dropped);
    move |n, _| {
        let tell = Tell(n, Arc::clone(&dropped));
        Execution::Running(
            async move {
                let _tell = tell;
                std::future::pending().await
            }
            .boxed(),
        )
    }
}
