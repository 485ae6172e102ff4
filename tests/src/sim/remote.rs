//! A pulling worker: it reaches the engine through whichever node answers, runs
//! what it is given, and may be frozen, cut off and killed.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use taskflow_application::work::{ItemError, RemoteClaim, RemoteFailure, RemoteLease, Settled};
use taskflow_checker::history::{Known, Op};
use taskflow_domain::change::Stop;
use taskflow_domain::{AttemptError, ClaimedJob, Verdict, WorkerName};
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::api::{Lost, ask};
use super::executor::{act, conduct_of};
use super::log::{caller, job_name, token_name};
use super::plan::{Process, TENANTS};
use super::source::outcome_of;
use super::world::Sim;

/// Jobs that it runs at once.
const SLOTS: usize = 3;

/// Starts a pulling worker; it lives until `life` ends.
pub(super) fn start(sim: &Arc<Sim>, process: Process, generation: u64, life: CancellationToken) {
    let Ok(name) = WorkerName::new(&format!("r{process}-{generation}")) else { return };
    let remote = Remote { sim: Arc::clone(sim), process, name };
    let work = freezable(Arc::clone(sim), process, Box::pin(async move { remote.run().await }));
    tokio::spawn(async move {
        life.run_until_cancelled(work).await;
    });
}

/// Polls `work` only while the process does not stand still.
async fn freezable(sim: Arc<Sim>, process: Process, mut work: Pin<Box<dyn Future<Output = ()> + Send>>) {
    let mut thaw: Option<Pin<Box<Sleep>>> = None;
    std::future::poll_fn(|context| {
        loop {
            if let Some(sleep) = &mut thaw {
                if sleep.as_mut().poll(context).is_pending() {
                    return Poll::Pending;
                }
                thaw = None;
            }
            match sim.frozen_until(process) {
                Some(until) => thaw = Some(Box::pin(tokio::time::sleep_until(until))),
                None => return work.as_mut().poll(context),
            }
        }
    })
    .await;
}

struct Remote {
    sim: Arc<Sim>,
    process: Process,
    name: WorkerName,
}

impl Remote {
    async fn run(&self) {
        let mut running = FuturesUnordered::new();
        let mut tenant = self.process;
        loop {
            tenant += 1;
            let free = SLOTS.saturating_sub(running.len());
            if free == 0 {
                running.next().await;
                continue;
            }
            let claim = self.claim(tenant, free as u32);
            tokio::pin!(claim);
            let jobs = loop {
                tokio::select! {
                    biased;
                    jobs = &mut claim => break jobs,
                    Some(()) = running.next(), if !running.is_empty() => {}
                }
            };
            for job in jobs {
                running.push(self.attempt(Arc::new(job)));
            }
        }
    }

    async fn claim(&self, tenant: usize, max: u32) -> Vec<ClaimedJob> {
        let wish = RemoteClaim {
            worker: self.name.clone(),
            queues: Vec::new(),
            kinds: vec![crate::sim::pulled_kind()],
            max,
            wait_ms: 3_000,
            lease_ms: self.sim.plan.lease_ms,
            // Some serve one tenant at a time, some all.
            all_tenants: self.process.is_multiple_of(2),
        };
        let caller = caller(tenant % TENANTS);
        let answer =
            ask(
                &self.sim,
                self.process,
                move |node| async move { node.work.claim_remote(&caller, wish).await },
            );
        if let Ok(Ok(claim)) = answer.await {
            return claim.jobs;
        }
        sleep(Duration::from_millis(300)).await;
        Vec::new()
    }

    /// Runs a job under its timeout while its lease is kept.
    async fn attempt(&self, job: Arc<ClaimedJob>) {
        let conduct = conduct_of(&self.sim, &job);
        let after_ms = job.spec.timeout_ms;
        let work = act(Arc::clone(&self.sim), self.process, Arc::clone(&job), conduct);
        let work = timeout(Duration::from_millis(after_ms), work);
        let verdict = tokio::select! {
            biased;
            verdict = work => Some(verdict.unwrap_or(Verdict::TimedOut { after_ms })),
            stop = self.keep(&job) => stop,
        };
        if let Some(verdict) = verdict {
            self.report(&job, verdict).await;
        }
    }

    /// Keeps the lease until the job is to stop; says how it then ends.
    async fn keep(&self, job: &ClaimedJob) -> Option<Verdict> {
        let lease = RemoteLease { job: job.lease.job, token: job.lease.token };
        let (lease_ms, slug) = (self.sim.plan.lease_ms, job.slug.clone());
        let mut kept = Instant::now();
        loop {
            sleep(Duration::from_millis(lease_ms / 4)).await;
            let (invoked_at, sent) = (self.sim.now_us(), Instant::now());
            let caller = taskflow_application::Caller { slug: slug.clone(), ..caller(0) };
            let answer = ask(&self.sim, self.process, move |node| async move {
                node.work.heartbeat(&caller, &[lease], lease_ms).await
            });
            let answer = answer.await.ok().and_then(Result::ok).and_then(|answers| answers.first().copied());
            let known = match answer {
                Some(Ok(_)) => Known::Ok,
                Some(Err(_)) => Known::Fail,
                None => Known::Unknown,
            };
            let op = Op::Extend { job: job_name(lease.job), token: token_name(lease.token) };
            self.sim.log().call(invoked_at, self.sim.now_us(), known, op);
            match answer {
                Some(Ok(true)) => return Some(Verdict::Cancelled),
                Some(Ok(false)) => kept = sent,
                Some(Err(ItemError::StaleLease)) => return None,
                None if kept.elapsed() >= Duration::from_millis(lease_ms) => return None,
                None => {}
            }
        }
    }

    /// Tells how the attempt ended, again and again until there is an answer; and
    /// perhaps once more after that.
    async fn report(&self, job: &ClaimedJob, verdict: Verdict) {
        for try_number in 0..6 {
            let told = self.tell(job, &verdict).await;
            let again = told.is_err();
            if !again && (try_number > 0 || self.sim.repetition(self.process) < 50) {
                return;
            }
            sleep(Duration::from_millis(700)).await;
        }
    }

    async fn tell(&self, job: &ClaimedJob, verdict: &Verdict) -> Result<(), Lost> {
        let lease = RemoteLease { job: job.lease.job, token: job.lease.token };
        let caller = taskflow_application::Caller { slug: job.slug.clone(), ..caller(0) };
        let (invoked_at, wanted) = (self.sim.now_us(), verdict.clone());
        let answer = ask(&self.sim, self.process, move |node| async move {
            match wanted {
                Verdict::Succeeded { result } => node.work.complete(&caller, vec![(lease, result)]).await,
                other => node.work.fail(&caller, vec![failure(lease, other)]).await,
            }
        })
        .await;
        let answer = answer.ok().and_then(Result::ok).and_then(|answers| answers.first().copied());
        let (known, then) = match answer {
            Some(Ok(Settled::Done(state))) => (Known::Ok, Some(state.as_str().to_owned())),
            Some(Ok(Settled::LeaseLost) | Err(ItemError::StaleLease)) => (Known::Fail, None),
            None => (Known::Unknown, None),
        };
        let outcome =
            if matches!(verdict, Verdict::Succeeded { .. }) { outcome_of(verdict) } else { "FAILED" };
        let op = Op::Settle {
            job: job_name(lease.job),
            token: token_name(lease.token),
            outcome: outcome.into(),
            then,
        };
        self.sim.log().call(invoked_at, self.sim.now_us(), known, op);
        answer.map(drop).ok_or(Lost)
    }
}

/// Whatever went wrong, this worker says that it failed.
fn failure(lease: RemoteLease, verdict: Verdict) -> RemoteFailure {
    let failed = |error, permanent, retry_after_ms| Stop::Failed { error, permanent, retry_after_ms };
    let plain = |kind: &str| AttemptError { kind: kind.into(), message: kind.into() };
    let stop = match verdict {
        Verdict::Failed { error, permanent, retry_after_ms, .. } => failed(error, permanent, retry_after_ms),
        Verdict::Snoozed { for_ms } => failed(plain("later"), false, Some(for_ms)),
        _ => failed(plain("stopped"), false, None),
    };
    RemoteFailure { lease, stop }
}
