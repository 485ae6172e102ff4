//! Clients and operators: they do what the plan says, ask again where that is
//! safe, and write down what they were told.

use std::sync::Arc;
use std::time::Duration;

use taskflow_application::jobs::{JobWish, JobsError};
use taskflow_application::ports::{StoreError, StoreResult};
use taskflow_checker::history::{Known, Op, Rate};
use taskflow_domain::change::Edit;
use taskflow_domain::queue::{QueueSettings, Rate as QueueRate};
use taskflow_domain::target::{Builtin, Target};
use taskflow_domain::tenant::TenantSettings;
use taskflow_domain::{Job, JobId, Json, Priority, QueueName};
use tokio::time::sleep;

use super::api::{Lost, ask};
use super::client_rules;
use super::executor::payload_of;
use super::log::{caller, job_name, tenant_name};
use super::node::Node;
use super::plan::{Deed, Process, QueueWish, TenantWish, Wish};
use super::world::Sim;
use crate::builders::policy;

/// The process number of whoever is outside of the plan's reach.
pub(super) const OUTSIDE: Process = 1_000;
/// How long one attempt may take, in milliseconds.
const TIMEOUT_MS: u64 = 30_000;

/// Does what the plan says.
pub(super) async fn perform(sim: Arc<Sim>, deed: Deed) {
    sim.log().at_work += 1;
    match deed {
        Deed::Submit(wish) => submit(&sim, &wish).await,
        Deed::Cancel(number) => cancel(&sim, number).await,
        Deed::SetQueue(index, wish) => set_queue(&sim, index, wish).await,
        Deed::SetTenant(index, wish) => set_tenant(&sim, index, wish).await,
        Deed::PutRule(wish) => client_rules::put_rule(&sim, &wish).await,
        Deed::Tell(tiding) => client_rules::tell(&sim, tiding).await,
        other => change(&sim, other).await,
    }
    sim.log().at_work -= 1;
}

/// Queue number `index`.
pub(super) fn queue_name(index: usize) -> QueueName {
    QueueName::new(&format!("queue-{index}")).unwrap_or_else(|_| QueueName::fallback())
}

fn known<T>(answer: &Result<Result<T, JobsError>, Lost>) -> Known {
    match answer {
        Ok(Ok(_)) => Known::Ok,
        Ok(Err(JobsError::Store(StoreError::Unavailable(_)))) | Err(Lost) => Known::Unknown,
        Ok(Err(_)) => Known::Fail,
    }
}

fn known_stored<T>(answer: &Result<StoreResult<T>, Lost>) -> Known {
    match answer {
        Ok(Ok(_)) => Known::Ok,
        Ok(Err(StoreError::Unavailable(_))) | Err(Lost) => Known::Unknown,
        Ok(Err(_)) => Known::Fail,
    }
}

fn job_wish(sim: &Sim, wish: &Wish, run_at: Option<i64>) -> JobWish {
    let kind = if wish.pulled { super::pulled_kind() } else { super::own_kind() };
    let target = (!wish.pulled).then_some(Target::Builtin { name: Builtin::Noop, ms: None });
    let mut job = JobWish {
        queue: Some(queue_name(wish.queue)),
        priority: Priority::from_code(wish.priority.into()).unwrap_or_default(),
        payload: Json::from_valid(&payload_of(wish.number)),
        target,
        retry_policy: policy(wish.max_attempts, wish.backoff_ms),
        timeout_ms: TIMEOUT_MS.min(sim.plan.lease_ms * 3),
        idempotency_key: wish.keyed.then(|| format!("key-{}", wish.number)),
        run_at: run_at.map(taskflow_domain::Timestamp::from_micros),
        ..JobWish::new(kind)
    };
    job.fingerprint[0] = wish.number as u8;
    job
}

async fn submit(sim: &Arc<Sim>, wish: &Wish) {
    let delay_us = i64::try_from(wish.delay_ms * 1_000).unwrap_or(0);
    let run_at = (delay_us > 0).then(|| sim.now_us() + delay_us);
    for _ in 0..6 {
        let (invoked_at, job) = (sim.now_us(), job_wish(sim, wish, run_at));
        let caller = caller(wish.tenant);
        let answer = ask(sim, OUTSIDE, move |node| async move { node.jobs.submit(&caller, job).await }).await;
        let known = known(&answer);
        let made = answer.as_ref().ok().and_then(|answer| answer.as_ref().ok()).map(|done| done.job.spec.id);
        let in_flight = matches!(answer, Ok(Err(JobsError::InFlight)));
        let op = Op::Submit {
            tenant: tenant_name(wish.tenant).as_str().into(),
            marker: format!("m-{}", wish.number),
            key: wish.keyed.then(|| format!("key-{}", wish.number)),
            run_at,
            job: made.map(job_name),
        };
        let again = written_down(sim, invoked_at, known, op, wish.number, made);
        let enough = match made {
            Some(_) => again || !(wish.keyed && wish.doubled),
            // Without a key, asking again could make a second job.
            None => !wish.keyed || (known == Known::Fail && !in_flight),
        };
        if enough {
            return;
        }
        sleep(Duration::from_millis(800)).await;
    }
}

/// Writes down a submit; says whether its job was known before.
fn written_down(sim: &Sim, invoked_at: i64, known: Known, op: Op, number: u32, made: Option<JobId>) -> bool {
    let now = sim.now_us();
    let mut log = sim.log();
    log.call(invoked_at, now, known, op);
    let Some(job) = made else { return false };
    log.count("submits acknowledged");
    log.made.insert(number, job).is_some()
}

/// The job of a submit, and its tenant, if the client knows it.
fn made(sim: &Sim, number: u32) -> Option<(usize, JobId)> {
    let tenant = sim.plan.actions.iter().find_map(|action| match &action.deed {
        Deed::Submit(wish) if wish.number == number => Some(wish.tenant),
        _ => None,
    })?;
    let job = sim.log().made.get(&number).copied()?;
    Some((tenant, job))
}

async fn cancel(sim: &Arc<Sim>, number: u32) {
    let Some((tenant, id)) = made(sim, number) else { return };
    let (invoked_at, caller) = (sim.now_us(), caller(tenant));
    let answer =
        ask(sim, OUTSIDE, move |node| async move { node.jobs.cancel(&caller, id, None).await }).await;
    sim.log().call(invoked_at, sim.now_us(), known(&answer), Op::Cancel { job: job_name(id) });
}

/// Changes that no rule needs to know of: the history tells them.
async fn change(sim: &Arc<Sim>, deed: Deed) {
    let (Deed::Pause(number) | Deed::Resume(number) | Deed::Redrive(number) | Deed::Move(number, _)) = deed
    else {
        return;
    };
    let Some((tenant, id)) = made(sim, number) else { return };
    let caller = caller(tenant);
    let now = sim.timeline.now();
    let answer: Result<Result<Job, JobsError>, Lost> = ask(sim, OUTSIDE, move |node| async move {
        match deed {
            Deed::Pause(_) => node.jobs.pause(&caller, id).await,
            Deed::Resume(_) => node.jobs.resume(&caller, id).await,
            Deed::Move(_, later_ms) => {
                let run_at = now.plus_millis(i64::try_from(later_ms).unwrap_or(0));
                node.jobs.edit(&caller, id, Edit { run_at: Some(run_at), ..Edit::default() }).await
            }
            _ => node.jobs.retry(&caller, id).await,
        }
    })
    .await;
    sim.trace(&format!("changed {number} {:?}", known(&answer)));
}

async fn set_queue(sim: &Arc<Sim>, index: usize, wish: QueueWish) {
    let until = wish.held_ms.map(|ms| sim.timeline.now().plus_millis(i64::try_from(ms).unwrap_or(0)));
    let limits = QueueSettings {
        max_running: wish.max_running,
        max_running_per_tenant: wish.per_tenant,
        rate: wish.rate.map(|limit| QueueRate { limit, period_ms: 2_000 }),
        ..QueueSettings::default()
    };
    // An operator asks until there is an answer: setting is the same each time.
    for _ in 0..20 {
        let (invoked_at, name, limits) = (sim.now_us(), queue_name(index), limits.clone());
        let put = move |node: Arc<Node>| async move {
            let caller = caller(0);
            node.queues.put(&caller, &name, limits, Some(false)).await?;
            match until {
                None => Ok(None),
                Some(until) => node.queues.pause(&caller, &name, None, Some(until)).await,
            }
        };
        let answer = ask(sim, OUTSIDE, put).await;
        let known = known_stored(&answer);
        let op = Op::SetQueue {
            queue: queue_name(index).as_str().into(),
            max_running: wish.max_running.map(u64::from),
            max_running_per_tenant: wish.per_tenant.map(u64::from),
            rate: wish.rate.map(|limit| Rate { limit, period_us: 2_000_000 }),
            paused: until.is_some(),
            paused_until: until.map(taskflow_domain::Timestamp::micros),
        };
        sim.log().call(invoked_at, sim.now_us(), known, op);
        if known == Known::Ok {
            return;
        }
        sleep(Duration::from_secs(1)).await;
    }
}

async fn set_tenant(sim: &Arc<Sim>, index: usize, wish: TenantWish) {
    let settings =
        TenantSettings { max_running: wish.max_running, paused: wish.paused, ..TenantSettings::default() };
    for _ in 0..20 {
        let (invoked_at, slug, settings) = (sim.now_us(), tenant_name(index), settings.clone());
        let answer =
            ask(
                sim,
                OUTSIDE,
                move |node| async move { node.tenants.put(&caller(index), &slug, &settings).await },
            )
            .await;
        let known = known_stored(&answer);
        let op = Op::SetTenant {
            tenant: tenant_name(index).as_str().into(),
            max_running: wish.max_running.map(u64::from),
            paused: wish.paused,
        };
        sim.log().call(invoked_at, sim.now_us(), known, op);
        if known == Known::Ok {
            sim.log().tenants.insert(index);
            return;
        }
        sleep(Duration::from_secs(1)).await;
    }
}
