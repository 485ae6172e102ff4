//! What happens to jobs by time alone: scheduled ones become due, old ones go.

use taskflow_domain::{JobId, JobState, Standing, TenantId, Timestamp};

use super::state::{JobRow, Place, State};
use crate::ports::Promoted;

impl State {
    pub(super) fn promote(&mut self, now: Timestamp, limit: u32) -> Promoted {
        let mut scheduled: Vec<_> = self.jobs.values().filter_map(scheduled_until).collect();
        scheduled.sort();
        let due = scheduled.iter().take_while(|(due, _)| *due <= now).take(limit as usize).count();
        for (due, key) in &scheduled[..due] {
            if let Some(mut job) = self.lift(*key) {
                job.place = Place::At(Standing::Pending { due: *due });
                self.enter(*key, job);
            }
        }
        let jobs = u32::try_from(due).unwrap_or(u32::MAX);
        Promoted { jobs, next_due: scheduled.get(due).map(|(due, _)| *due) }
    }

    pub(super) fn prune(
        &mut self,
        state: JobState,
        before: Timestamp,
        keys_before: Timestamp,
        limit: u32,
    ) -> u32 {
        let mut old: Vec<_> = self
            .jobs
            .values()
            .filter_map(|job| match &job.place {
                Place::At(Standing::Ended { state: ended, at, .. }) if *ended == state && *at < before => {
                    Some((*at, (job.spec.tenant, job.spec.id)))
                }
                _ => None,
            })
            .filter(|(_, key)| !self.key_used_after(*key, keys_before))
            .collect();
        old.sort();
        old.truncate(limit as usize);
        for (_, key) in &old {
            if let Some(job) = self.lift(*key)
                && let Some(text) = job.spec.idempotency_key
            {
                self.keys.remove(&(key.0, text));
            }
        }
        u32::try_from(old.len()).unwrap_or(u32::MAX)
    }

    fn key_used_after(&self, key: (TenantId, JobId), keys_before: Timestamp) -> bool {
        let text = self.jobs.get(&key).and_then(|job| job.spec.idempotency_key.clone());
        let row = text.and_then(|text| self.keys.get(&(key.0, text)));
        row.is_some_and(|row| row.used_at > keys_before)
    }
}

fn scheduled_until(job: &JobRow) -> Option<(Timestamp, (TenantId, JobId))> {
    match &job.place {
        Place::At(Standing::Scheduled { due, .. }) => Some((*due, (job.spec.tenant, job.spec.id))),
        _ => None,
    }
}
