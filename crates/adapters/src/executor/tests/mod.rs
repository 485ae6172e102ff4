//! The executor against a server on loopback, and the guard against its vectors.

mod answers;
mod calls;
mod egress;
mod faults;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use taskflow_application::ports::{Clock, Ids};
use taskflow_domain::{
    Actor, Builtin, ClaimedJob, CorrelationId, Counters, HttpTarget, JobId, JobSpec, Json, Kind, Labels,
    Lease, LeaseToken, Method, Priority, QueueName, RetryPolicy, Target, TenantId, TenantSlug, Timestamp,
    Verdict, WorkerName,
};
use taskflow_worker::{Execution, Executor, RunContext};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{EgressPolicy, JobExecutor};

struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> Timestamp {
        Timestamp::parse_rfc3339("2026-11-21T10:00:00Z").unwrap()
    }
}

impl Ids for Fixed {
    fn job(&self, _: Timestamp) -> JobId {
        JobId(Uuid::from_u128(1))
    }
    fn nonce(&self) -> u64 {
        1
    }
    fn bytes(&self) -> [u8; 16] {
        [0xab; 16]
    }
}

fn executor(egress: EgressPolicy) -> JobExecutor {
    JobExecutor::new(egress, Arc::new(Fixed), Arc::new(Fixed), None).unwrap()
}

fn http(url: impl Into<String>) -> HttpTarget {
    HttpTarget {
        sealed_headers: BTreeMap::default(),
        url: url.into(),
        method: Method::Post,
        headers: BTreeMap::new(),
        permanent_statuses: vec![],
        retryable_statuses: vec![],
    }
}

fn job(target: Option<Target>) -> ClaimedJob {
    let (id, tenant) = (JobId(Uuid::from_u128(0x77)), TenantId(1));
    let at = Timestamp::from_micros(0);
    ClaimedJob {
        lease: Lease {
            tenant,
            job: id,
            queue: QueueName::fallback(),
            kind: Kind::new("k").unwrap(),
            token: LeaseToken::new(2, 0xfeed),
            worker: WorkerName::new("w").unwrap(),
            counters: Counters { attempt: 2, spent: 2, ..Counters::default() },
            retry_policy: RetryPolicy::default(),
            due: at,
            started_at: at,
            charged_us: 0,
            cancel: None,
            timeout_ms: 30_000,
            until: None,
        },
        spec: JobSpec {
            id,
            tenant,
            queue: QueueName::fallback(),
            kind: Kind::new("k").unwrap(),
            priority: Priority::Medium,
            payload: Json::from_valid(r#"{"to": "a@example.com"}"#),
            labels: Labels::new(),
            target,
            retry_policy: RetryPolicy::default(),
            timeout_ms: 30_000,
            idempotency_key: None,
            correlation_id: CorrelationId(Uuid::from_u128(0x00c0_ffee)),
            parent_job_id: None,
            rule_id: None,
            firing_id: None,
            traceparent: None,
            created_by: Actor::engine(),
            created_at: at,
            run_at: at,
        },
        slug: TenantSlug::new("acme").unwrap(),
        expires_at: at,
    }
}

async fn execute(executor: &JobExecutor, job: ClaimedJob) -> Verdict {
    execute_until(executor, job, CancellationToken::new()).await
}

async fn execute_until(executor: &JobExecutor, job: ClaimedJob, cancel: CancellationToken) -> Verdict {
    match executor.execute(Arc::new(job), RunContext { cancel }) {
        Execution::Done(verdict) => verdict,
        Execution::Running(future) => future.await,
    }
}

/// Calls `target` with loopback allowed.
async fn call(target: HttpTarget) -> Verdict {
    execute(&executor(EgressPolicy::default().with_loopback()), job(Some(Target::Http(target)))).await
}

async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}

/// Kind, message and permanence of a failure.
fn failure(verdict: &Verdict) -> (&str, &str, bool) {
    match verdict {
        Verdict::Failed { error, permanent, .. } => (&error.kind, &error.message, *permanent),
        other => panic!("not a failure: {other:?}"),
    }
}

fn result(verdict: &Verdict) -> serde_json::Value {
    match verdict {
        Verdict::Succeeded { result } | Verdict::Failed { result, .. } => {
            result.as_ref().map(Json::to_value).unwrap_or_default()
        }
        other => panic!("without a result: {other:?}"),
    }
}

fn builtin(name: Builtin, ms: Option<u64>) -> ClaimedJob {
    job(Some(Target::Builtin { name, ms }))
}

#[tokio::test]
async fn builtin_work_that_takes_no_time_is_done_at_once() {
    let executor = executor(EgressPolicy::default());
    let done = |job| match executor.execute(Arc::new(job), RunContext { cancel: CancellationToken::new() }) {
        Execution::Done(verdict) => verdict,
        Execution::Running(_) => panic!("it needs no waiting"),
    };
    assert_eq!(done(builtin(Builtin::Noop, Some(99))), Verdict::Succeeded { result: None });
    let payload = job(None).spec.payload;
    assert_eq!(done(builtin(Builtin::Echo, None)), Verdict::Succeeded { result: Some(payload) });
    assert_eq!(done(builtin(Builtin::Sleep, None)), Verdict::Succeeded { result: None });
    assert_eq!(failure(&done(builtin(Builtin::Fail, None))).0, "builtin_fail");
    assert_eq!(failure(&done(job(None))).0, "no_target");
}

#[tokio::test(start_paused = true)]
async fn builtin_work_takes_its_time_and_listens() {
    let executor = executor(EgressPolicy::default());
    let began = tokio::time::Instant::now();
    let slept = execute(&executor, builtin(Builtin::Sleep, Some(500))).await;
    assert_eq!(slept, Verdict::Succeeded { result: None });
    assert_eq!(began.elapsed().as_millis(), 500);
    let failed = execute(&executor, builtin(Builtin::Fail, Some(250))).await;
    assert_eq!((failure(&failed).0, failure(&failed).2), ("builtin_fail", false));
    assert_eq!(began.elapsed().as_millis(), 750);
    let cancel = CancellationToken::new();
    cancel.cancel();
    let stopped = execute_until(&executor, builtin(Builtin::Sleep, Some(60_000)), cancel).await;
    assert_eq!(stopped, Verdict::Cancelled);
    assert_eq!(began.elapsed().as_millis(), 750);
}
