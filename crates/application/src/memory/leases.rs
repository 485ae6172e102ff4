//! Leases of running jobs: extending them, telling progress, finding the lost.

use taskflow_domain::{JobId, Lease, LeaseToken, Progress, TenantId, Timestamp, event};

use super::state::{JobRow, Place, Running, State};
use crate::ports::{Extended, LeaseKey};

impl State {
    pub(super) fn leases(&self, jobs: &[(TenantId, JobId)]) -> Vec<Option<Lease>> {
        jobs.iter().map(|key| self.jobs.get(key).and_then(JobRow::lease)).collect()
    }

    pub(super) fn extend(&mut self, leases: &[LeaseKey], until: Timestamp) -> Vec<Extended> {
        let mut extend = |(tenant, job, token): &LeaseKey| {
            let Some(job) = self.jobs.get_mut(&(*tenant, *job)) else { return Extended::Lost };
            let Some(lease) = job.lease() else { return Extended::Lost };
            let Some(running) = held(job, *token) else { return Extended::Lost };
            if running.lease_until.is_some() {
                running.lease_until = Some(until.min(lease.limit()));
            }
            Extended::Held { cancel: running.cancel.is_some(), timeout_at: lease.timeout_at() }
        };
        leases.iter().map(&mut extend).collect()
    }

    pub(super) fn progress(
        &mut self,
        reports: &[(TenantId, JobId, LeaseToken, Progress)],
        at: Timestamp,
    ) -> Vec<bool> {
        let mut tell = |(tenant, job, token, progress): &(TenantId, JobId, LeaseToken, Progress)| {
            let Some(job) = self.jobs.get_mut(&(*tenant, *job)) else { return false };
            let Some(worker) = held(job, *token).map(|running| running.worker.clone()) else { return false };
            job.seq += 1;
            job.recorded.push(event::progressed(job.seq, &worker, progress, at));
            job.progress = Some((progress.clone(), at));
            true
        };
        reports.iter().map(&mut tell).collect()
    }

    pub(super) fn expired(&self, now: Timestamp, limit: u32) -> Vec<Lease> {
        let jobs = self.running.iter().filter_map(|key| self.jobs.get(key));
        let ended = jobs.filter(|job| job.running().is_some_and(|running| self.lease_end(running) < now));
        ended.filter_map(JobRow::lease).take(limit as usize).collect()
    }

    pub(super) fn lease_end(&self, running: &Running) -> Timestamp {
        let of_worker = || self.workers.get(&running.holder()).map(|worker| worker.lease_until);
        running.lease_until.or_else(of_worker).unwrap_or(Timestamp::MIN)
    }
}

fn held(job: &mut JobRow, token: LeaseToken) -> Option<&mut Running> {
    match &mut job.place {
        Place::Running(running) if running.token == token => Some(running),
        _ => None,
    }
}
