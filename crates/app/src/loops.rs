//! Which loops a process runs, and in which rhythm.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use metrics::gauge;
use taskflow_adapters::system::SystemClock;
use taskflow_adapters::telemetry::{
    CLOCK_OFFSET, DATABASE_CONNECTIONS, DATABASE_UP, FAIRNESS_LAG, LEASES_HELD, Metrics, QUEUE_DEPTH,
    QUEUE_OLDEST_DUE, UPKEEP, WORKER_SLOTS,
};
use taskflow_application::World;
use taskflow_application::access::Access;
use taskflow_application::audit::Audit;
use taskflow_application::automation::Pulse;
use taskflow_application::insight::Insight;
use taskflow_application::maintain::{Maintain, Step};
use taskflow_application::meter;
use taskflow_application::ports::{RunnerStatus, StoreError, StoreResult, Topic};
use taskflow_domain::JobState;
use taskflow_domain::queue::QueueSettings;
use taskflow_worker::WorkerStats;
use tokio::sync::watch;

use crate::database::Database;
use crate::runner::{Rhythm, Runner};

/// How often the database is asked whether it answers.
const HEALTH: Duration = Duration::from_secs(1);
/// How often the database's clock is read.
const CLOCK: Duration = Duration::from_secs(30);
/// How often depths of queues are sampled.
const DEPTHS: Duration = Duration::from_secs(10);
/// How often the promoter looks without being told.
const PROMOTE: Duration = Duration::from_secs(1);
/// How often old jobs are deleted.
const PRUNE: Duration = Duration::from_mins(1);
/// How often caches are compared with the truth: what a crash left half done waits so long at most.
const SWEEP: Duration = Duration::from_secs(10);

/// How often it is written away when keys were last used.
const KEY_USES: Duration = Duration::from_secs(10);
/// How often figures are written away: what a process that is killed loses of them.
const STATS: Duration = Duration::from_secs(2);
/// How often a process learns which queues take no new jobs.
const DRAINS: Duration = Duration::from_secs(1);
/// How often the end of the audit is logged.
const AUDIT_HEAD: Duration = Duration::from_hours(1);
/// How often a process tells what its loops did.
const TELL: Duration = Duration::from_secs(5);

fn every(period: Duration) -> Rhythm {
    Rhythm { period, news: None }
}

/// What every process does: knows its database, its clock and its figures.
pub(crate) fn start_common(
    runner: &Runner,
    world: &World,
    database: &Database,
    clock: &SystemClock,
    figures: &Metrics,
) {
    let asked = database.clone();
    runner.start("health", every(HEALTH), move || {
        let asked = asked.clone();
        async move { look(&asked).await }
    });
    let (asked, followed) = (database.clone(), clock.clone());
    runner.start("clock", every(CLOCK), move || {
        let (asked, followed) = (asked.clone(), followed.clone());
        async move { follow(&asked, &followed).await }
    });
    start_insight(runner, world);
    let figures = figures.clone();
    runner.start("upkeep", every(UPKEEP), move || {
        figures.upkeep();
        std::future::ready(Ok(Step::default()))
    });
}

/// Writes away when keys were last used.
pub(crate) fn start_key_uses(runner: &Runner, access: &Access) {
    let access = access.clone();
    runner.start("key_uses", every(KEY_USES), move || {
        let access = access.clone();
        async move { access.flush().await.map(|()| Step::default()) }
    });
}

/// Writes away what this process counts, and learns what it has to know.
fn start_insight(runner: &Runner, world: &World) {
    let insight = Insight::new(world.clone());
    let flushed = insight.clone();
    runner.start("stats", every(STATS), move || {
        let flushed = flushed.clone();
        async move { flushed.flush().await }
    });
    runner.start("drains", every(DRAINS), move || {
        let insight = insight.clone();
        async move { insight.follow_drains().await }
    });
}

/// Tells in the database what the loops of this process did last, under `name`.
pub(crate) fn start_telling(runner: &Runner, world: &World, name: &str) {
    let (insight, loops, name) = (Insight::new(world.clone()), runner.clone(), name.to_owned());
    let started_at = world.clock.now();
    runner.start("tell", every(TELL), move || {
        let insight = insight.clone();
        let status =
            RunnerStatus { name: name.clone(), started_at, seen_at: insight.now(), loops: loops.loops() };
        async move { insight.tell(&status).await.map(|()| Step::default()) }
    });
}

/// Often enough to notice an outage of half a lease as what it is.
fn often(lease_ms: u64) -> Rhythm {
    every(Duration::from_millis((lease_ms / 10).clamp(200, 1_000)))
}

/// What a process needs between two pulses that has no engine of its own.
pub(crate) fn start_contact(runner: &Runner, pulse: &Pulse, lease_ms: u64) {
    let pulse = pulse.clone();
    runner.start("contact", often(lease_ms), move || {
        let pulse = pulse.clone();
        async move { pulse.keep_contact().await }
    });
}

/// What keeps the engine going: any number of processes may do it.
pub(crate) fn start_engine(runner: &Runner, world: &World, maintain: Arc<Maintain>, lease_ms: u64) {
    let steps = Arc::clone(&maintain);
    runner.start("reap", often(lease_ms), move || {
        let steps = Arc::clone(&steps);
        async move { steps.reap().await }
    });
    let rhythm = Rhythm { period: PROMOTE, news: Some(world.wakeups.listen(Topic::Schedule)) };
    let steps = Arc::clone(&maintain);
    runner.start("promote", rhythm, move || {
        let steps = Arc::clone(&steps);
        async move { steps.promote().await }
    });
    let steps = Arc::clone(&maintain);
    runner.start("prune", every(PRUNE), move || {
        let steps = Arc::clone(&steps);
        async move { steps.prune().await }
    });
    runner.start("sweep", every(SWEEP), move || {
        let steps = Arc::clone(&maintain);
        async move { steps.sweep().await.map(|_| Step::default()) }
    });
    let insight = Insight::new(world.clone());
    runner.start("forget", every(PRUNE), move || {
        let insight = insight.clone();
        async move { insight.forget().await }
    });
    let audit = Audit::new(world.clone());
    runner.start("audit_head", every(AUDIT_HEAD), move || {
        let audit = audit.clone();
        async move { audit.log_head().await.map(|()| Step::default()) }
    });
    let world = world.clone();
    runner.start("depths", every(DEPTHS), move || {
        let world = world.clone();
        async move { sample_depths(&world).await }
    });
}

/// Shows how busy the worker is whose figures were put last.
pub(crate) fn start_worker_figures(runner: &Runner) -> watch::Sender<Option<Arc<WorkerStats>>> {
    let (put, last) = watch::channel(None::<Arc<WorkerStats>>);
    runner.start("worker_figures", every(HEALTH), move || {
        if let Some(now) = last.borrow().as_ref().map(|stats| stats.snapshot()) {
            gauge!(WORKER_SLOTS).set(f64::from(now.slots));
            gauge!(LEASES_HELD).set(f64::from(now.running) + f64::from(now.unsettled));
        }
        std::future::ready(Ok(Step::default()))
    });
    put
}

/// Measures how far this machine's clock is from the database's.
pub(crate) async fn follow(database: &Database, clock: &SystemClock) -> StoreResult<Step> {
    let asked = clock.local();
    if let Some(there) = database.now().await? {
        let heard = clock.local();
        let offset_us = clock.adjust(asked, heard, there);
        let here = SystemClock::wall();
        gauge!(CLOCK_OFFSET).set((offset_us - here.micros_since(heard)) as f64 / 1e6);
    } else {
        // Alone with its file, it is right as far as its machine is.
        clock.adjust(asked, asked, SystemClock::wall());
    }
    Ok(Step::default())
}

async fn look(database: &Database) -> StoreResult<Step> {
    // A server that was frozen answers nothing, not even an error.
    let asked = tokio::time::timeout(2 * HEALTH, database.ping()).await;
    let outcome =
        asked.unwrap_or_else(|_| Err(StoreError::Unavailable("it does not answer in time".to_owned())));
    gauge!(DATABASE_UP).set(f64::from(u8::from(outcome.is_ok())));
    let connections = database.connections();
    gauge!(DATABASE_CONNECTIONS, "state" => "used").set(f64::from(connections.used));
    gauge!(DATABASE_CONNECTIONS, "state" => "idle").set(f64::from(connections.idle));
    outcome.map(|()| Step::default())
}

async fn sample_depths(world: &World) -> StoreResult<Step> {
    // What an operator set up is shown, whatever names tenants bring along.
    for queue in world.stores.queues.list().await? {
        if queue.settings != QueueSettings::default() {
            meter::keep_label(&queue.name);
        }
    }
    let depths = world.stores.queues.depths().await?;
    let now = world.clock.now();
    // Queues that share a label are shown together.
    let mut shown = BTreeMap::<_, ([u64; 9], i64, u64)>::new();
    for depth in depths {
        let (counts, age_us, lag_us) = shown.entry(meter::queue_label(&depth.name, None)).or_default();
        counts.iter_mut().zip(depth.by_state).for_each(|(sum, n)| *sum += n);
        *age_us = depth.oldest_due.map_or(0, |due| now.micros_since(due)).max(*age_us);
        *lag_us = depth.lag_us.max(*lag_us);
    }
    for (queue, (counts, age_us, lag_us)) in shown {
        gauge!(FAIRNESS_LAG, "queue" => queue.clone()).set(lag_us as f64 / 1e6);
        for (state, count) in JobState::ALL.into_iter().zip(counts) {
            gauge!(QUEUE_DEPTH, "queue" => queue.clone(), "state" => state.as_str()).set(count as f64);
        }
        gauge!(QUEUE_OLDEST_DUE, "queue" => queue).set(age_us as f64 / 1e6);
    }
    Ok(Step::default())
}
