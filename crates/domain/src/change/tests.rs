//! Every wish from every state, every verdict on every kind of lease.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;
use crate::job::{Delay, Job, JobSpec};
use crate::lease::Lease;
use crate::name::{Kind, QueueName, TenantSlug, WorkerName};
use crate::retry::{Jitter, RetryPolicy, Strategy as Growth};
use uuid::Uuid;

const NOW: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);

fn name() -> WorkerName {
    WorkerName::new("w-1").unwrap()
}

fn spec() -> JobSpec {
    let id = JobId(Uuid::from_u128(7));
    JobSpec {
        id,
        tenant: TenantId(1),
        queue: QueueName::fallback(),
        kind: Kind::new("work").unwrap(),
        priority: Priority::Medium,
        payload: Json::object(),
        labels: Labels::new(),
        target: None,
        retry_policy: RetryPolicy::default(),
        timeout_ms: 30_000,
        idempotency_key: None,
        correlation_id: crate::id::CorrelationId(id.0),
        parent_job_id: None,
        rule_id: None,
        firing_id: None,
        traceparent: None,
        created_by: Actor::api(),
        created_at: NOW,
        run_at: NOW,
    }
}

fn job(standing: Standing) -> Job {
    Job {
        spec: spec(),
        slug: TenantSlug::fallback(),
        standing,
        counters: Counters { attempt: 5, spent: 2, lost: 1, interrupted: 3, snoozed: 4 },
        seq: 9,
        last_attempt: None,
        last_error: None,
        progress: crate::job::Progress::default(),
        updated_at: NOW,
    }
}

fn request() -> CancelRequest {
    CancelRequest { at: NOW, actor: Actor::api() }
}

/// Every standing that differs for a wish.
fn standings() -> Vec<(String, Standing)> {
    let due = NOW.plus_millis(60_000);
    let past = NOW.plus_millis(-60_000);
    let running =
        |cancel| Standing::Running { worker: name(), token: LeaseToken::new(5, 1), started_at: NOW, cancel };
    let mut all = vec![
        ("WAITING".to_owned(), Standing::Waiting { due: past }),
        ("SCHEDULED".to_owned(), Standing::Scheduled { due, delay: Delay::Retry }),
        ("PENDING".to_owned(), Standing::Pending { due: past }),
        ("RUNNING".to_owned(), running(None)),
        ("RUNNING, asked to stop".to_owned(), running(Some(request()))),
        ("PAUSED, was due".to_owned(), Standing::Paused { due: past, waiting: false }),
        ("PAUSED, not due".to_owned(), Standing::Paused { due, waiting: false }),
        ("PAUSED, was waiting".to_owned(), Standing::Paused { due: past, waiting: true }),
    ];
    for state in JobState::ALL.into_iter().filter(|state| state.is_terminal()) {
        all.push((state.to_string(), Standing::Ended { state, reason: None, at: NOW }));
    }
    all
}

/// Every wish of an operator.
fn wishes(job: &Job) -> Vec<(&'static str, Result<Option<JobChange>, Refusal>)> {
    let with = |change: Edit| edit(job, change, Actor::api(), NOW).map(Some);
    let at = |run_at: Timestamp| Edit { run_at: Some(run_at), ..Edit::default() };
    let labels = Some(Labels::new());
    vec![
        ("cancel", cancel(job, Actor::api(), Some("why"), NOW)),
        ("pause", pause(job, Actor::api(), NOW).map(Some)),
        ("resume", resume(job, Actor::api(), NOW).map(Some)),
        ("redrive", redrive(job, Actor::api(), NOW).map(Some)),
        ("put off", with(at(NOW.plus_millis(5_000)))),
        ("bring forward", with(at(NOW.plus_millis(-5_000)))),
        ("edit", with(Edit { labels, priority: Some(Priority::Low), run_at: None })),
    ]
}

fn told(change: &JobChange) -> String {
    let due = |due: Timestamp| format!("due in {} s", due.micros_since(NOW) / 1_000_000);
    let place = match &change.decision {
        Decision::Keep => "keeps running".to_owned(),
        Decision::RequestCancel(_) => "keeps running, asked to stop".to_owned(),
        Decision::Move(standing) => match standing {
            Standing::Waiting { due: at } | Standing::Pending { due: at } => {
                format!("{} {}", standing.state(), due(*at))
            }
            Standing::Scheduled { due: at, delay } => format!("SCHEDULED {} ({delay:?})", due(*at)),
            Standing::Paused { due: at, waiting } => {
                format!("PAUSED {}{}", due(*at), if *waiting { ", waiting" } else { "" })
            }
            Standing::Ended { state, reason, .. } => {
                format!("{state} ({})", reason.as_deref().unwrap_or("no reason"))
            }
            Standing::Running { .. } => "RUNNING".to_owned(),
        },
    };
    let guard = match change.guard {
        Guard::Version { state, seq } => format!("if {state} at {seq}"),
        Guard::Lease { unless_cancelled: true, .. } => "if leased and not asked to stop".to_owned(),
        Guard::Lease { .. } => "if leased".to_owned(),
        Guard::Lapsed { .. } => "if its lease ended".to_owned(),
    };
    format!("{place}, {guard}")
}

#[test]
fn every_wish_from_every_state() {
    let mut table = String::new();
    for (label, standing) in standings() {
        let job = job(standing);
        writeln!(table, "{label}").unwrap();
        for (wish, answer) in wishes(&job) {
            let text = match answer {
                Ok(Some(change)) => {
                    let (kind, ..) = change.event.clone().unwrap();
                    format!("{} [{}]", told(&change), kind.as_str())
                }
                Ok(None) => "is noted already".to_owned(),
                Err(refusal) => format!("no: {refusal}"),
            };
            writeln!(table, "  {wish:<13} {text}").unwrap();
        }
    }
    insta::assert_snapshot!(table);
}

#[test]
fn what_every_wish_leaves_alone() {
    for (label, standing) in standings() {
        let job = job(standing);
        for (wish, answer) in wishes(&job) {
            let Ok(Some(change)) = answer else { continue };
            assert_eq!((change.tenant, change.job, change.at), (job.spec.tenant, job.spec.id, NOW));
            assert!(change.attempt.is_none() && change.settle_us == 0, "{wish} of {label}");
            let expected = match wish {
                "redrive" => Counters { attempt: 5, ..Counters::default() },
                _ => job.counters,
            };
            assert_eq!(change.counters, expected, "{wish} of {label}");
            if let Decision::Move(to) = &change.decision {
                let (from, to) = (job.standing.state(), to.state());
                assert!(from.may_become(to), "{wish}: {from} -> {to}");
            }
        }
    }
}

#[test]
fn an_edit_says_what_changed() {
    let job = job(Standing::Pending { due: NOW });
    let wish = Edit {
        priority: Some(Priority::High),
        labels: Some([("a".to_owned(), "b".to_owned())].into()),
        run_at: Some(NOW),
    };
    let change = edit(&job, wish.clone(), Actor::api(), NOW).unwrap();
    let (_, _, data) = change.event.unwrap();
    assert_eq!(
        data.to_string(),
        r#"{"labels":{"a":"b"},"priority":"high","run_at":"2026-01-01T00:00:00.000000Z"}"#
    );
    assert_eq!(change.edit, Some(wish));
}

fn lease(counters: Counters, cancel: bool, max_attempts: u16) -> Lease {
    Lease {
        tenant: TenantId(1),
        job: JobId(Uuid::from_u128(7)),
        queue: QueueName::fallback(),
        kind: Kind::new("k").unwrap(),
        token: LeaseToken::new(counters.attempt, 1),
        worker: name(),
        counters,
        retry_policy: RetryPolicy {
            max_attempts,
            strategy: Growth::Fixed,
            base_delay_ms: 10_000,
            jitter: Jitter::None,
            ..RetryPolicy::default()
        },
        due: NOW,
        started_at: NOW,
        charged_us: 10_000,
        cancel: cancel.then(request),
        timeout_ms: 30_000,
        until: None,
    }
}

#[test]
fn silence_before_the_timeout_is_a_lost_worker() {
    let mut lease = lease(Counters { attempt: 1, spent: 1, ..Counters::default() }, false, 3);
    assert_eq!(lease.timeout_at(), NOW.plus_millis(30_000));
    assert_eq!(lease.limit(), NOW.plus_millis(35_000));
    assert_eq!(lease.unanswered(), Verdict::Lost, "its worker watches the timeout");
    for (until_ms, verdict) in [(34_999, Verdict::Lost), (35_000, Verdict::TimedOut { after_ms: 30_000 })] {
        lease.until = Some(NOW.plus_millis(until_ms));
        assert_eq!(lease.unanswered(), verdict, "{until_ms}");
    }
    lease.timeout_ms = u64::MAX;
    assert_eq!(lease.unanswered(), Verdict::Lost);
}

fn verdicts() -> Vec<(&'static str, Verdict)> {
    let failed = |permanent, retry_after_ms| Verdict::Failed {
        error: AttemptError { kind: "x".into(), message: "y".into() },
        result: None,
        permanent,
        retry_after_ms,
    };
    vec![
        ("succeeded", Verdict::Succeeded { result: None }),
        ("failed", failed(false, None)),
        ("failed, asked for 7 s", failed(false, Some(7_000))),
        ("failed for good", failed(true, None)),
        ("timed out", Verdict::TimedOut { after_ms: 5 }),
        ("interrupted", Verdict::Interrupted),
        ("snoozed 30 s", Verdict::Snoozed { for_ms: 30_000 }),
        ("cancelled", Verdict::Cancelled),
        ("lost", Verdict::Lost),
    ]
}

fn report(verdict: Verdict) -> Report {
    Report { verdict, at: NOW, took_us: 10_000, random: 0.5, place: 0 }
}

#[test]
fn every_verdict_on_every_lease() {
    let mut table = String::new();
    let fresh = Counters { attempt: 1, spent: 1, ..Counters::default() };
    let cases = [
        ("budget left", fresh, false),
        ("budget left, asked to stop", fresh, true),
        ("budget spent", Counters { attempt: 3, spent: 3, ..fresh }, false),
        ("budget spent, asked to stop", Counters { attempt: 3, spent: 3, ..fresh }, true),
        ("one worker lost", Counters { attempt: 2, spent: 2, lost: 1, ..fresh }, false),
        ("two workers lost", Counters { attempt: 2, spent: 2, lost: 2, ..fresh }, false),
        ("no free hand-backs left", Counters { interrupted: 20, snoozed: 100, ..fresh }, false),
        (
            "no free hand-backs left, budget spent",
            Counters { spent: 3, interrupted: 20, snoozed: 100, ..fresh },
            false,
        ),
    ];
    for (label, counters, cancel) in cases {
        writeln!(table, "{label}").unwrap();
        for (verdict, told_verdict) in verdicts() {
            let change = settle(&lease(counters, cancel, 3), report(told_verdict));
            let Counters { spent, lost, interrupted, snoozed, .. } = change.counters;
            let counts = format!("spent {spent}, lost {lost}, handed back {interrupted}/{snoozed}");
            writeln!(table, "  {verdict:<22} {} | {counts}", told(&change)).unwrap();
        }
    }
    insta::assert_snapshot!(table);
}

#[test]
fn the_attempt_tells_the_end() {
    let counters = Counters { attempt: 4, spent: 1, ..Counters::default() };
    for (verdict, told_verdict) in verdicts() {
        let lease = lease(counters, false, 3);
        let change = settle(&lease, report(told_verdict));
        let attempt = change.attempt.clone().unwrap();
        let end = attempt.end.unwrap();
        assert_eq!((attempt.number, attempt.token), (4, lease.token), "{verdict}");
        let Decision::Move(standing) = &change.decision else { panic!("{verdict} keeps it running") };
        assert_eq!(end.then, standing.state(), "{verdict}");
        match standing {
            Standing::Scheduled { due, .. } | Standing::Pending { due } => {
                assert_eq!(end.next_run_at, Some(*due), "{verdict}");
            }
            Standing::Ended { reason, at, .. } => {
                assert_eq!((end.reason, end.next_run_at), (reason.as_deref(), None), "{verdict}");
                assert_eq!(*at, NOW);
            }
            other => panic!("{verdict} leads to {other:?}"),
        }
        assert!(change.event.is_none() && change.edit.is_none());
    }
}

/// A job is driven through random verdicts as the stores drive it: each claim
/// counts an attempt and spends one.
fn lives() -> impl Strategy<Value = (u16, Vec<(usize, bool)>)> {
    (1..=100u16, proptest::collection::vec((0..9usize, proptest::bool::weighted(0.05)), 1..300))
}

proptest! {
    #[test]
    fn a_life_stays_within_its_budget((max, steps) in lives()) {
        let mut counters = Counters::default();
        for (index, cancel) in steps {
            prop_assert!(counters.spent < max, "a job with nothing left was claimable");
            counters.attempt += 1;
            counters.spent += 1;
            let lease = lease(counters, cancel, max);
            let (_, verdict) = verdicts().swap_remove(index);
            let change = settle(&lease, report(verdict.clone()));
            let Decision::Move(standing) = &change.decision else { panic!("it ended") };
            let state = standing.state();
            prop_assert!(JobState::Running.may_become(state));
            prop_assert!(change.counters.spent <= max);
            prop_assert_eq!(change.counters.attempt, counters.attempt);
            let poisoned = change.counters.lost >= POISON_AT;
            let free = counters.spent > change.counters.spent;
            let permanent = matches!(verdict, Verdict::Failed { permanent: true, .. });
            let good = matches!(verdict, Verdict::Succeeded { .. } | Verdict::Cancelled);
            let dead = !good && !cancel && !permanent && (poisoned || (!free && counters.spent == max));
            prop_assert_eq!(state == JobState::Dead, dead);
            prop_assert_eq!(state == JobState::Failed, permanent && !cancel);
            if cancel {
                prop_assert!(matches!(state, JobState::Succeeded | JobState::Cancelled));
            }
            let Guard::Lease { token, unless_cancelled } = change.guard else { panic!("by its token") };
            prop_assert_eq!(token, lease.token);
            prop_assert_eq!(unless_cancelled, !cancel && !state.is_terminal());
            if state.is_terminal() {
                break;
            }
            counters = change.counters;
        }
    }

    #[test]
    fn no_delay_leads_out_of_the_calendar(ms in any::<u64>(), at in any::<i64>()) {
        let lease = lease(Counters { attempt: 1, spent: 1, ..Counters::default() }, false, 3);
        let at = Timestamp::from_micros(at);
        for verdict in [Verdict::Snoozed { for_ms: ms }, Verdict::Failed {
            error: AttemptError { kind: "x".into(), message: "y".into() },
            result: None,
            permanent: false,
            retry_after_ms: Some(ms),
        }] {
            let change = settle(&lease, Report { verdict, at, took_us: 1, random: 0.5, place: 0 });
            let Decision::Move(Standing::Scheduled { due, .. } | Standing::Pending { due }) = change.decision
            else {
                panic!("it is tried again")
            };
            prop_assert!(due >= at && due <= Timestamp::MAX);
            prop_assert!(due.micros_since(at) <= RetryPolicy::LONGEST_DELAY_MS as i64 * 1_000);
        }
    }
}

#[test]
fn a_stop_means_what_the_worker_was_told() {
    let error = AttemptError { kind: "x".into(), message: "y".into() };
    let ended = |permanent| Stop::Ended { error: error.clone(), permanent, retry_after_ms: Some(7) };
    let failed = |permanent| Verdict::Failed {
        error: error.clone(),
        result: None,
        permanent,
        retry_after_ms: Some(7),
    };
    let first = Counters { attempt: 1, spent: 1, ..Counters::default() };
    let (plain, cancelled) = (lease(first, false, 3), lease(first, true, 3));
    let (early, late) = (NOW, plain.timeout_at());
    let timed_out = Verdict::TimedOut { after_ms: 30_000 };
    assert_eq!(ended(false).verdict(&plain, early), failed(false));
    assert_eq!(ended(false).verdict(&plain, late), timed_out);
    assert_eq!(ended(true).verdict(&plain, late), failed(true));
    assert_eq!(ended(false).verdict(&cancelled, late), Verdict::Cancelled);
    assert_eq!(Stop::Told.verdict(&cancelled, early), Verdict::Cancelled);
    assert_eq!(Stop::Told.verdict(&plain, late), timed_out);
    assert!(matches!(Stop::Told.verdict(&plain, early), Verdict::Failed { permanent: false, .. }));
    let said = Stop::Failed { error: error.clone(), permanent: false, retry_after_ms: Some(7) };
    assert_eq!(said.verdict(&cancelled, late), failed(false));
    assert_eq!(Stop::Interrupted.verdict(&cancelled, early), Verdict::Interrupted);
    assert_eq!(Stop::Snoozed { for_ms: 3 }.verdict(&plain, late), Verdict::Snoozed { for_ms: 3 });
}
