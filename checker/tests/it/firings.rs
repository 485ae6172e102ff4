//! Rules in a clean history, and histories in which one thing is wrong with them.

use taskflow_checker::History;
use taskflow_checker::history::{Cause, ClockRow, FiringRow, InboundRow, Known, Op, RuleRow};

use crate::corrupt::Corruption;
use crate::story::{S, Story};

fn rule(rule: &str, tenant: &str) -> RuleRow {
    RuleRow {
        rule: rule.into(),
        tenant: tenant.into(),
        since: Some(250 * S),
        acts_for: vec![tenant.into()],
        clock: None,
        listens: Vec::new(),
        webhook: None,
    }
}

fn clock(first: i64, every: i64, cursor: i64) -> ClockRow {
    let (first, every_us, cursor) = (first * S, every * S, cursor * S);
    ClockRow { first, every_us, cursor, seen_at: cursor - S, waits: None, max_late_us: 5 * S }
}

fn occurrence(second: i64) -> Cause {
    Cause::Occurrence { at: second * S }
}

impl Story {
    /// An evaluation that came to this.
    fn firing(&mut self, name: (&str, &str, &str), at: i64, cause: Cause, outcome: (&str, &str)) {
        let (firing, rule, tenant) = name;
        self.0.firings.push(FiringRow {
            firing: firing.into(),
            rule: rule.into(),
            tenant: tenant.into(),
            at,
            cause,
            outcome: outcome.0.into(),
            reason: (!outcome.1.is_empty()).then(|| outcome.1.into()),
            jobs: Vec::new(),
            depth: 0,
        });
    }

    /// An evaluation that made this job, which ran.
    fn fired(&mut self, name: (&str, &str, &str), at: i64, cause: Cause, job: &str) {
        self.firing(name, at, cause, ("FIRED", ""));
        self.0.firings.last_mut().unwrap().jobs.push(job.into());
        self.row(at, job, name.2, "default", None);
        self.0.jobs.last_mut().unwrap().firing = Some(name.0.into());
        self.start(job, at + S / 10, "w1");
        self.end(job, at + S / 5, "SUCCEEDED", "succeeded", "SUCCEEDED");
    }

    fn inbound(&mut self, event: &str, tenant: &str, source: &str, id: &str, at: i64, refused: bool) {
        self.0.inbound.push(InboundRow {
            event: event.into(),
            tenant: tenant.into(),
            source: source.into(),
            id: Some(id.into()),
            kind: if source == "hook" { "webhook".into() } else { "order".into() },
            received_at: at,
            refused,
        });
    }

    fn deliver(&mut self, at: i64, id: &str, genuine: bool, known: Known, firings: &[&str]) {
        let firings = firings.iter().map(|&firing| firing.into()).collect();
        self.call(at, known, Op::Deliver { source: "hook".into(), id: id.into(), genuine, firings });
    }
}

/// Adds rules of every kind to a history.
pub(crate) fn add(story: &mut Story) {
    // Fired; waited and fired; two given up; fired.
    story.0.rules.push(RuleRow { clock: Some(clock(300, 10, 350)), ..rule("r1", "acme") });
    story.fired(("f1", "r1", "acme"), 300 * S + 9, occurrence(300), "j10");
    story.firing(("f2", "r1", "acme"), 310 * S, occurrence(310), ("BLOCKED", "previous_instance_running"));
    story.fired(("f3", "r1", "acme"), 315 * S, occurrence(310), "j11");
    let missed = Cause::Missed { first: 320 * S, last: 330 * S };
    story.firing(("f4", "r1", "acme"), 336 * S, missed, ("SKIPPED", "misfire"));
    story.fired(("f5", "r1", "acme"), 340 * S + 5, occurrence(340), "j12");
    // For two tenants.
    let both = vec!["acme".to_owned(), "beta".to_owned()];
    story.0.rules.push(RuleRow { clock: Some(clock(400, 100, 500)), acts_for: both, ..rule("r2", "acme") });
    story.fired(("f6", "r2", "acme"), 400 * S, occurrence(400), "j13");
    story.firing(("f7", "r2", "beta"), 401 * S, occurrence(400), ("SKIPPED", "condition_false"));
    // Delivered twice, and once by somebody who must not.
    story.0.rules.push(RuleRow { webhook: Some("hook".into()), ..rule("r3", "beta") });
    let event = Cause::Event { event: "e1".into() };
    story.deliver(420 * S, "d1", true, Known::Unknown, &[]);
    story.deliver(421 * S, "d1", true, Known::Ok, &["f8"]);
    story.deliver(422 * S, "d1", true, Known::Ok, &["f8"]);
    story.inbound("e1", "beta", "hook", "d1", 420 * S, false);
    story.fired(("f8", "r3", "beta"), 420 * S, event, "j14");
    story.deliver(425 * S, "d2", false, Known::Fail, &[]);
    story.inbound("e2", "beta", "hook", "d2", 425 * S, true);
    // An event, and the end of the job that came of it.
    let listens = vec!["order".to_owned(), "job.succeeded".to_owned()];
    let since = Some(500 * S);
    story.0.rules.push(RuleRow { listens, since, ..rule("r4", "acme") });
    let ingest = Op::Ingest { tenant: "acme".into(), source: "/shop".into(), id: "o1".into() };
    story.call(510 * S, Known::Ok, ingest);
    story.inbound("e3", "acme", "/shop", "o1", 510 * S, false);
    story.fired(("f9", "r4", "acme"), 511 * S, Cause::Event { event: "e3".into() }, "j15");
    let end = Cause::JobEnd { job: "j15".into(), seq: 3 };
    story.firing(("f10", "r4", "acme"), 512 * S, end, ("SKIPPED", "condition_false"));
}

fn firing<'a>(history: &'a mut History, name: &str) -> &'a mut FiringRow {
    history.firings.iter_mut().find(|firing| firing.firing == name).unwrap()
}

fn again(history: &mut History, name: &str) {
    let again = FiringRow { firing: "f99".into(), ..firing(history, name).clone() };
    history.firings.push(again);
}

fn forget(history: &mut History, name: &str) {
    history.firings.retain(|firing| firing.firing != name);
}

fn clock_of<'a>(history: &'a mut History, name: &str) -> &'a mut ClockRow {
    history.rules.iter_mut().find(|rule| rule.rule == name).unwrap().clock.as_mut().unwrap()
}

/// What is wrong with rules.
pub(crate) const ALL: &[Corruption] = &[
    ("C2", "a job of a firing that knows nothing of it", |history| {
        let job = history.jobs.iter_mut().find(|row| row.job == "j12").unwrap();
        job.firing = Some("f7".into());
    }),
    ("C2", "a job of a firing that does not exist", |history| {
        let job = history.jobs.iter_mut().find(|row| row.job == "j14").unwrap();
        job.firing = Some("f77".into());
    }),
    ("C10", "an occurrence is fired twice", |history| again(history, "f1")),
    ("C10", "an occurrence is fired after it waited, twice", |history| again(history, "f3")),
    ("C10", "an occurrence is left out", |history| forget(history, "f5")),
    ("C10", "a waiting occurrence is forgotten", |history| forget(history, "f3")),
    ("C10", "a tenant is left out", |history| forget(history, "f7")),
    ("C10", "occurrences are given up and nothing tells of it", |history| forget(history, "f4")),
    ("C10", "an occurrence is given up that was on time", |history| firing(history, "f4").at = 333 * S),
    ("C10", "an occurrence is given up and fired", |history| {
        firing(history, "f4").cause = Cause::Missed { first: 320 * S, last: 340 * S };
    }),
    ("C10", "a firing between two occurrences", |history| firing(history, "f1").cause = occurrence(305)),
    ("C10", "a firing before its time", |history| firing(history, "f5").at = 339 * S),
    ("C10", "a firing that was too late", |history| firing(history, "f5").at = 347 * S),
    ("C10", "a clock that stands still", |history| clock_of(history, "r1").seen_at = 400 * S),
    ("C10", "a cursor that goes back", |history| clock_of(history, "r1").cursor = 330 * S),
    ("C10", "two firings with one job", |history| firing(history, "f5").jobs = vec!["j10".into()]),
    ("C10", "a firing whose job is gone", |history| firing(history, "f6").jobs = vec!["j99".into()]),
    ("C13", "a rule that acts for a tenant that it must not", |history| {
        firing(history, "f10").tenant = "beta".into();
    }),
    ("C13", "a job of a firing for another tenant", |history| firing(history, "f8").tenant = "acme".into()),
    ("C14", "a delivery counts twice", |history| again(history, "f8")),
    ("C14", "a delivery is kept twice", |history| {
        let mut twice = history.inbound[0].clone();
        twice.event = "e9".into();
        history.inbound.push(twice);
    }),
    ("C14", "a repeated delivery is answered otherwise", |history| {
        for call in history.calls.iter_mut().filter(|call| call.invoked_at == 422 * S) {
            if let Op::Deliver { firings, .. } = &mut call.op {
                firings.clear();
            }
        }
    }),
    ("C14", "an acknowledged delivery is gone", |history| {
        history.inbound.retain(|row| row.event != "e1");
        forget(history, "f8");
    }),
    ("C14", "an acknowledged event is gone", |history| {
        history.inbound.retain(|row| row.event != "e3");
        forget(history, "f9");
    }),
    ("C14", "a bad signature is accepted", |history| {
        for call in history.calls.iter_mut().filter(|call| call.invoked_at == 425 * S) {
            call.known = Known::Ok;
        }
    }),
    ("C14", "what was refused is kept as good", |history| {
        history.inbound.iter_mut().for_each(|row| row.refused = false);
    }),
    ("C14", "an event that no rule saw", |history| forget(history, "f9")),
    ("C14", "a job's end that no rule saw", |history| forget(history, "f10")),
    ("C14", "a job's end acted upon twice", |history| again(history, "f10")),
    ("C14", "an end that never was", |history| {
        firing(history, "f10").cause = Cause::JobEnd { job: "j15".into(), seq: 2 };
    }),
    ("C14", "a chain without an end", |history| firing(history, "f9").depth = 10),
    ("C16", "events that nobody saw", |history| history.run.undispatched = 1),
];
