//! The proof. What others keep beside the jobs is derived here, so only what
//! operators and runners can bring about is left to look at.

use std::collections::BTreeSet;

use taskflow_domain::{JobState, Timestamp};

use super::state::{JobRow, State};
use crate::ports::{Check, Proof};

impl State {
    pub(super) fn proof(&self, now: Timestamp) -> Proof {
        let before = now.plus_millis(-Check::PATIENCE_MS);
        let mut proof = Proof::default();
        proof.note(Check::ExceededLimits, self.exceeded_limits() as u64);
        proof.note(Check::LostLeases, self.expired(before, u32::MAX).len() as u64);
        let overdue = |job: &&JobRow| {
            job.kept_state() == JobState::Scheduled && job.standing(before).state() == JobState::Pending
        };
        proof.note(Check::OverdueJobs, self.jobs.values().filter(overdue).count() as u64);
        proof
    }

    fn exceeded_limits(&self) -> usize {
        let of_queue = self.queues.iter().filter(|(name, row)| {
            row.settings.max_running.is_some_and(|max| self.count_running(|spec| spec.queue == **name) > max)
        });
        let of_tenant = self.tenants.values().filter(|tenant| {
            let most = tenant.settings.max_running;
            most.is_some_and(|max| self.count_running(|spec| spec.tenant == tenant.id) > max)
        });
        let lanes: BTreeSet<_> = self.lanes.keys().map(|key| (key.tenant, key.queue.clone())).collect();
        let of_lane = lanes.iter().filter(|(tenant, queue)| {
            let most = self.queues.get(queue).and_then(|row| row.settings.max_running_per_tenant);
            let running = || self.count_running(|spec| spec.tenant == *tenant && spec.queue == *queue);
            most.is_some_and(|max| running() > max)
        });
        of_queue.count() + of_tenant.count() + of_lane.count()
    }
}
