//! Where a job stands, what is counted of it, and under which lease it runs.

use taskflow_application::ports::StoreError;
use taskflow_domain::{
    Actor, CancelRequest, Counters, Delay, JobId, JobState, Kind, Lease, LeaseToken, Progress, QueueName,
    Standing, TenantId, Timestamp, WorkerName,
};
use uuid::Uuid;

use super::job::policy_from_text;
use super::{corrupt, row};

row! {
    /// The counters, as every place keeps them.
    CountersRow {
        attempt: i16,
        spent: i16,
        lost: i16,
        interrupted: i16,
        snoozed: i16,
    }
}

impl CountersRow {
    /// What is counted of the job.
    pub(crate) fn counters(&self) -> Counters {
        let count = |value: i16| u16::try_from(value).unwrap_or_default();
        Counters {
            attempt: count(self.attempt),
            spent: count(self.spent),
            lost: count(self.lost),
            interrupted: count(self.interrupted),
            snoozed: count(self.snoozed),
        }
    }
}

impl From<Counters> for CountersRow {
    fn from(counters: Counters) -> Self {
        let count = |value: u16| i16::try_from(value).unwrap_or(i16::MAX);
        Self {
            attempt: count(counters.attempt),
            spent: count(counters.spent),
            lost: count(counters.lost),
            interrupted: count(counters.interrupted),
            snoozed: count(counters.snoozed),
        }
    }
}

row! {
    /// A row of `ready`, `parked`, `running` or `finished` in one common form:
    /// the columns that a table lacks are null. `since` is `started_at` of
    /// `running` and `finished_at` of `finished`; `worker` is a name.
    PlaceRow {
        state: i16,
        due_at: Option<i64>,
        since: i64,
        delay: Option<i16>,
        waiting: Option<bool>,
        reason: Option<String>,
        worker: Option<String>,
        token: Option<i64>,
        cancel_at: Option<i64>,
        cancel_actor: Option<String>,
        seq: i32,
        started_seq: Option<i32>,
    }
}

impl PlaceRow {
    /// Where the job `id` stands. A scheduled job that is due by `now` shows as PENDING.
    pub(crate) fn standing(&self, id: Uuid, now: Timestamp) -> Result<Standing, StoreError> {
        let fault = |column, detail: String| corrupt("place", column, id, detail);
        let missing = |column| move || corrupt("place", column, id, "is missing");
        let due = || self.due_at.map(Timestamp::from_micros).ok_or_else(missing("due_at"));
        let since = Timestamp::from_micros(self.since);
        let state = self.job_state(id)?;
        Ok(match state {
            JobState::Waiting => Standing::Waiting { due: due()? },
            JobState::Scheduled => {
                let code = self.delay.unwrap_or_default();
                let delay = Delay::from_code(code).ok_or_else(|| fault("delay", code.to_string()))?;
                Standing::due_at(due()?, delay, now)
            }
            JobState::Pending => Standing::Pending { due: due()? },
            JobState::Paused => Standing::Paused { due: due()?, waiting: self.waiting.unwrap_or_default() },
            JobState::Running => Standing::Running {
                worker: worker_name(self.worker.as_deref(), id)?,
                token: LeaseToken(self.token.ok_or_else(missing("token"))?),
                started_at: since,
                cancel: cancel_request(self.cancel_at, self.cancel_actor.clone()),
            },
            JobState::Succeeded | JobState::Failed | JobState::Dead | JobState::Cancelled => {
                Standing::Ended { state, reason: self.reason.clone(), at: since }
            }
        })
    }

    /// The number of the last entry of the history of the job `id`.
    pub(crate) fn version(&self, id: Uuid) -> Result<u32, StoreError> {
        u32::try_from(self.seq).map_err(|fault| corrupt("place", "seq", id, fault))
    }

    fn job_state(&self, id: Uuid) -> Result<JobState, StoreError> {
        JobState::from_code(self.state).ok_or_else(|| corrupt("place", "state", id, self.state))
    }
}

fn worker_name(name: Option<&str>, id: Uuid) -> Result<WorkerName, StoreError> {
    let name = name.ok_or_else(|| corrupt("running", "worker_id", id, "names no worker"))?;
    WorkerName::new(name).map_err(|fault| corrupt("worker", "name", name, fault))
}

fn cancel_request(at: Option<i64>, actor: Option<String>) -> Option<CancelRequest> {
    let (at, actor) = (at?, actor?);
    Some(CancelRequest { at: Timestamp::from_micros(at), actor: Actor::from_stored(actor) })
}

row! {
    /// A row of `running` with the worker's name and the job's policy and timeout:
    /// what deciding the attempt's end needs, besides the counters.
    LeaseRow {
        tenant_id: i32,
        job_id: Uuid,
        queue: String,
        kind: String,
        token: i64,
        worker: String,
        retry_policy: Option<String>,
        due_at: i64,
        started_at: i64,
        charged_us: i64,
        cancel_at: Option<i64>,
        cancel_actor: Option<String>,
        timeout_ms: i64,
        lease_until: Option<i64>,
    }
}

impl LeaseRow {
    /// The lease.
    pub(crate) fn lease(self, counters: &CountersRow) -> Result<Lease, StoreError> {
        Ok(Lease {
            tenant: TenantId(self.tenant_id),
            job: JobId(self.job_id),
            queue: QueueName::new(&self.queue)
                .map_err(|fault| corrupt("queue", "name", &self.queue, fault))?,
            kind: Kind::new(&self.kind).map_err(|fault| corrupt("kind", "name", &self.kind, fault))?,
            token: LeaseToken(self.token),
            worker: worker_name(Some(&self.worker), self.job_id)?,
            counters: counters.counters(),
            retry_policy: policy_from_text(self.retry_policy.as_deref())
                .map_err(|fault| corrupt("job", "retry_policy", self.job_id, fault))?,
            due: Timestamp::from_micros(self.due_at),
            started_at: Timestamp::from_micros(self.started_at),
            charged_us: self.charged_us,
            cancel: cancel_request(self.cancel_at, self.cancel_actor),
            timeout_ms: u64::try_from(self.timeout_ms)
                .map_err(|fault| corrupt("job", "timeout_ms", self.job_id, fault))?,
            until: self.lease_until.map(Timestamp::from_micros),
        })
    }
}

row! {
    /// A row of `progress`; nulls throughout where the job has told none.
    ProgressRow {
        percent: Option<i16>,
        message: Option<String>,
        succeeded: Option<i64>,
        failed: Option<i64>,
        at: Option<i64>,
    }
}

impl ProgressRow {
    /// How far the job is.
    pub(crate) fn progress(self) -> Progress {
        let count =
            |value: Option<i64>| value.and_then(|value| u64::try_from(value).ok()).unwrap_or_default();
        Progress {
            percent: self.percent.and_then(|percent| u8::try_from(percent).ok()).unwrap_or_default(),
            message: self.message,
            succeeded: count(self.succeeded),
            failed: count(self.failed),
        }
    }
}
