//! What the use cases count. The names are public: dashboards stand on them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{PoisonError, RwLock};

use metrics::{SharedString, counter, histogram};
use taskflow_domain::{Decision, Job, JobChange, JobState, Lease, Outcome, QueueName, TenantId, Timestamp};

use crate::ports::Committed;
use crate::tally::{Subject, Tally, minute_of};

/// Jobs accepted, by `queue`.
pub const JOBS_CREATED: &str = "taskflow_jobs_created_total";
/// Attempts begun, by `queue`.
pub const ATTEMPTS_STARTED: &str = "taskflow_attempts_started_total";
/// Attempts ended, by `queue` and `outcome`.
pub const ATTEMPTS_FINISHED: &str = "taskflow_attempts_finished_total";
/// Jobs ended, by `queue` and `state`.
pub const JOBS_FINISHED: &str = "taskflow_jobs_finished_total";
/// Attempts that are followed by another, by `queue`.
pub const RETRIES: &str = "taskflow_retries_total";
/// Seconds from due to claimed, by `queue`.
pub const JOB_WAIT: &str = "taskflow_job_wait_seconds";
/// Seconds that an attempt took, by `queue`.
pub const JOB_RUN: &str = "taskflow_job_run_seconds";
/// Leases that expired because their worker was lost.
pub const LEASES_EXPIRED: &str = "taskflow_lease_expired_total";
/// Reports refused because their lease was lost.
pub const REPORTS_REFUSED: &str = "taskflow_reports_refused_total";
/// Jobs deleted by retention.
pub const JOBS_PRUNED: &str = "taskflow_jobs_pruned_total";
/// What sweeps found wrong and mended, by `what`. Zero in a healthy system.
pub const DISCREPANCIES: &str = "taskflow_discrepancies_total";
/// Jobs that one transaction of concurrent submits held.
pub const SUBMIT_BATCH: &str = "taskflow_submit_batch_jobs";

/// Subjects of statistics that were not counted because there were too many at
/// once, or because the database refused them.
pub const STATS_DROPPED: &str = "taskflow_stats_dropped_total";

/// So many queues have a label of their own; the others share one. Whoever may
/// submit may name queues, so their number has no bound.
const MOST_QUEUES: usize = 500;
/// So many of them by jobs of one tenant, so that no tenant's queues push out those
/// of others. Queues that an operator set up do not count.
const MOST_OF_TENANT: usize = 50;
/// The label that the other queues share.
const OTHERS: &str = "_other";

/// The queues with labels of their own, and how many each tenant brought.
#[derive(Debug, Default)]
struct Labels {
    queues: BTreeSet<QueueName>,
    brought: BTreeMap<Option<TenantId>, usize>,
    all: usize,
}

impl Labels {
    const NONE: Self = Self { queues: BTreeSet::new(), brought: BTreeMap::new(), all: 0 };

    fn admit(&mut self, queue: &QueueName, by: Option<TenantId>) -> bool {
        if self.queues.contains(queue) {
            return true;
        }
        let brought = self.brought.entry(by).or_default();
        if self.all >= MOST_QUEUES || *brought >= MOST_OF_TENANT {
            return false;
        }
        *brought += 1;
        self.all += 1;
        self.queues.insert(queue.clone())
    }
}

static LABELS: RwLock<Labels> = RwLock::new(Labels::NONE);

/// What a queue is called in metrics about jobs of a tenant, or of nobody in
/// particular.
pub fn queue_label(queue: &QueueName, of: Option<TenantId>) -> SharedString {
    let known = LABELS.read().unwrap_or_else(PoisonError::into_inner).queues.contains(queue);
    if known || LABELS.write().unwrap_or_else(PoisonError::into_inner).admit(queue, of) {
        return queue.as_str().to_owned().into();
    }
    OTHERS.into()
}

/// Gives a queue that an operator set up a label of its own, whatever the number.
pub fn keep_label(queue: &QueueName) {
    if !LABELS.read().unwrap_or_else(PoisonError::into_inner).queues.contains(queue) {
        LABELS.write().unwrap_or_else(PoisonError::into_inner).queues.insert(queue.clone());
    }
}

pub(crate) fn created<'a, I: Iterator<Item = &'a Subject>>(tally: &Tally, jobs: impl Fn() -> I) {
    let mut queues: BTreeMap<(&QueueName, TenantId), u64> = BTreeMap::new();
    for subject in jobs() {
        *queues.entry((&subject.queue, subject.tenant)).or_default() += 1;
    }
    for ((queue, tenant), n) in queues {
        counter!(JOBS_CREATED, "queue" => queue_label(queue, Some(tenant))).increment(n);
    }
    tally.created(jobs());
}

pub(crate) fn claimed<'a, I: Iterator<Item = &'a Lease>>(tally: &Tally, leases: impl Fn() -> I) {
    let mut queues: BTreeMap<(&QueueName, TenantId), Vec<f64>> = BTreeMap::new();
    for lease in leases() {
        let wait_us = lease.started_at.micros_since(lease.due).max(0);
        queues.entry((&lease.queue, lease.tenant)).or_default().push(wait_us as f64 / 1e6);
    }
    for ((queue, tenant), waits) in queues {
        let label = queue_label(queue, Some(tenant));
        counter!(ATTEMPTS_STARTED, "queue" => label.clone()).increment(waits.len() as u64);
        let histogram = histogram!(JOB_WAIT, "queue" => label);
        for wait in waits {
            histogram.record(wait);
        }
    }
    tally.started(leases());
}

/// An attempt whose end was committed.
pub(crate) struct Finished<'a> {
    pub(crate) lease: &'a Lease,
    pub(crate) outcome: Outcome,
    pub(crate) then: JobState,
    pub(crate) at: Timestamp,
    pub(crate) took_us: i64,
}

pub(crate) fn finished(tally: &Tally, ends: &[Finished<'_>]) {
    let mut queues: BTreeMap<(&QueueName, TenantId), Vec<&Finished<'_>>> = BTreeMap::new();
    for end in ends {
        queues.entry((&end.lease.queue, end.lease.tenant)).or_default().push(end);
    }
    for ((queue, tenant), ends) in queues {
        let label = queue_label(queue, Some(tenant));
        let run = histogram!(JOB_RUN, "queue" => label.clone());
        let (mut outcomes, mut states) = (BTreeMap::new(), BTreeMap::new());
        for end in ends {
            run.record(end.took_us.max(0) as f64 / 1e6);
            *outcomes.entry(end.outcome.as_str()).or_default() += 1;
            *states.entry(end.then).or_default() += 1;
        }
        for (outcome, n) in outcomes {
            counter!(ATTEMPTS_FINISHED, "queue" => label.clone(), "outcome" => outcome).increment(n);
        }
        for (state, n) in states {
            if state.is_terminal() {
                counter!(JOBS_FINISHED, "queue" => label.clone(), "state" => state.as_str()).increment(n);
            } else {
                counter!(RETRIES, "queue" => label.clone()).increment(n);
            }
        }
    }
    tally.ended(ends.iter().map(|end| (end.lease, end.at, end.took_us, end.then)));
}

/// Counts the jobs that these changes ended while they did not run: no attempt ends
/// with them, and [`finished`] hears only of attempts.
pub(crate) fn cancelled(tally: &Tally, jobs: &[&Job], changes: &[JobChange], committed: &[Committed]) {
    let ended = |change: &JobChange| match &change.decision {
        Decision::Move(standing) => change.attempt.is_none() && standing.state() == JobState::Cancelled,
        Decision::RequestCancel(_) | Decision::Keep => false,
    };
    for ((job, change), done) in jobs.iter().zip(changes).zip(committed) {
        if *done == Committed::Done && ended(change) {
            let label = queue_label(&job.spec.queue, Some(job.spec.tenant));
            counter!(JOBS_FINISHED, "queue" => label, "state" => JobState::Cancelled.as_str()).increment(1);
            tally.cancelled(Subject { minute: minute_of(change.at), ..Subject::of(&job.spec) });
        }
    }
}

/// Firings of rules, by `outcome` and `reason`.
pub const RULE_FIRINGS: &str = "taskflow_rule_firings_total";
/// Seconds that an evaluation of a rule took.
pub const RULE_EVALUATION: &str = "taskflow_rule_evaluation_seconds";
/// Seconds from the time of an occurrence to the commit of its firing.
pub const SCHEDULE_LATENESS: &str = "taskflow_schedule_lateness_seconds";
/// Deliveries and events from outside, by `outcome`: accepted, duplicate, rejected.
pub const EVENTS_RECEIVED: &str = "taskflow_events_received_total";
/// Entries of the outbox that were dispatched.
pub const EVENTS_DISPATCHED: &str = "taskflow_events_dispatched_total";

pub(crate) fn fired(firing: &taskflow_domain::Firing) {
    let reason = firing.reason.clone().unwrap_or_default();
    counter!(RULE_FIRINGS, "outcome" => firing.outcome.as_str(), "reason" => reason).increment(1);
    histogram!(RULE_EVALUATION).record(firing.duration_us.max(0) as f64 / 1e6);
}

pub(crate) fn scheduled(late_us: i64) {
    histogram!(SCHEDULE_LATENESS).record(late_us.max(0) as f64 / 1e6);
}

pub(crate) fn received(outcome: &'static str, count: usize) {
    counter!(EVENTS_RECEIVED, "outcome" => outcome).increment(count as u64);
}

pub(crate) fn dispatched(entries: usize) {
    counter!(EVENTS_DISPATCHED).increment(entries as u64);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_tenant_pushes_out_the_queues_of_others() {
        let mut labels = Labels::default();
        let name = |n: usize| QueueName::new(&format!("squat-{n}")).unwrap();
        let (one, other) = (Some(TenantId(1)), Some(TenantId(2)));
        let admitted = (0..2_000).filter(|n| labels.admit(&name(*n), one)).count();
        assert_eq!(admitted, MOST_OF_TENANT);
        assert!(labels.admit(&QueueName::new("important").unwrap(), other));
        assert!(labels.admit(&QueueName::new("important").unwrap(), one), "it is known");
        for (tenant, n) in (3_i32..100).flat_map(|tenant| (0..60).map(move |n| (tenant, n))) {
            let queue = QueueName::new(&format!("queue-{tenant}-{n}")).unwrap();
            labels.admit(&queue, Some(TenantId(tenant)));
        }
        assert_eq!(labels.queues.len(), MOST_QUEUES);
    }
}
