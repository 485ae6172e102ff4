//! Where interleavings are played: one database, a direct way to it for setting
//! up and looking, and one stepped way for each session.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use taskflow_adapters::condition::CelEngine;
use taskflow_adapters::store::postgres::{PostgresOptions, PostgresStore};
use taskflow_adapters::webhook::Verifier;
use taskflow_application::automation::{Automation, Tools};
use taskflow_application::jobs::{JobWish, Jobs};
use taskflow_application::memory::ManualClock;
use taskflow_application::ports::{Discrepancies, JobFilter, Page, QueuePut, Worker};
use taskflow_application::work::{Ended, Work};
use taskflow_application::{Caller, World};
use taskflow_checker::history::{Known, LeaseRow, Op};
use taskflow_checker::{History, judge};
use taskflow_domain::queue::QueueSettings;
use taskflow_domain::target::{Builtin, Target};
use taskflow_domain::{
    ClaimedJob, Job, JobId, Json, Lease, Rule, TenantId, TenantSlug, Timestamp, Verdict, WorkerName,
};
use taskflow_tests::builders::{START, policy, queue, worker, world};
use taskflow_tests::postgres::{Database, fresh_database};
use taskflow_tests::sim::{job_name, payload_of, tables, token_name};
use taskflow_tests::stepping::{Gate, Outcome, Plan, Proxy, Tables, afterwards, in_order};
use tokio_postgres::Client;

use super::acts::{Act, Told, failed, perform};
use super::rules;

/// How long a lease lasts, in milliseconds.
pub(super) const LEASE_MS: u64 = 30_000;

/// How the job stands before the operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// There is none yet.
    Absent,
    Pending,
    /// SCHEDULED and due, but nobody has noticed.
    Scheduled,
    Running,
    /// RUNNING under a lease that has ended.
    Expired,
    Paused,
    Dead,
    /// One runs and one is due in a queue of which one may run.
    Capped,
    /// PENDING under a limit that has room, so that a claim goes its whole way.
    Roomy,
    /// There is none, and a rule that makes one is due.
    Due,
    /// There is none, and a rule makes one for each delivery.
    Called,
    /// There is none, and a rule makes one for the event in the outbox.
    Told,
}

/// What is known of the job before the operations.
#[derive(Clone)]
pub(super) struct Scene {
    pub(super) number: u32,
    pub(super) jobs: Vec<JobId>,
    pub(super) lease: Option<Lease>,
    pub(super) rule: Option<Rule>,
    pub(super) tools: Tools,
}

struct Session {
    world: World,
    worker: WorkerName,
    _proxy: Proxy,
    _store: PostgresStore,
}

pub(super) struct Stage {
    direct: World,
    clock: Arc<ManualClock>,
    sessions: Vec<Session>,
    gates: Vec<Gate>,
    monitor: Arc<Client>,
    tenant: TenantId,
    holder: WorkerName,
    number: u32,
    /// Whether lanes without work are awake when a run begins, so that a claim goes through
    /// them: else it takes with its first look what there is, or sees that there is nothing.
    pub(super) awake: bool,
    tools: Tools,
    tables: Arc<Tables>,
    _store: PostgresStore,
    database: Database,
}

pub(super) fn caller() -> Caller {
    Caller::trusted(TenantSlug::fallback())
}

pub(super) fn wish(number: u32, start: Start, run_at: Option<Timestamp>) -> Result<JobWish> {
    let mut wish = JobWish {
        queue: Some(queue(match start {
            Start::Capped => "capped",
            Start::Roomy => "roomy",
            _ => "open",
        })?),
        payload: Json::from_valid(&payload_of(number)),
        target: Some(Target::Builtin { name: Builtin::Noop, ms: None }),
        retry_policy: policy(if start == Start::Dead { 1 } else { 5 }, 0),
        run_at,
        ..JobWish::new(taskflow_tests::builders::kind("work")?)
    };
    if start == Start::Absent {
        wish.idempotency_key = Some(format!("key-{number}"));
    }
    Ok(wish)
}

impl Stage {
    /// A stage for so many sessions.
    pub(super) async fn open(sessions: usize) -> Result<Self> {
        let database = fresh_database().await?;
        let store = PostgresStore::connect(&database.url, PostgresOptions::default()).await?;
        store.migrate().await?;
        let clock = Arc::new(ManualClock::new(START));
        let (monitor, connection) = tokio_postgres::connect(&database.url, tokio_postgres::NoTls).await?;
        tokio::spawn(connection);
        let names = "select relname::text from pg_class \
             where relkind in ('r', 'p') and relnamespace = current_schema()::regnamespace";
        let tables: Vec<_> = monitor.query(names, &[]).await?.iter().map(|row| row.get(0)).collect();
        ensure!(tables.len() > 20, "these are not all tables: {tables:?}");
        let direct = world(store.stores(), &clock, 1);
        let tenant = direct.stores.tenants.get(&TenantSlug::fallback()).await?.context("a tenant")?.id;
        let mut stage = Self {
            clock: Arc::clone(&clock),
            sessions: Vec::new(),
            gates: Vec::new(),
            monitor: Arc::new(monitor),
            tenant,
            holder: worker("holder")?,
            number: 0,
            awake: true,
            tools: Tools { conditions: Arc::new(CelEngine::start(1)?), signatures: Arc::new(Verifier) },
            tables: Arc::new(Tables::new(tables)?),
            direct,
            _store: store,
            database,
        };
        let capped = QueueSettings { max_running: Some(1), ..QueueSettings::default() };
        stage.direct.stores.queues.put(QueuePut::new(queue("capped")?, capped, START)).await?;
        let roomy = QueueSettings { max_running_per_tenant: Some(10), ..QueueSettings::default() };
        stage.direct.stores.queues.put(QueuePut::new(queue("roomy")?, roomy, START)).await?;
        for index in 0..sessions {
            stage.add_session(index).await?;
        }
        Ok(stage)
    }

    async fn add_session(&mut self, index: usize) -> Result<()> {
        let proxy = Proxy::start(&self.database.url, Arc::clone(&self.tables)).await?;
        let options = PostgresOptions { max_connections: 2, ..PostgresOptions::default() };
        let store = PostgresStore::connect(&proxy.url, options).await?;
        let world = world(store.stores(), &self.clock, 10 + index as u64);
        self.gates.push(proxy.gate.clone());
        let worker = worker(&format!("session-{index}"))?;
        self.sessions.push(Session { world, worker, _proxy: proxy, _store: store });
        Ok(())
    }

    /// Sets up, runs the operations as planned, judges, and
    /// clears away.
    pub(super) async fn run(&mut self, start: Start, acts: &[Act], plan: Plan) -> Result<Outcome> {
        let scene = self.set_up(start).await?;
        self.calm().await?;
        let operations: Vec<_> = acts
            .iter()
            .zip(&self.sessions)
            .map(|(act, session)| {
                let (world, worker) = (session.world.clone(), session.worker.clone());
                perform(world, *act, start, scene.clone(), worker, self.holder.clone())
            })
            .collect();
        let gates = &self.gates[..acts.len()];
        let (told, outcome) = in_order(gates, operations, plan, || blocked(&self.monitor)).await?;
        let told: Vec<Told> = told.into_iter().collect::<Result<_>>()?;
        self.judge(start, &scene, &told)
            .await
            .with_context(|| format!("{start:?} {acts:?} {:?}", outcome.sessions()))?;
        self.clear(&scene).await?;
        Ok(outcome)
    }

    async fn set_up(&mut self, start: Start) -> Result<Scene> {
        self.number += 1;
        let number = self.number;
        let (jobs, work) = (Jobs::new(self.direct.clone()), Work::new(self.direct.clone()));
        self.clock.advance(10);
        for name in self.sessions.iter().map(|session| &session.worker).chain([&self.holder]) {
            work.beat(&known(name, self.clock_now()), LEASE_MS).await?;
        }
        let tools = self.tools.clone();
        let automation = Automation::new(self.direct.clone(), tools.clone());
        let rule = rules::set_up(&automation, &self.direct, self.tenant, start, number).await?;
        let mut scene = Scene { number, jobs: Vec::new(), lease: None, rule, tools };
        if start == Start::Absent || scene.rule.is_some() {
            return Ok(scene);
        }
        let run_at = (start == Start::Scheduled).then(|| self.clock_now().plus_millis(5));
        let submitted = jobs.submit(&caller(), wish(number, start, run_at)?).await?;
        scene.jobs.push(submitted.job.spec.id);
        self.clock.advance(10);
        if start == Start::Paused {
            jobs.pause(&caller(), scene.jobs[0]).await?;
        }
        if matches!(start, Start::Running | Start::Expired | Start::Dead | Start::Capped) {
            let claimed = work.claim(&self.holder, 1).await?.jobs.pop().context("a job to claim")?;
            ensure!(claimed.spec.id == scene.jobs[0], "another job was due");
            if start == Start::Dead {
                work.settle(&[failed(claimed.lease.clone())]).await?;
            } else {
                scene.lease = Some(claimed.lease);
            }
        }
        if start == Start::Capped {
            let second = jobs.submit(&caller(), wish(number, start, None)?).await?;
            scene.jobs.push(second.job.spec.id);
        }
        if start == Start::Expired {
            self.clock.advance(LEASE_MS as i64 + 1_000);
            for session in &self.sessions {
                work.beat(&known(&session.worker, self.clock_now()), LEASE_MS).await?;
            }
        }
        Ok(scene)
    }

    /// Makes each run begin as every other: what the stores do behind the back of their
    /// callers is over, and lanes that have nothing to do sleep, or are awake.
    async fn calm(&self) -> Result<()> {
        afterwards().await;
        let sql = "update lane l set active = $1 or exists (select 1 from ready r where r.lane_id = l.id)";
        self.monitor.execute(sql, &[&self.awake]).await?;
        Ok(())
    }

    fn clock_now(&self) -> Timestamp {
        self.direct.clock.now()
    }

    async fn jobs_of(&self, scene: &Scene) -> Result<Vec<Job>> {
        let (reader, page) = (&self.direct.stores.reader, Page { before: None, limit: 4 });
        let newest = reader.list(self.tenant, &JobFilter::default(), page, Timestamp::MIN).await?;
        let own = payload_of(scene.number);
        Ok(newest.into_iter().filter(|job| job.spec.payload.as_str() == own).collect())
    }

    async fn judge(&self, start: Start, scene: &Scene, told: &[Told]) -> Result<()> {
        let mut history = History::default();
        let now = self.clock_now().micros();
        history.run.ended_at = now;
        for told in told {
            for (known, op) in &told.calls {
                let (known, op) = (*known, op.clone());
                history.calls.push(taskflow_checker::history::Call {
                    invoked_at: now,
                    returned_at: now,
                    known,
                    op,
                });
            }
            history.leases.extend(told.claimed.iter().map(|job| grant(job, now)));
        }
        for job in self.jobs_of(scene).await? {
            tables::collect_job(&self.direct.stores, &job, &mut history).await?;
        }
        if let Some(rule) = &scene.rule {
            rules::collect(&self.direct, rule, start, &mut history).await?;
        }
        for job in &scene.jobs {
            let marker = format!("m-{}", scene.number);
            let (tenant, job) = ("default".into(), Some(job_name(*job)));
            let op = Op::Submit { tenant, marker, key: None, run_at: None, job };
            let (invoked_at, returned_at) = (i64::MIN, i64::MIN);
            history.calls.push(taskflow_checker::history::Call {
                invoked_at,
                returned_at,
                known: Known::Ok,
                op,
            });
        }
        let violations = judge(&history);
        ensure!(violations.is_empty(), "{violations:#?}\n{history:#?}");
        ensure!(told.iter().filter(|told| told.reaped).count() <= 1, "two reapers took one lease");
        let running =
            history.jobs.iter().filter(|row| row.queue == "capped" && row.state == "RUNNING").count();
        ensure!(running <= 1, "{running} jobs run where one may");
        let found = self.direct.stores.jobs.sweep(self.clock_now()).await?;
        ensure!(found == Discrepancies::default(), "there was something to mend: {found:?}");
        Ok(())
    }

    /// Ends what is left, so that the next run meets nothing of this one.
    async fn clear(&self, scene: &Scene) -> Result<()> {
        let (jobs, work) = (Jobs::new(self.direct.clone()), Work::new(self.direct.clone()));
        for job in self.jobs_of(scene).await? {
            let id = job.spec.id;
            if !job.standing.state().is_terminal() {
                jobs.cancel(&caller(), id, None).await?;
            }
            let leases = self.direct.stores.jobs.leases(&[(self.tenant, id)]).await?;
            for lease in leases.into_iter().flatten() {
                work.settle(&[Ended { lease, verdict: Verdict::Cancelled, took_us: 0 }]).await?;
            }
            let job = jobs.get(&caller(), id).await?;
            ensure!(job.standing.state().is_terminal(), "{id} does not end: {:?}", job.standing);
        }
        if let Some(rule) = &scene.rule {
            self.direct.stores.rules.delete(self.tenant, rule.id, self.clock_now(), None).await?;
        }
        Ok(())
    }
}

fn grant(job: &ClaimedJob, at: i64) -> LeaseRow {
    LeaseRow::Grant {
        at,
        job: job_name(job.lease.job),
        token: token_name(job.lease.token),
        worker: job.lease.worker.as_str().into(),
        until: Some(i64::MAX),
    }
}

pub(super) fn known(name: &WorkerName, now: Timestamp) -> Worker {
    Worker {
        name: name.clone(),
        tenant: None,
        queues: Vec::new(),
        kinds: Vec::new(),
        slots: 10,
        started_at: START,
        beat_at: now,
        lease_until: now,
    }
}

/// The server's processes that wait for locks.
async fn blocked(monitor: &Arc<Client>) -> Result<Vec<i32>> {
    let sql = "select pid from pg_stat_activity where wait_event_type = 'Lock'";
    Ok(monitor.query(sql, &[]).await?.iter().map(|row| row.get(0)).collect())
}
