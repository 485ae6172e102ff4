//! Committing changes: the guard, then everything that goes with the change.

use std::collections::BTreeSet;

use taskflow_domain::event::NumberedAttempt;
use taskflow_domain::{Decision, Guard, JobChange, JobEvent, Kind, TenantId, fair};

use super::state::{JobRow, Place, State};
use crate::ports::Committed;

impl State {
    pub(super) fn commit(&mut self, changes: &[JobChange]) -> Vec<Committed> {
        let mut seen = BTreeSet::new();
        let answers = changes.iter().map(|change| {
            let first = seen.insert((change.tenant, change.job, change.guard.name()));
            if first { self.apply(change) } else { Committed::Refused }
        });
        answers.collect()
    }

    fn apply(&mut self, change: &JobChange) -> Committed {
        let key = (change.tenant, change.job);
        if !self.jobs.get(&key).is_some_and(|job| self.holds(job, change.guard)) {
            return Committed::Refused;
        }
        if change.revives()
            && let Some(most) =
                self.tenants.get(&change.tenant).and_then(|tenant| tenant.settings.backlog_limit())
            && self.backlog(change.tenant) >= most
        {
            return Committed::BacklogFull(most);
        }
        let Some(mut job) = self.lift(key) else { return Committed::Refused };
        self.settle_cost(&job, change.settle_us);
        note(&mut job, change);
        match &change.decision {
            Decision::Move(standing) => {
                job.place = Place::At(standing.clone());
                job.counters = change.counters;
                job.since = change.at;
            }
            Decision::RequestCancel(request) => {
                if let Place::Running(running) = &mut job.place {
                    running.cancel = Some(request.clone());
                }
            }
            Decision::Keep => {}
        }
        if let Decision::Move(standing) = &change.decision {
            self.tell_end(key, job.seq, standing.state(), change.at);
        }
        self.enter(key, job);
        Committed::Done
    }

    /// Charges the lane for what the attempt took beyond the estimate, and
    /// learns from it.
    fn settle_cost(&mut self, job: &JobRow, settle_us: i64) {
        let Some(running) = job.running() else { return };
        if settle_us == 0 {
            return;
        }
        let charge = fair::charge_us(settle_us, self.weight(job.spec.tenant));
        if let Some(lane) = self.lanes.get_mut(&job.lane()) {
            lane.virtual_us = lane.virtual_us.saturating_add(charge);
        }
        self.learn(job.spec.tenant, &job.spec.kind, running.charged_us.saturating_add(settle_us));
    }

    fn learn(&mut self, tenant: TenantId, kind: &Kind, took_us: i64) {
        let cost = self.costs.entry((tenant, kind.clone())).or_insert(fair::UNKNOWN_COST_US);
        *cost = fair::average_us(*cost, took_us);
    }

    fn holds(&self, job: &JobRow, guard: Guard) -> bool {
        match (guard, guard.of_running(), job.running()) {
            (Guard::Version { seq, .. }, _, None) => job.seq == seq,
            (_, Some((token, unless_cancelled, lapsed_by)), Some(running)) => {
                running.token == token
                    && !(unless_cancelled && running.cancel.is_some())
                    && lapsed_by.is_none_or(|by| self.lease_end(running) <= by)
            }
            _ => false,
        }
    }
}

/// Writes the entry, the ended attempt and the edit.
fn note(job: &mut JobRow, change: &JobChange) {
    job.seq += 1;
    let started_seq = job.running().map_or(0, |running| running.started_seq);
    if let Some(attempt) = &change.attempt {
        let (attempt, ended_seq) = (attempt.clone(), Some(job.seq));
        job.attempts.push(NumberedAttempt { attempt, started_seq, ended_seq });
    }
    if let Some((kind, actor, data)) = &change.event {
        let (actor, data) = (actor.clone(), data.clone());
        job.recorded.push(JobEvent { seq: job.seq, kind: *kind, at: change.at, actor, data });
    }
    if let Some(edit) = &change.edit {
        job.spec.priority = edit.priority.unwrap_or(job.spec.priority);
        job.spec.run_at = edit.run_at.unwrap_or(job.spec.run_at);
        if let Some(labels) = &edit.labels {
            job.spec.labels = labels.clone();
        }
    }
}
