//! Each gate by itself; that the claim agrees is shown by the contract suite.

use uuid::Uuid;

use super::*;
use crate::event::Actor;
use crate::id::{CorrelationId, TenantId};
use crate::job::{Counters, Delay, JobSpec, Json, Labels, Priority, Progress, Standing};
use crate::name::{Kind, QueueName, TenantSlug};
use crate::queue::{Drain, Pause, Rate};
use crate::retry::RetryPolicy;
use crate::target::{Builtin, Target};

const NOW: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);

fn facts(standing: Standing) -> Facts {
    let id = JobId(Uuid::from_u128(7));
    let spec = JobSpec {
        id,
        tenant: TenantId(1),
        queue: QueueName::fallback(),
        kind: Kind::new("work").unwrap(),
        priority: Priority::Medium,
        payload: Json::object(),
        labels: Labels::new(),
        target: None,
        retry_policy: RetryPolicy::default(),
        timeout_ms: 1,
        idempotency_key: None,
        correlation_id: CorrelationId(id.0),
        parent_job_id: None,
        rule_id: None,
        firing_id: None,
        traceparent: None,
        created_by: Actor::api(),
        created_at: NOW,
        run_at: NOW,
    };
    let job = Job {
        spec,
        slug: TenantSlug::fallback(),
        standing,
        counters: Counters::default(),
        seq: 1,
        last_attempt: None,
        last_error: None,
        progress: Progress::default(),
        updated_at: NOW,
    };
    Facts {
        job,
        line: Some(Line { jobs_ahead: 0, lanes_ahead: 0 }),
        queue: QueueFacts {
            settings: QueueSettings::default(),
            running: 0,
            last_start: None,
            max_set_at: None,
            bucket: Bucket { micro_tokens: 0, at: NOW },
        },
        tenant: TenantFacts { paused: false, suspended: false, paused_at: NOW },
        tenant_limit: None,
        tenant_in_queue: None,
        own_in_queue: Vec::new(),
        serving: Serving { workers: 1, slots: 4, ..Serving::default() },
    }
}

fn pending() -> Facts {
    facts(Standing::Pending { due: NOW })
}

fn full() -> LimitFacts {
    let holders = vec![JobId(Uuid::from_u128(1))];
    LimitFacts { max: 5, running: 5, holders, last_start: Some(NOW), set_at: None }
}

fn closed(facts: &Facts) -> Vec<Gate> {
    let explanation = explain(facts, NOW);
    let closed: Vec<Gate> = explanation.closed().map(|gate| gate.gate).collect();
    assert_eq!(explanation.runnable, closed.is_empty());
    assert!(explanation.closed().all(|gate| gate.since.is_some() && gate.opens_when.is_some()));
    closed
}

#[test]
fn each_gate_closes_for_its_reason() {
    let later = NOW.plus_millis(1_000);
    assert_eq!(closed(&pending()), []);
    assert_eq!(closed(&Facts { line: None, ..pending() }), [Gate::ScheduledLater]);
    let asked = Standing::Scheduled { due: later, delay: Delay::Requested };
    assert_eq!(closed(&Facts { line: None, ..facts(asked) }), [Gate::ScheduledLater]);
    let backs_off = Standing::Scheduled { due: later, delay: Delay::Retry };
    assert_eq!(closed(&Facts { line: None, ..facts(backs_off) }), [Gate::RetryBackoff]);
    assert_eq!(closed(&Facts { line: None, ..facts(Standing::Waiting { due: NOW }) }), [Gate::Dependency]);
    let held = Standing::Paused { due: NOW, waiting: false };
    assert_eq!(closed(&Facts { line: None, ..facts(held) }), [Gate::PausedJob]);
    let held = Standing::Paused { due: later, waiting: true };
    let all = [Gate::Dependency, Gate::ScheduledLater, Gate::PausedJob];
    assert_eq!(closed(&Facts { line: None, ..facts(held) }), all);
    assert_eq!(closed(&Facts { tenant_limit: Some(full()), ..pending() }), [Gate::TenantLimit]);
    assert_eq!(closed(&Facts { tenant_in_queue: Some(full()), ..pending() }), [Gate::TenantLimit]);
    let paused = TenantFacts { paused: true, suspended: false, paused_at: NOW };
    assert_eq!(closed(&Facts { tenant: paused, ..pending() }), [Gate::TenantLimit]);
    let suspended = explain(&Facts { tenant: TenantFacts { suspended: true, ..paused }, ..pending() }, NOW);
    assert!(suspended.closed().any(|gate| gate.detail.ends_with("is suspended")));
    assert_eq!(closed(&Facts { serving: Serving::default(), ..pending() }), [Gate::NoWorker]);
    let mut busy =
        Facts { serving: Serving { workers: 1, slots: 4, busy: 4, ..Serving::default() }, ..pending() };
    assert_eq!(closed(&busy), [], "a worker on the network has room for what it asks for");
    busy.job.spec.target = Some(Target::Builtin { name: Builtin::Noop, ms: None });
    assert_eq!(closed(&busy), [Gate::NoWorker]);
    let told = explain(&busy, NOW);
    let gate = told.closed().next().unwrap();
    assert_eq!((gate.limit, gate.in_use), (Some(4), Some(4)));
    let behind = Some(Line { jobs_ahead: 0, lanes_ahead: 1 });
    assert_eq!(closed(&Facts { line: behind, ..pending() }), [], "a worker that pulls serves one tenant");
    let mut engine = Facts { line: behind, ..pending() };
    engine.job.spec.target = Some(Target::Builtin { name: Builtin::Noop, ms: None });
    assert_eq!(closed(&engine), [Gate::FairShare]);
}

#[test]
fn a_queue_closes_as_a_whole() {
    let with = |settings: QueueSettings| {
        let mut facts = pending();
        facts.queue.settings = settings;
        facts
    };
    let until = |until| Pause { reason: None, actor: "api".into(), since: NOW, until };
    let held = |pause| with(QueueSettings { pause: Some(pause), ..QueueSettings::default() });
    assert_eq!(closed(&held(until(None))), [Gate::PausedQueue]);
    assert_eq!(closed(&held(until(Some(NOW)))), [], "a hold that has ended holds nothing");
    assert_eq!(
        closed(&with(QueueSettings { max_running: Some(0), ..QueueSettings::default() })),
        [Gate::QueueLimit]
    );
    let rate = Some(Rate { limit: 2, period_ms: 1_000 });
    let limited = with(QueueSettings { rate, ..QueueSettings::default() });
    assert_eq!(closed(&limited), [Gate::RateLimit]);
    let explanation = explain(&limited, NOW);
    assert_eq!(explanation.gates[0].opens_at, Some(NOW.plus_millis(500)));
    let drain = Some(Drain { reason: None, actor: "api".into(), since: NOW });
    let drained = with(QueueSettings { drain, ..QueueSettings::default() });
    assert_eq!(closed(&drained), [], "what is there may start");
    assert!(explain(&drained, NOW).gates.iter().any(|gate| gate.gate == Gate::Draining));
}

#[test]
fn limits_are_told_in_numbers() {
    let explanation = explain(&Facts { tenant_limit: Some(full()), ..pending() }, NOW);
    let gate = explanation.closed().next().unwrap();
    assert_eq!((gate.limit, gate.in_use, gate.held_by.len()), (Some(5), Some(5), 1));
    // More than may run: the limit was lowered, and that closed it.
    let last_start = Some(NOW.plus_millis(-9));
    let lowered = LimitFacts { running: 7, last_start, set_at: Some(NOW), ..full() };
    let explanation = explain(&Facts { tenant_limit: Some(lowered), ..pending() }, NOW.plus_millis(5));
    assert_eq!(explanation.closed().next().unwrap().since, Some(NOW));
    let explanation = explain(&Facts { tenant_limit: Some(full()), ..pending() }, NOW.plus_millis(-5));
    assert_eq!(explanation.closed().next().unwrap().since, Some(NOW.plus_millis(-5)), "never in the future");
    assert_eq!(gate.detail, "the tenant default may run 5 jobs at once and runs 5");
}

#[test]
fn what_runs_or_has_ended_stands_before_no_gate() {
    let ended = Standing::Ended { state: JobState::Dead, reason: None, at: NOW };
    let explanation = explain(&Facts { line: None, ..facts(ended) }, NOW);
    assert_eq!((explanation.runnable, explanation.gates.len()), (false, 0));
}

#[test]
fn names_are_different() {
    let names: std::collections::BTreeSet<_> = Gate::ALL.iter().map(|gate| gate.as_str()).collect();
    assert_eq!(names.len(), 15);
}

#[test]
fn each_job_of_a_queue_is_counted_once() {
    let mut line = QueueLine {
        queue: pending().queue,
        by_state: [1, 2, 100, 9, 3, 0, 0, 0, 0],
        due: DueJobs {
            by_tenant: Counted { jobs: 30, more: false },
            unserved: Counted { jobs: 20, more: false },
            in_line: Counted::default(),
            next: Counted::default(),
        },
    };
    let told = |line: &QueueLine| -> Vec<_> {
        explain_queue(line, NOW).iter().map(|gate| (gate.gate.as_str(), gate.jobs)).collect()
    };
    let own = [("dependency", 1), ("scheduled_later", 2), ("paused_job", 3)];
    assert_eq!(told(&line)[..3], own);
    assert_eq!(told(&line)[3..], [("tenant_limit", 30), ("no_worker", 20), ("fair_share", 50)]);
    line.due.next.jobs = 2;
    assert_eq!(told(&line)[3..], [("tenant_limit", 30), ("no_worker", 20), ("fair_share", 48)]);
    line.due.next.more = true;
    assert_eq!(told(&line)[3..], [("tenant_limit", 30), ("no_worker", 20), ("fair_share", 50)]);
    line.due.by_tenant.more = true;
    line.due.in_line.jobs = 10;
    assert_eq!(told(&line)[3..], [("tenant_limit", 70), ("no_worker", 20), ("fair_share", 10)]);
    line.due.in_line.more = true;
    let bounds: Vec<_> =
        explain_queue(&line, NOW)[3..].iter().map(|gate| (gate.jobs, gate.at_least)).collect();
    assert_eq!(bounds, [(30, true), (20, false), (10, true)]);
    line.queue.settings.max_running = Some(0);
    assert_eq!(told(&line)[3..], [("queue_limit", 100)]);
}
