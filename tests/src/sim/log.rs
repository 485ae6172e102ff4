//! What is written down of a run: the history for the checker, and the trace by
//! which two runs are compared.

use std::collections::{BTreeMap, BTreeSet};

use taskflow_checker::History;
use taskflow_checker::history::{Call, Effect, Fault, Known, LeaseRow, Op};
use taskflow_domain::{JobId, LeaseToken, RuleId, TenantSlug};

/// What is written down of a run.
#[derive(Debug, Default)]
pub(super) struct Log {
    /// For the checker.
    pub(super) history: History,
    /// A hash of everything that happened, in its order.
    pub(super) trace: Trace,
    /// The jobs that the submits of the plan made, as far as clients know.
    pub(super) made: BTreeMap<u32, JobId>,
    /// The rules of which somebody was told that they exist, and when.
    pub(super) rules: BTreeMap<RuleId, i64>,
    /// Where the clocks of rules stood when they were stopped, and when that was.
    pub(super) stopped: BTreeMap<RuleId, (i64, i64)>,
    /// The tenants that certainly exist.
    pub(super) tenants: BTreeSet<usize>,
    /// Clients and operators that have not ended what they do.
    pub(super) at_work: usize,
    /// How often each thing happened.
    pub(super) counts: BTreeMap<&'static str, u64>,
    /// Since when no engine process is in a state to do its duty, if none is.
    pub(super) no_engine_since: Option<i64>,
}

/// A hash of everything that happened, in its order.
#[derive(Debug)]
pub(super) struct Trace {
    /// FNV-1a.
    pub(super) hash: u64,
    /// How many things happened.
    pub(super) steps: u64,
    /// The things themselves, where somebody wants to read them.
    pub(super) lines: Option<Vec<String>>,
}

impl Default for Trace {
    fn default() -> Self {
        Self { hash: 0xcbf2_9ce4_8422_2325, steps: 0, lines: None }
    }
}

impl Trace {
    /// Adds a line.
    pub(super) fn add(&mut self, line: String) {
        for byte in line.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.steps += 1;
        if let Some(lines) = &mut self.lines {
            lines.push(line);
        }
    }
}

impl Log {
    /// Writes down that since `from` no engine could do its duty, and now one can,
    /// or nobody will ask any more.
    pub(super) fn engine_again(&mut self, at: i64) {
        if let Some(from) = self.no_engine_since.take() {
            self.fault(Fault::NoEngine { from, to: at });
        }
    }

    /// Writes down a call.
    pub(super) fn call(&mut self, invoked_at: i64, returned_at: i64, known: Known, op: Op) {
        self.history.calls.push(Call { invoked_at, returned_at, known, op });
    }

    /// Writes down a lease.
    pub(super) fn lease(&mut self, row: LeaseRow) {
        self.history.leases.push(row);
    }

    /// Writes down that an execution began; gives its place.
    pub(super) fn effect_begins(&mut self, effect: Effect) -> usize {
        self.history.effects.push(effect);
        self.history.effects.len() - 1
    }

    /// Writes down a fault that rules depend on.
    pub(super) fn fault(&mut self, fault: Fault) {
        self.history.faults.push(fault);
    }

    /// Counts something.
    pub(super) fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }
}

/// A job's name in the history.
pub fn job_name(job: JobId) -> String {
    job.to_string()
}

/// A token's name in the history.
pub fn token_name(token: LeaseToken) -> String {
    token.to_string()
}

/// Tenant number `index`.
pub(super) fn tenant_name(index: usize) -> TenantSlug {
    TenantSlug::new(&format!("tenant-{index}")).unwrap_or_else(|_| TenantSlug::fallback())
}

/// A caller of tenant number `index`.
pub(super) fn caller(index: usize) -> taskflow_application::Caller {
    taskflow_application::Caller::trusted(tenant_name(index))
}
