//! Making steps concrete: from numbers to jobs, leases and changes, as the model
//! shows them.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use taskflow_application::ports::{
    ClaimRequest, JobFilter, LeaseKey, NewJob, Page, QueuePut, Route, Stores, Worker,
};
use taskflow_domain::queue::{Pause, QueueSettings, Rate};
use taskflow_domain::tenant::{Tenant, TenantSettings};
use taskflow_domain::{
    Actor, AttemptError, Edit, Job, JobChange, JobId, JobState, Lease, LeaseToken, Priority, Progress,
    QueueName, Report, Standing, TenantId, TenantSlug, Timestamp, Verdict, WorkerName, change,
};
use taskflow_tests::builders::{Draft, START, Scene, at, job_id, policy, queue, slug, worker};

use super::Subject;
use super::plan::{Act, QUEUES, Shape, Step, TENANTS, WORKERS, Wish};

/// A step of which nothing is open any more.
#[derive(Clone, Debug)]
pub(super) enum Command {
    Insert { jobs: Vec<NewJob>, atomic: bool },
    Claim(ClaimRequest),
    Commit(Vec<JobChange>),
    Expired(Timestamp),
    Promote(Timestamp),
    Extend(Vec<LeaseKey>, Timestamp),
    Progress(Vec<(TenantId, JobId, LeaseToken, Progress)>, Timestamp),
    Beat(Worker),
    Leave(WorkerName, Timestamp),
    Forget(Timestamp),
    Prune { state: JobState, before: Timestamp, keys_before: Timestamp },
    Tenant(TenantSlug, TenantSettings, Timestamp),
    Queue(QueueName, QueueSettings, Timestamp),
    Sweep(Timestamp),
    Nothing,
}

/// What the test itself knows.
pub(super) struct World {
    pub(super) now: Timestamp,
    pub(super) tenants: Vec<Tenant>,
    /// All jobs that were ever sent, whether or not they were taken.
    pub(super) jobs: Vec<(TenantId, JobId)>,
    /// All leases that were ever seen, for those who come too late.
    leases: Vec<Lease>,
    /// Workers that may have been forgotten, and have to be heard of first.
    away: BTreeSet<usize>,
}

impl World {
    /// The same tenants, queues and workers everywhere.
    pub(super) async fn begin(subjects: &[Subject]) -> Result<Self> {
        let mut known: Option<Vec<Tenant>> = None;
        for subject in subjects {
            let mut tenants = Vec::new();
            for index in 0..TENANTS {
                tenants.push(subject.stores.tenants.ensure(&tenant_slug(index)?, START).await?);
            }
            for index in 0..QUEUES {
                subject
                    .stores
                    .queues
                    .put(QueuePut::new(queue_name(index)?, QueueSettings::default(), START))
                    .await?;
            }
            for index in 0..WORKERS {
                let row = Scene::worker_row(&worker_name(index)?, START, at(2_000));
                subject.stores.workers.beat(&row).await?;
            }
            let first = known.get_or_insert_with(|| tenants.clone());
            anyhow::ensure!(*first == tenants, "{} numbers its tenants in another way", subject.name);
        }
        let tenants = known.context("a store")?;
        Ok(Self { now: START, tenants, jobs: Vec::new(), leases: Vec::new(), away: BTreeSet::new() })
    }

    fn ahead(&self, ms: i64) -> Timestamp {
        self.now.plus_millis(ms)
    }

    pub(super) async fn resolve(&mut self, model: &Stores, step: &Step) -> Result<Command> {
        Ok(match step {
            Step::Insert { shapes, atomic } => {
                let jobs = shapes.iter().map(|shape| self.job(shape)).collect::<Result<_>>()?;
                Command::Insert { jobs, atomic: *atomic }
            }
            Step::Claim { worker, .. } if self.away.remove(worker) => self.beat(*worker, 2_000)?,
            Step::Claim { worker, job, max, own_end } => {
                self.claim(model, *worker, *job, *max, *own_end).await?
            }
            Step::Commit { wishes } => {
                let mut changes = Vec::new();
                for wish in wishes {
                    changes.extend(self.change(model, wish).await?);
                }
                Command::Commit(changes)
            }
            Step::Reap => {
                let mut leases = model.jobs.expired(self.now, 1_000).await?;
                leases.sort_by_key(|lease| (lease.tenant, lease.job));
                let lost = |lease| change::settle(lease, self.report(Verdict::Lost, 20_000));
                Command::Commit(leases.iter().map(lost).collect())
            }
            Step::Extend { leases, ms } => {
                let leases = self.pick(model, leases).await?;
                let named = leases.iter().map(|lease| (lease.tenant, lease.job, lease.token)).collect();
                Command::Extend(named, self.ahead(*ms))
            }
            Step::Progress { leases, percent } => {
                let told = Progress { percent: *percent, ..Progress::default() };
                let leases = self.pick(model, leases).await?;
                let named = leases.iter().map(|lease| (lease.tenant, lease.job, lease.token, told.clone()));
                Command::Progress(named.collect(), self.now)
            }
            Step::Beat { worker, ms } => {
                self.away.remove(worker);
                self.beat(*worker, *ms)?
            }
            // Whether leases come back with a worker that had left is left open.
            Step::Leave { worker } if self.holds(model, &worker_name(*worker)?).await? => Command::Nothing,
            Step::Leave { worker } => {
                self.away.insert(*worker);
                Command::Leave(worker_name(*worker)?, self.now)
            }
            Step::Forget { age_ms } => {
                self.away.extend(0..WORKERS);
                Command::Forget(self.ahead(-age_ms))
            }
            Step::Pass { ms } => {
                self.now = self.ahead(*ms);
                Command::Expired(self.now)
            }
            other => self.upkeep(other)?,
        })
    }

    /// Steps that follow from the time alone.
    fn upkeep(&self, step: &Step) -> Result<Command> {
        Ok(match step {
            Step::Promote => Command::Promote(self.now),
            Step::Prune { state, age_ms, keys_ms } => Command::Prune {
                state: JobState::ALL[*state],
                before: self.ahead(-age_ms),
                keys_before: self.ahead(-keys_ms),
            },
            Step::Tenant { tenant, weight, running, backlog, paused } => {
                let settings = TenantSettings {
                    weight: *weight,
                    max_running: *running,
                    max_backlog: *backlog,
                    paused: *paused,
                    ..TenantSettings::default()
                };
                Command::Tenant(tenant_slug(*tenant)?, settings, self.now)
            }
            Step::Queue { queue, running, each, rate, pause } => {
                let settings = QueueSettings {
                    max_running: *running,
                    max_running_per_tenant: *each,
                    rate: rate.map(|(limit, period_ms)| Rate { limit, period_ms }),
                    pause: pause.map(|until| Pause {
                        reason: None,
                        actor: "api".into(),
                        since: self.now,
                        // The longest pauses have no end.
                        until: (until < 2_000).then(|| self.ahead(until)),
                    }),
                    drain: None,
                };
                Command::Queue(queue_name(*queue)?, settings, self.now)
            }
            Step::Sweep => Command::Sweep(self.now),
            _ => Command::Nothing,
        })
    }

    fn job(&mut self, shape: &Shape) -> Result<NewJob> {
        let tenant = self.tenants[shape.tenant].id;
        let id = job_id(self.jobs.len() as u32);
        let mut draft = Draft::new(tenant, self.jobs.len() as u32)?
            .queue(queue_name(shape.queue)?.as_str())?
            .kind(&format!("kind-{}", shape.kind))?
            .priority(Priority::ALL[shape.priority])
            .policy(policy(shape.attempts, shape.delay_ms))
            .created(self.now);
        draft = match shape.place {
            0 => draft.due(self.ahead(-shape.off_ms)).waiting(),
            1 => draft.scheduled(self.ahead(1 + shape.off_ms)),
            _ => draft.due(self.ahead(-shape.off_ms)),
        };
        if shape.pulled {
            draft = draft.pulled();
        }
        if let Some((key, request)) = shape.key {
            draft = draft.key(&format!("key-{key}"), request);
        }
        if let Some(label) = shape.label {
            draft = draft.label("label", &label.to_string());
        }
        self.jobs.push((tenant, id));
        Ok(draft.0)
    }

    fn beat(&self, worker: usize, ms: i64) -> Result<Command> {
        Ok(Command::Beat(Scene::worker_row(&worker_name(worker)?, self.now, self.ahead(ms))))
    }

    /// A claim of one lane: which of several is served first is left open.
    async fn claim(
        &self,
        model: &Stores,
        worker: usize,
        number: usize,
        max: u32,
        own_end: Option<i64>,
    ) -> Result<Command> {
        let mut due = Vec::new();
        for tenant in &self.tenants {
            let filter = JobFilter { states: vec![JobState::Pending], ..JobFilter::default() };
            let page = Page { before: None, limit: 100 };
            due.extend(model.reader.list(tenant.id, &filter, page, self.now).await?);
        }
        // Leases that hang on heartbeats are those of the engine's own workers, which
        // serve all tenants: they find one lane where only one tenant has due jobs.
        let alone = |job: &&Job| {
            let rival =
                |other: &Job| other.spec.queue == job.spec.queue && other.spec.tenant != job.spec.tenant;
            own_end.is_none() && !due.iter().any(rival)
        };
        let alone: Vec<_> = due.iter().filter(alone).collect();
        let bound = alone.get(number % alone.len().max(1)).copied();
        let Some(job) = bound.or_else(|| due.get(number % due.len().max(1))) else {
            return Ok(Command::Nothing);
        };
        let route = match job.spec.target {
            Some(_) => Route::Engine,
            None => Route::Kinds(vec![job.spec.kind.clone()]),
        };
        Ok(Command::Claim(ClaimRequest {
            worker: worker_name(worker)?,
            tenant: bound.is_none().then_some(job.spec.tenant),
            queues: vec![job.spec.queue.clone()],
            route,
            max,
            lease_until: bound.is_none().then(|| self.ahead(own_end.unwrap_or(30_000))),
            now: self.now,
            nonce: self.now.micros() as u64,
        }))
    }

    fn report(&self, verdict: Verdict, took_us: i64) -> Report {
        Report { verdict, at: self.now, took_us, random: 0.5, place: 0 }
    }

    /// What runs on the model, and of that the leases of these numbers.
    async fn pick(&self, model: &Stores, numbers: &[usize]) -> Result<Vec<Lease>> {
        let running: Vec<Lease> = model.jobs.leases(&self.jobs).await?.into_iter().flatten().collect();
        let pick = |number: &usize| running.get(number % running.len().max(1)).cloned();
        Ok(numbers.iter().filter_map(pick).collect())
    }

    async fn holds(&self, model: &Stores, worker: &WorkerName) -> Result<bool> {
        let leases = model.jobs.leases(&self.jobs).await?;
        Ok(leases.into_iter().flatten().any(|lease| lease.worker == *worker))
    }

    async fn change(&self, model: &Stores, wish: &Wish) -> Result<Option<JobChange>> {
        match wish {
            Wish::Settle { lease, verdict, took_us } => {
                let lease = self.pick(model, &[*lease]).await?.pop();
                Ok(lease.map(|lease| change::settle(&lease, self.report(told(*verdict), *took_us))))
            }
            Wish::Stale { lease, verdict } => {
                let lease = self.leases.get(lease % self.leases.len().max(1));
                Ok(lease.map(|lease| change::settle(lease, self.report(told(*verdict), 10_000))))
            }
            Wish::Act { job, act } => {
                let Some((tenant, id)) = self.jobs.get(job % self.jobs.len().max(1)) else { return Ok(None) };
                let job = model.reader.get(*tenant, *id, self.now).await?;
                Ok(job.and_then(|job| self.act(&job, act)))
            }
        }
    }

    fn act(&self, job: &Job, act: &Act) -> Option<JobChange> {
        let actor = Actor::api();
        match act {
            Act::Cancel => change::cancel(job, actor, Some("a test"), self.now).ok().flatten(),
            Act::Pause => change::pause(job, actor, self.now).ok(),
            Act::Resume => change::resume(job, actor, self.now).ok(),
            Act::Redrive => change::redrive(job, actor, self.now).ok(),
            Act::Edit { priority, label, off_ms } => {
                let running = matches!(job.standing, Standing::Running { .. });
                let wish = Edit {
                    priority: priority.map(|index| Priority::ALL[index]),
                    labels: label.map(|label| [("label".to_owned(), label.to_string())].into()),
                    run_at: off_ms.filter(|_| !running).map(|ms| self.ahead(ms)),
                };
                change::edit(job, wish, actor, self.now).ok()
            }
        }
    }

    /// Remembers leases for those who come too late.
    pub(super) fn remember(&mut self, leases: impl IntoIterator<Item = Lease>) {
        self.leases.extend(leases);
    }
}

fn told(number: usize) -> Verdict {
    let failed = |permanent, retry_after_ms| Verdict::Failed {
        error: AttemptError { kind: "http_status".into(), message: "500".into() },
        result: None,
        permanent,
        retry_after_ms,
    };
    match number {
        0 | 1 => Verdict::Succeeded { result: Some(taskflow_domain::Json::from_valid("{\"n\": 1}")) },
        2 => failed(false, None),
        3 => failed(false, Some(50)),
        4 => failed(true, None),
        5 => Verdict::TimedOut { after_ms: 1 },
        6 => Verdict::Interrupted,
        7 => Verdict::Snoozed { for_ms: 200 },
        _ => Verdict::Cancelled,
    }
}

pub(super) fn tenant_slug(index: usize) -> Result<TenantSlug> {
    slug(&format!("tenant-{index}"))
}

pub(super) fn queue_name(index: usize) -> Result<QueueName> {
    queue(&format!("queue-{index}"))
}

pub(super) fn worker_name(index: usize) -> Result<WorkerName> {
    worker(&format!("worker-{index}"))
}
