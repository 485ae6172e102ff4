//! Histories in which one thing is wrong.

use taskflow_checker::History;
use taskflow_checker::history::{
    AttemptRow, Call, DepthRow, Effect, EventRow, JobRow, Known, LeaseRow, Op, Rate,
};

use crate::story::S;

/// The rule that must see it, what it is, and how it comes about.
pub(crate) type Corruption = (&'static str, &'static str, fn(&mut History));

fn row<'a>(history: &'a mut History, job: &str) -> &'a mut JobRow {
    history.jobs.iter_mut().find(|row| row.job == job).unwrap()
}

fn attempt<'a>(history: &'a mut History, job: &str, number: u32) -> &'a mut AttemptRow {
    let mut all = history.attempts.iter_mut();
    all.find(|attempt| attempt.job == job && attempt.number == number).unwrap()
}

fn event<'a>(history: &'a mut History, job: &str, seq: u32) -> &'a mut EventRow {
    history.events.iter_mut().find(|event| event.job == job && event.seq == seq).unwrap()
}

fn effect<'a>(history: &'a mut History, job: &str, number: u32) -> &'a mut Effect {
    history.effects.iter_mut().find(|effect| effect.job == job && effect.attempt == number).unwrap()
}

/// One more entry at the end of a job's history.
fn append(history: &mut History, job: &str, kind: &str, at: i64, number: Option<u32>) {
    let row = row(history, job);
    row.seq += 1;
    let (seq, tenant) = (row.seq, row.tenant.clone());
    let (job, kind) = (job.to_owned(), kind.to_owned());
    history.events.push(EventRow { job, tenant, seq, kind, at, attempt: number, due: None });
}

fn call(history: &mut History, at: i64, op: Op) {
    history.calls.push(Call { invoked_at: at, returned_at: at + 10, known: Known::Ok, op });
}

fn settle(job: &str, number: u32, outcome: &str) -> Op {
    let token = format!("{number:04x}00000000abcd");
    Op::Settle { job: job.into(), token, outcome: outcome.into(), then: None }
}

fn submits<'a>(history: &'a mut History, job: &'a str) -> impl Iterator<Item = &'a mut Call> {
    let marker = format!("m-{job}");
    let about = move |call: &&mut Call| matches!(&call.op, Op::Submit { marker: of, .. } if *of == marker);
    history.calls.iter_mut().filter(about)
}

fn set_rate(history: &mut History, limit: u32) {
    for call in &mut history.calls {
        if let Op::SetQueue { rate, .. } = &mut call.op {
            *rate = Some(Rate { limit, period_us: 100 * S });
        }
    }
}

fn set_caps(history: &mut History, queue: Option<u64>, tenant: Option<u64>) {
    for call in &mut history.calls {
        match &mut call.op {
            Op::SetQueue { max_running, .. } => *max_running = queue,
            Op::SetTenant { max_running, .. } => *max_running = tenant,
            _ => {}
        }
    }
}

/// All of it.
pub(crate) const ALL: &[Corruption] = &[
    ("C1", "an acknowledged job is gone", |history| {
        history.jobs.retain(|row| row.job != "j3");
        history.events.retain(|event| event.job != "j3");
        history.attempts.retain(|attempt| attempt.job != "j3");
    }),
    ("C1", "an acknowledged job is another tenant's", |history| row(history, "j4").tenant = "acme".into()),
    ("C1", "a due job is forgotten", |history| row(history, "j6").state = "PENDING".into()),
    ("C1", "a scheduled job is never woken", |history| {
        let row = row(history, "j6");
        (row.state, row.due) = ("SCHEDULED".into(), 170 * S);
    }),
    ("C1", "the answer names another job", |history| row(history, "j2").marker = "m-j5".into()),
    ("C2", "a job that nobody submitted", |history| row(history, "j6").marker = "m-ghost".into()),
    ("C2", "a submit that failed made a job", |history| row(history, "j6").marker = "m-j8".into()),
    ("C2", "one submit made two jobs", |history| row(history, "j7").marker = "m-j3".into()),
    ("C2", "a submit that always had its key made a job without it", |history| {
        row(history, "j7").marker = "m-j1".into();
    }),
    ("C2", "an entry of a job that does not exist", |history| {
        let mut ghost = event(history, "j1", 1).clone();
        ghost.job = "j9".into();
        history.events.push(ghost);
    }),
    ("C3", "two jobs under one key", |history| row(history, "j2").key = Some("k1".into())),
    ("C3", "two answers for one key", |history| {
        for call in submits(history, "j5") {
            if let Op::Submit { key, marker, .. } = &mut call.op {
                (*key, *marker) = (Some("k1".into()), "m-j1".into());
            }
        }
    }),
    ("C3", "another request accepted under a used key", |history| {
        for call in submits(history, "j7") {
            if let Op::Submit { key, job, .. } = &mut call.op {
                (*key, *job) = (Some("k1".into()), Some("j1".into()));
            }
        }
    }),
    ("C4", "a success after a success", |history| event(history, "j2", 3).kind = "succeeded".into()),
    ("C4", "a start of a held job", |history| event(history, "j4", 3).kind = "progressed".into()),
    ("C4", "a job that was made by a start", |history| event(history, "j6", 1).kind = "started".into()),
    ("C4", "a hold of a running job", |history| event(history, "j3", 3).kind = "paused".into()),
    ("C4", "a state that the history does not lead to", |history| row(history, "j1").state = "FAILED".into()),
    ("C4", "an entry of an unknown kind", |history| event(history, "j4", 2).kind = "vanished".into()),
    ("C5", "an entry is missing", |history| {
        history.events.retain(|event| event.job != "j2" || event.seq != 3);
    }),
    ("C5", "two entries of one number", |history| event(history, "j3", 3).seq = 2),
    ("C5", "an attempt is missing", |history| {
        history.attempts.retain(|attempt| attempt.job != "j2" || attempt.number != 2);
    }),
    ("C5", "more attempts than the budget", |history| row(history, "j2").max_attempts = 2),
    ("C5", "a fourth start after three lost workers", |history| {
        row(history, "j5").max_attempts = 9;
        history.events.retain(|event| event.job != "j5" || event.kind != "redriven");
        for number in 1..=3 {
            attempt(history, "j5", number).outcome = Some("LEASE_EXPIRED".into());
        }
    }),
    ("C5", "a counter that lags", |history| row(history, "j5").attempts = 3),
    ("C6", "two attempts at once", |history| attempt(history, "j5", 2).started_at = 80 * S),
    ("C6", "a lease taken back too early", |history| {
        attempt(history, "j2", 2).ended_at = Some(30 * S);
    }),
    ("C6", "a token that does not rise", |history| {
        attempt(history, "j5", 3).token = "000200000000abcd".into();
    }),
    ("C6", "a lease that is no attempt", |history| {
        let (job, worker) = ("j3".into(), "w2".into());
        let token = "0001000000001234".into();
        history.leases.push(LeaseRow::Grant { at: 41 * S, job, token, worker, until: None });
    }),
    ("C6", "an attempt after one that never ended", |history| attempt(history, "j5", 2).ended_at = None),
    ("C7", "the report of a lost worker is accepted", |history| {
        call(history, 33 * S, settle("j2", 2, "SUCCEEDED"));
    }),
    ("C7", "a report is accepted twice", |history| call(history, 3 * S - 3, settle("j1", 1, "SUCCEEDED"))),
    ("C7", "a guessed token is accepted", |history| call(history, 3 * S, settle("j1", 7, "SUCCEEDED"))),
    ("C7", "an ended lease is extended", |history| {
        let (job, token) = ("j1".into(), "000100000000abcd".into());
        call(history, 5 * S, Op::Extend { job, token });
    }),
    ("C7", "something else is written than was reported", |history| {
        attempt(history, "j1", 1).outcome = Some("FAILED".into());
    }),
    ("C8", "a job ends twice", |history| append(history, "j1", "failed", 4 * S, Some(1))),
    ("C8", "a job goes on after its end", |history| append(history, "j3", "resumed", 50 * S, None)),
    ("C8", "an end without an entry", |history| event(history, "j7", 2).kind = "paused".into()),
    ("C8", "a redrive of a job that has not ended", |history| {
        event(history, "j4", 2).kind = "redriven".into();
    }),
    ("C9", "a start before the time that was asked for", |history| {
        for call in submits(history, "j6") {
            if let Op::Submit { run_at, .. } = &mut call.op {
                *run_at = Some(300 * S);
            }
        }
    }),
    ("C9", "a start before the new time", |history| event(history, "j4", 4).due = Some(62 * S)),
    ("C9", "a start before the end of the backoff", |history| {
        event(history, "j2", 3).due = Some(10 * S);
    }),
    ("C9", "a start after a cancel", |history| {
        append(history, "j7", "started", 180 * S, None);
    }),
    ("C9", "a retry of what was to end", |history| {
        event(history, "j3", 4).kind = "retry_scheduled".into();
    }),
    ("C9", "an acknowledged cancel that nothing tells of", |history| {
        event(history, "j7", 2).kind = "paused".into();
    }),
    ("C11", "a start beyond the cap of a queue", |history| set_caps(history, Some(0), None)),
    ("C11", "a start beyond the cap of a tenant", |history| set_caps(history, None, Some(0))),
    ("C11", "a start in a held queue", |history| {
        for call in &mut history.calls {
            if let Op::SetQueue { paused, paused_until, .. } = &mut call.op {
                (*paused, *paused_until) = (true, Some(100 * S));
            }
        }
    }),
    ("C11", "two at once where one may run", |history| {
        set_caps(history, Some(1), None);
        let first =
            history.leases.iter().position(|lease| matches!(lease, LeaseRow::End { job, .. } if job == "j1"));
        let end = history.leases.remove(first.unwrap());
        history.leases.push(end);
    }),
    ("C12", "a rate that was no rate", |history| set_rate(history, 1)),
    ("C12", "seven starts where five were saved up", |history| set_rate(history, 3)),
    ("C12", "a burst within one instant", |history| {
        for attempt in &mut history.attempts {
            if attempt.job == "j2" || attempt.job == "j1" {
                attempt.started_at = 2 * S;
            }
        }
    }),
    ("C13", "an entry of another tenant", |history| event(history, "j2", 4).tenant = "beta".into()),
    ("C13", "an attempt of another tenant", |history| attempt(history, "j4", 1).tenant = "acme".into()),
    ("C13", "an execution for another tenant", |history| effect(history, "j3", 1).tenant = "acme".into()),
    ("C15", "a lost worker is noticed too late", |history| {
        attempt(history, "j2", 2).ended_at = Some(37 * S);
    }),
    ("C15", "a lost worker is never noticed", |history| {
        let attempt = attempt(history, "j2", 2);
        (attempt.ended_at, attempt.outcome, attempt.then) = (None, None, None);
    }),
    ("C15", "no grace after an outage", |history| {
        let attempt = attempt(history, "j2", 2);
        (attempt.started_at, attempt.ended_at) = (190 * S, Some(261 * S));
    }),
    ("C16", "a running job without an attempt", |history| row(history, "j1").state = "RUNNING".into()),
    ("C16", "an attempt of a job that does not run", |history| attempt(history, "j6", 1).ended_at = None),
    ("C16", "a queue counts what is not there", |history| {
        let (queue, state) = ("mail".into(), "SUCCEEDED".into());
        history.depths.push(DepthRow { queue, state, jobs: 4 });
    }),
    ("C16", "a queue does not count what is there", |history| {
        let (queue, state) = ("default".into(), "SUCCEEDED".into());
        history.depths.push(DepthRow { queue, state, jobs: 2 });
    }),
    ("C17", "an execution without an attempt", |history| effect(history, "j6", 1).attempt = 2),
    ("C17", "an attempt ran twice", |history| {
        let again = effect(history, "j1", 1).clone();
        history.effects.push(again);
    }),
    ("C17", "an execution under another token", |history| {
        effect(history, "j4", 1).token = "000100000000ffff".into();
    }),
    ("C17", "a success that never ran", |history| {
        history.effects.retain(|effect| effect.job != "j3" && effect.job != "j4");
    }),
    ("C17", "two executions at once, unexplained", |history| effect(history, "j2", 1).ended_at = Some(9 * S)),
];
