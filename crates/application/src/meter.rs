//! What the use cases count. The names are public: dashboards stand on them.

use metrics::{counter, histogram};
use taskflow_domain::{JobState, Outcome};

/// Jobs accepted.
pub const JOBS_CREATED: &str = "taskflow_jobs_created_total";
/// Attempts begun.
pub const ATTEMPTS_STARTED: &str = "taskflow_attempts_started_total";
/// Attempts ended, by `outcome`.
pub const ATTEMPTS_FINISHED: &str = "taskflow_attempts_finished_total";
/// Jobs ended, by `state`.
pub const JOBS_FINISHED: &str = "taskflow_jobs_finished_total";
/// Attempts that are followed by another.
pub const RETRIES: &str = "taskflow_retries_total";
/// Seconds from due to claimed.
pub const JOB_WAIT: &str = "taskflow_job_wait_seconds";
/// Seconds that an attempt took.
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

pub(crate) fn created(jobs: usize) {
    counter!(JOBS_CREATED).increment(jobs as u64);
}

pub(crate) fn claimed(waits_us: impl Iterator<Item = i64>) {
    let wait = histogram!(JOB_WAIT);
    let mut count = 0;
    for wait_us in waits_us {
        wait.record(wait_us.max(0) as f64 / 1e6);
        count += 1;
    }
    counter!(ATTEMPTS_STARTED).increment(count);
}

pub(crate) fn finished(outcome: Outcome, then: JobState, took_us: i64) {
    counter!(ATTEMPTS_FINISHED, "outcome" => outcome.as_str()).increment(1);
    histogram!(JOB_RUN).record(took_us.max(0) as f64 / 1e6);
    if then.is_terminal() {
        counter!(JOBS_FINISHED, "state" => then.as_str()).increment(1);
    } else {
        counter!(RETRIES).increment(1);
    }
}
