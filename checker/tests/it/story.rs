//! Tells histories in few words.

use taskflow_checker::History;
use taskflow_checker::history::{
    AttemptRow, Call, Effect, EventRow, Fault, JobRow, Known, LeaseRow, Op, Rate, Run,
};

/// A second, in microseconds.
pub(crate) const S: i64 = 1_000_000;

/// A history as it is told.
pub(crate) struct Story(pub(crate) History);

impl Story {
    pub(crate) fn new() -> Self {
        let run = Run { ended_at: 1_000 * S, settled: true, effects_complete: true, ..Run::default() };
        Self(History { run, ..History::default() })
    }

    pub(crate) fn call(&mut self, at: i64, known: Known, op: Op) {
        self.0.calls.push(Call { invoked_at: at, returned_at: at + 1_000, known, op });
    }

    pub(crate) fn queue(&mut self, at: i64, queue: &str, cap: Option<u64>, rate: Option<Rate>, paused: bool) {
        let op = Op::SetQueue {
            queue: queue.into(),
            max_running: cap,
            max_running_per_tenant: None,
            rate,
            paused,
            paused_until: None,
        };
        self.call(at, Known::Ok, op);
    }

    pub(crate) fn tenant(&mut self, at: i64, tenant: &str, cap: Option<u64>) {
        let op = Op::SetTenant { tenant: tenant.into(), max_running: cap, paused: false };
        self.call(at, Known::Ok, op);
    }

    pub(crate) fn submit_call(&mut self, at: i64, job: &str, tenant: &str, key: Option<&str>, known: Known) {
        let op = Op::Submit {
            tenant: tenant.into(),
            marker: format!("m-{job}"),
            key: key.map(Into::into),
            run_at: None,
            job: (known == Known::Ok).then(|| job.into()),
        };
        self.call(at, known, op);
    }

    /// A job that exists, and whose submit had this outcome.
    pub(crate) fn job(&mut self, at: i64, job: &str, tenant: &str, queue: &str, key: Option<&str>) {
        self.submit_call(at - 500, job, tenant, key, Known::Ok);
        self.row(at, job, tenant, queue, key);
    }

    pub(crate) fn row(&mut self, at: i64, job: &str, tenant: &str, queue: &str, key: Option<&str>) {
        self.0.jobs.push(JobRow {
            job: job.into(),
            tenant: tenant.into(),
            queue: queue.into(),
            marker: format!("m-{job}"),
            key: key.map(Into::into),
            state: "PENDING".into(),
            due: at,
            max_attempts: 3,
            seq: 0,
            attempts: 0,
            firing: None,
        });
        self.event(job, at, "created", "PENDING", None);
    }

    /// An entry after which the job stands as `state`.
    pub(crate) fn event(&mut self, job: &str, at: i64, kind: &str, state: &str, due: Option<i64>) {
        let row = self.0.jobs.iter_mut().find(|row| row.job == job).unwrap();
        row.seq += 1;
        row.state = state.into();
        if let Some(due) = due {
            row.due = due;
        }
        let attempt = (row.attempts > 0).then_some(row.attempts);
        let about_attempt = ["started", "succeeded", "failed", "dead", "retry_scheduled", "cancelled"];
        self.0.events.push(EventRow {
            job: job.into(),
            tenant: row.tenant.clone(),
            seq: row.seq,
            kind: kind.into(),
            at,
            attempt: attempt.filter(|_| about_attempt.contains(&kind)),
            due,
        });
    }

    pub(crate) fn beat(&mut self, at: i64, worker: &str) {
        self.0.leases.push(LeaseRow::Beat { at, worker: worker.into(), until: at + 30 * S });
    }

    /// A worker claims the job, and its target begins.
    pub(crate) fn start(&mut self, job: &str, at: i64, worker: &str) {
        let row = self.0.jobs.iter_mut().find(|row| row.job == job).unwrap();
        row.attempts += 1;
        let (number, tenant) = (row.attempts, row.tenant.clone());
        let token = format!("{number:04x}00000000abcd");
        self.0.attempts.push(AttemptRow {
            job: job.into(),
            tenant: tenant.clone(),
            number,
            worker: worker.into(),
            token: token.clone(),
            started_at: at,
            ended_at: None,
            outcome: None,
            then: None,
        });
        self.0.leases.push(LeaseRow::Grant {
            at,
            job: job.into(),
            token: token.clone(),
            worker: worker.into(),
            until: None,
        });
        let effect =
            Effect { job: job.into(), tenant, attempt: number, token, began_at: at + 10, ended_at: None };
        self.0.effects.push(effect);
        self.event(job, at, "started", "RUNNING", None);
    }

    /// The running attempt ends; its worker reports it unless it was lost.
    pub(crate) fn end(&mut self, job: &str, at: i64, outcome: &str, kind: &str, then: &str) {
        let attempt = self.0.attempts.iter_mut().rfind(|attempt| attempt.job == job).unwrap();
        attempt.ended_at = Some(at);
        attempt.outcome = Some(outcome.into());
        attempt.then = Some(then.into());
        let token = attempt.token.clone();
        let effect = self.0.effects.iter_mut().rfind(|effect| effect.job == job).unwrap();
        effect.ended_at = Some(at - 10);
        self.0.leases.push(LeaseRow::End { at, job: job.into(), token: token.clone() });
        if outcome != "LEASE_EXPIRED" {
            let op = Op::Settle { job: job.into(), token, outcome: outcome.into(), then: Some(then.into()) };
            self.call(at - 5, Known::Ok, op);
        }
        let due = (kind == "retry_scheduled").then_some(at + S);
        self.event(job, at, kind, then, due);
    }

    pub(crate) fn cancel(&mut self, at: i64, job: &str) {
        self.call(at - 5, Known::Ok, Op::Cancel { job: job.into() });
    }
}

/// A history in which nothing is wrong, with something of everything.
pub(crate) fn clean() -> History {
    let mut story = Story::new();
    story.queue(0, "mail", Some(2), Some(Rate { limit: 2, period_us: 10 * S }), false);
    story.tenant(0, "acme", Some(3));
    for second in (0..900).step_by(10) {
        story.beat(second * S, "w1");
    }
    story.beat(S, "w2");
    // Submitted twice under one key, because the first answer was lost.
    story.submit_call(S, "j1", "acme", Some("k1"), Known::Unknown);
    story.job(S, "j1", "acme", "mail", Some("k1"));
    story.start("j1", 2 * S, "w1");
    let (job, token) = ("j1".to_owned(), "000100000000abcd".to_owned());
    story.call(2 * S + 10, Known::Ok, Op::Extend { job, token });
    story.end("j1", 3 * S, "SUCCEEDED", "succeeded", "SUCCEEDED");
    // Fails, is lost with its worker, succeeds.
    story.job(2 * S, "j2", "acme", "mail", None);
    story.start("j2", 3 * S, "w1");
    story.end("j2", 4 * S, "FAILED", "retry_scheduled", "SCHEDULED");
    story.start("j2", 8 * S, "w2");
    story.end("j2", 32 * S, "LEASE_EXPIRED", "retry_scheduled", "SCHEDULED");
    story.start("j2", 34 * S, "w1");
    story.end("j2", 36 * S, "SUCCEEDED", "succeeded", "SUCCEEDED");
    // Cancelled while it runs.
    story.job(40 * S, "j3", "beta", "default", None);
    story.start("j3", 41 * S, "w1");
    story.cancel(42 * S, "j3");
    story.event("j3", 42 * S, "cancel_requested", "RUNNING", None);
    story.end("j3", 43 * S, "CANCELLED", "cancelled", "CANCELLED");
    // Held, let go, moved, run.
    story.job(50 * S, "j4", "beta", "default", Some("k1"));
    story.event("j4", 51 * S, "paused", "PAUSED", None);
    story.event("j4", 52 * S, "resumed", "PENDING", None);
    story.event("j4", 53 * S, "rescheduled", "SCHEDULED", Some(60 * S));
    story.start("j4", 61 * S, "w1");
    story.end("j4", 62 * S, "SUCCEEDED", "succeeded", "SUCCEEDED");
    // Its budget is spent; it is sent through again.
    story.job(70 * S, "j5", "acme", "mail", None);
    for (attempt, then) in [(0, "SCHEDULED"), (1, "SCHEDULED"), (2, "DEAD")] {
        let kind = if then == "DEAD" { "dead" } else { "retry_scheduled" };
        story.start("j5", (80 + 10 * attempt) * S, "w1");
        story.end("j5", (81 + 10 * attempt) * S, "FAILED", kind, then);
    }
    story.event("j5", 150 * S, "redriven", "PENDING", None);
    story.start("j5", 151 * S, "w1");
    story.end("j5", 152 * S, "SUCCEEDED", "succeeded", "SUCCEEDED");
    // Nobody knows whether it was accepted; it was.
    story.submit_call(160 * S, "j6", "beta", None, Known::Unknown);
    story.row(160 * S, "j6", "beta", "default", None);
    story.start("j6", 161 * S, "w1");
    story.end("j6", 162 * S, "SUCCEEDED", "succeeded", "SUCCEEDED");
    // Accepted, and cancelled before it began.
    story.job(170 * S, "j7", "acme", "mail", None);
    story.cancel(171 * S, "j7");
    story.event("j7", 171 * S, "cancelled", "CANCELLED", None);
    // Nobody accepted it, and nobody could be reached for a while.
    story.submit_call(200 * S, "j8", "acme", None, Known::Fail);
    story.0.faults.push(Fault::Outage { from: 200 * S, to: 260 * S });
    crate::firings::add(&mut story);
    story.0
}
