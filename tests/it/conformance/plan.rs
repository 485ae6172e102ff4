//! What may be drawn: steps that name jobs and leases by number only.

use proptest::option;
use proptest::prelude::*;

/// A job to insert.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub(super) tenant: usize,
    pub(super) queue: usize,
    pub(super) kind: usize,
    pub(super) pulled: bool,
    pub(super) priority: usize,
    /// 0: WAITING; 1: SCHEDULED; else PENDING.
    pub(super) place: u8,
    /// Due so many ms before or after now.
    pub(super) off_ms: i64,
    pub(super) key: Option<(u8, u8)>,
    pub(super) label: Option<u8>,
    pub(super) attempts: u16,
    pub(super) delay_ms: u64,
}

/// What is done to a job.
#[derive(Clone, Debug)]
pub(super) enum Act {
    Cancel,
    Pause,
    Resume,
    Redrive,
    Edit { priority: Option<usize>, label: Option<u8>, off_ms: Option<i64> },
}

/// A change: by an operator, or by the worker of a running or earlier lease.
#[derive(Clone, Debug)]
pub(super) enum Wish {
    Act { job: usize, act: Act },
    Settle { lease: usize, verdict: usize, took_us: i64 },
    Stale { lease: usize, verdict: usize },
}

/// One step.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Insert {
        shapes: Vec<Shape>,
        atomic: bool,
    },
    /// Of the lane of a due job.
    Claim {
        worker: usize,
        job: usize,
        max: u32,
        own_end: Option<i64>,
    },
    Commit {
        wishes: Vec<Wish>,
    },
    Reap,
    Promote,
    Extend {
        leases: Vec<usize>,
        ms: i64,
    },
    Progress {
        leases: Vec<usize>,
        percent: u8,
    },
    Beat {
        worker: usize,
        ms: i64,
    },
    Leave {
        worker: usize,
    },
    Forget {
        age_ms: i64,
    },
    Prune {
        state: usize,
        age_ms: i64,
        keys_ms: i64,
    },
    Tenant {
        tenant: usize,
        weight: u32,
        running: Option<u32>,
        backlog: Option<u32>,
        paused: bool,
    },
    Queue {
        queue: usize,
        running: Option<u32>,
        each: Option<u32>,
        rate: Option<(u32, u32)>,
        pause: Option<i64>,
    },
    Pass {
        ms: i64,
    },
    Sweep,
}

pub(super) const TENANTS: usize = 3;
pub(super) const QUEUES: usize = 3;
pub(super) const KINDS: usize = 2;
pub(super) const WORKERS: usize = 2;

fn shapes() -> impl Strategy<Value = Shape> {
    let place = (0..TENANTS, 0..QUEUES, 0..KINDS, prop::bool::weighted(0.3), 0..5usize);
    let time = (0..6u8, 0..3_000i64);
    let rest = (
        option::weighted(0.3, (0..6u8, 0..2u8)),
        option::weighted(0.5, 0..3u8),
        1..4u16,
        prop::sample::select(vec![0u64, 100, 1_000]),
    );
    (place, time, rest).prop_map(
        |((tenant, queue, kind, pulled, priority), (place, off_ms), (key, label, attempts, delay_ms))| {
            Shape { tenant, queue, kind, pulled, priority, place, off_ms, key, label, attempts, delay_ms }
        },
    )
}

fn acts() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => Just(Act::Cancel),
        2 => Just(Act::Pause),
        3 => Just(Act::Resume),
        3 => Just(Act::Redrive),
        3 => (option::of(0..5usize), option::of(0..3u8), option::weighted(0.4, -2_000..3_000i64))
            .prop_map(|(priority, label, off_ms)| Act::Edit { priority, label, off_ms }),
    ]
}

fn wishes() -> impl Strategy<Value = Wish> {
    let took = prop::sample::select(vec![100i64, 10_000, 11_000, 50_000, 3_000_000]);
    prop_oneof![
        3 => (0..64usize, acts()).prop_map(|(job, act)| Wish::Act { job, act }),
        9 => (0..16usize, 0..9usize, took)
            .prop_map(|(lease, verdict, took_us)| Wish::Settle { lease, verdict, took_us }),
        1 => (0..64usize, 0..9usize).prop_map(|(lease, verdict)| Wish::Stale { lease, verdict }),
    ]
}

fn claims() -> impl Strategy<Value = Step> {
    (0..WORKERS, 0..64usize, 0..9u32, option::weighted(0.4, 0..2_000i64))
        .prop_map(|(worker, job, max, own_end)| Step::Claim { worker, job, max, own_end })
}

fn settings() -> impl Strategy<Value = Step> {
    let few = || option::weighted(0.4, prop_oneof![1 => Just(0u32), 9 => 1..6u32]);
    prop_oneof![
        (0..TENANTS, 1..4u32, few(), option::weighted(0.2, 0..20u32), prop::bool::weighted(0.1)).prop_map(
            |(tenant, weight, running, backlog, paused)| Step::Tenant {
                tenant,
                weight,
                running,
                backlog,
                paused
            }
        ),
        (
            0..QUEUES,
            few(),
            few(),
            option::weighted(0.3, (1..8u32, 100..2_000u32)),
            option::weighted(0.1, 0..2_200i64),
        )
            .prop_map(|(queue, running, each, rate, pause)| Step::Queue {
                queue,
                running,
                each,
                rate,
                pause
            }),
    ]
}

/// One step, the everyday ones more often.
pub(super) fn steps() -> impl Strategy<Value = Step> {
    let leases = || prop::collection::vec(0..16usize, 1..4);
    prop_oneof![
        12 => (prop::collection::vec(shapes(), 1..8), prop::bool::weighted(0.3))
            .prop_map(|(shapes, atomic)| Step::Insert { shapes, atomic }),
        20 => claims(),
        16 => prop::collection::vec(wishes(), 1..6).prop_map(|wishes| Step::Commit { wishes }),
        2 => Just(Step::Reap),
        5 => Just(Step::Promote),
        2 => (leases(), 0..3_000i64).prop_map(|(leases, ms)| Step::Extend { leases, ms }),
        3 => (leases(), 0..=100u8).prop_map(|(leases, percent)| Step::Progress { leases, percent }),
        2 => (0..WORKERS, 0..5_000i64).prop_map(|(worker, ms)| Step::Beat { worker, ms }),
        1 => (0..WORKERS).prop_map(|worker| Step::Leave { worker }),
        1 => (0..5_000i64).prop_map(|age_ms| Step::Forget { age_ms }),
        2 => (5..9usize, 0..3_000i64, 0..6_000i64)
            .prop_map(|(state, age_ms, keys_ms)| Step::Prune { state, age_ms, keys_ms }),
        3 => settings(),
        8 => (1..1_500i64).prop_map(|ms| Step::Pass { ms }),
        2 => Just(Step::Sweep),
    ]
}
