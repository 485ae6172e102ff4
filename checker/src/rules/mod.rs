//! The rules. Each is a function that looks at a whole history.

mod ends;
mod existence;
mod fencing;
mod leases;
mod limits;
mod numbers;
mod occurrences;
mod recovery;
mod remains;
mod targets;
mod tenants;
mod times;
mod transitions;
mod triggers;

use crate::{Lives, Violation};

/// A rule.
pub struct Rule {
    /// Its name: `C1` to `C17`.
    pub name: &'static str,
    /// What it demands.
    pub says: &'static str,
    look: fn(&Lives<'_>, &mut Found),
}

impl Rule {
    /// What breaks this rule.
    pub fn judge(&self, lives: &Lives<'_>) -> Vec<Violation> {
        let mut found = Found { rule: self.name, violations: Vec::new() };
        (self.look)(lives, &mut found);
        found.violations
    }
}

/// What a rule found.
struct Found {
    rule: &'static str,
    violations: Vec<Violation>,
}

impl Found {
    fn add(&mut self, what: String) {
        self.violations.push(Violation { rule: self.rule, what });
    }
}

/// All rules.
pub const ALL: &[Rule] = &[
    Rule {
        name: "C1",
        says: "every acknowledged job exists, and has ended or stands where it may wait",
        look: existence::acknowledged_jobs_exist,
    },
    Rule {
        name: "C2",
        says: "nothing exists that nobody may have submitted",
        look: existence::jobs_were_submitted,
    },
    Rule { name: "C3", says: "one job for each idempotency key", look: existence::keys_name_one_job },
    Rule { name: "C4", says: "only legal transitions occur", look: transitions::are_legal },
    Rule {
        name: "C5",
        says: "entries and attempts have no gap, and attempts stay within the budget",
        look: numbers::have_no_gaps,
    },
    Rule { name: "C6", says: "a job never has two live leases", look: leases::do_not_overlap },
    Rule { name: "C7", says: "a stale token changes nothing", look: fencing::holds },
    Rule { name: "C8", says: "a job ends once", look: ends::come_once },
    Rule {
        name: "C9",
        says: "nothing starts before its time, and nothing after a cancel",
        look: times::are_kept,
    },
    Rule {
        name: "C10",
        says: "each occurrence of a clock is decided once, in time, and its jobs are made once",
        look: occurrences::are_decided_once,
    },
    Rule { name: "C11", says: "no more jobs run than a limit allows", look: limits::caps_hold },
    Rule { name: "C12", says: "no more jobs start than a rate allows", look: limits::rates_hold },
    Rule { name: "C13", says: "what belongs to a job belongs to its tenant", look: tenants::are_apart },
    Rule {
        name: "C14",
        says: "what comes from outside and what jobs end in is acted upon once by each rule that listens",
        look: triggers::act_once,
    },
    Rule {
        name: "C15",
        says: "lost workers are noticed in time, and only lost ones",
        look: recovery::is_bounded,
    },
    Rule { name: "C16", says: "nothing is left behind", look: remains::are_none },
    Rule { name: "C17", says: "every execution is explained", look: targets::saw_what_is_told },
];
