//! Submitting jobs, one by one and in batches.

use std::sync::PoisonError;

use taskflow_domain::{
    Counters, Delay, Job, JobId, JobState, Progress, QueueName, Standing, TenantId, Timestamp,
};

use super::{JobWish, Jobs, JobsError};
use crate::caller::Caller;
use crate::meter;
use crate::ports::{Inserted, NewJob, Topic};
use crate::tally::Subject;

/// A job that was asked for.
#[derive(Clone, Debug)]
pub struct Submitted {
    /// The job.
    pub job: Job,
    /// Whether this submit made it; otherwise an earlier one with the same key did.
    pub created: bool,
}

/// Keeps an idempotency key taken until its submit is answered.
struct InFlight<'a> {
    jobs: &'a Jobs,
    key: Option<(TenantId, String)>,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        if let Some(key) = &self.key {
            self.jobs.in_flight.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
        }
    }
}

impl Jobs {
    /// Submits one job. When this returns it is on disk.
    pub async fn submit(&self, caller: &Caller, wish: JobWish) -> Result<Submitted, JobsError> {
        let tenant = self.directory.find_or_make(caller).await?.ok_or(JobsError::UnknownTenant)?;
        let _in_flight = self.take_key(tenant, wish.idempotency_key.clone())?;
        let mut wishes = [wish];
        self.check_drains(&wishes)?;
        self.resolve_parents(tenant, &mut wishes).await?;
        let [wish] = wishes;
        let now = self.world.clock.now();
        let new = self.new_job(tenant, caller, wish, now)?;
        let inserted = self.coalescer.insert(new.clone()).await?;
        self.submitted(caller, &new, inserted, 0).await
    }

    /// Submits all of the jobs or none.
    pub async fn submit_batch(
        &self,
        caller: &Caller,
        mut wishes: Vec<JobWish>,
    ) -> Result<Vec<Submitted>, JobsError> {
        let tenant = self.directory.find_or_make(caller).await?.ok_or(JobsError::UnknownTenant)?;
        self.check_drains(&wishes)?;
        self.resolve_parents(tenant, &mut wishes).await?;
        let now = self.world.clock.now();
        let news = wishes.into_iter().map(|wish| self.new_job(tenant, caller, wish, now));
        let news = news.collect::<Result<Vec<_>, _>>()?;
        let inserted = self.world.stores.jobs.insert(news.clone(), true).await?;
        for (index, outcome) in inserted.iter().enumerate() {
            match outcome {
                Inserted::KeyReused(_) => return Err(JobsError::KeyReused { index }),
                Inserted::BacklogFull(limit) => return Err(self.no_room(caller, *limit).await?),
                Inserted::New | Inserted::Existing(_) => {}
            }
        }
        self.announce(&news, &inserted);
        let mut submitted = Vec::with_capacity(news.len());
        for (index, (new, outcome)) in news.iter().zip(inserted).enumerate() {
            submitted.push(self.submitted(caller, new, outcome, index).await?);
        }
        Ok(submitted)
    }

    /// Why there is no room: a suspended tenant has none at all.
    pub(super) async fn no_room(&self, caller: &Caller, limit: u32) -> Result<JobsError, JobsError> {
        if limit == 0
            && let Some(tenant) = self.world.stores.tenants.get(&caller.slug).await?
            && tenant.settings.suspended
        {
            return Ok(JobsError::Suspended);
        }
        Ok(JobsError::BacklogFull { limit })
    }

    /// A queue that drains takes no new jobs.
    fn check_drains(&self, wishes: &[JobWish]) -> Result<(), JobsError> {
        for (index, wish) in wishes.iter().enumerate() {
            let queue = wish.queue.clone().unwrap_or_else(QueueName::fallback);
            if self.world.drains.contains(&queue) {
                return Err(JobsError::QueueDraining { queue, index });
            }
        }
        Ok(())
    }

    fn announce(&self, news: &[NewJob], inserted: &[Inserted]) {
        let new = || news.iter().zip(inserted).filter(|(_, outcome)| **outcome == Inserted::New);
        let subjects: Vec<_> = new().map(|(job, _)| Subject::of(&job.spec)).collect();
        meter::created(&self.world.tally, || subjects.iter());
        for (state, topic) in [(JobState::Pending, Topic::Work), (JobState::Scheduled, Topic::Schedule)] {
            if new().any(|(job, _)| job.standing.state() == state) {
                self.world.wakeups.nudge(topic);
            }
        }
    }

    fn take_key(&self, tenant: TenantId, key: Option<String>) -> Result<InFlight<'_>, JobsError> {
        let key = key.map(|key| (tenant, key));
        if let Some(key) = &key
            && !self.in_flight.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone())
        {
            return Err(JobsError::InFlight);
        }
        Ok(InFlight { jobs: self, key })
    }

    /// A job that names a parent belongs to the parent's story.
    async fn resolve_parents(&self, tenant: TenantId, wishes: &mut [JobWish]) -> Result<(), JobsError> {
        let mut parents: Vec<JobId> = wishes.iter().filter_map(|wish| wish.parent_job_id).collect();
        if parents.is_empty() {
            return Ok(());
        }
        parents.sort_unstable();
        parents.dedup();
        let found = self.world.stores.reader.get_many(tenant, &parents, self.world.clock.now()).await?;
        for (index, wish) in wishes.iter_mut().enumerate() {
            let Some(parent) = wish.parent_job_id else { continue };
            let parent = found.iter().find(|job| job.spec.id == parent);
            let parent = parent.ok_or(JobsError::UnknownParent { index })?;
            wish.correlation_id.get_or_insert(parent.spec.correlation_id);
        }
        Ok(())
    }

    fn new_job(
        &self,
        tenant: TenantId,
        caller: &Caller,
        mut wish: JobWish,
        now: Timestamp,
    ) -> Result<NewJob, JobsError> {
        let fingerprint = wish.fingerprint;
        if let Some(target) = &mut wish.target {
            self.world.seal_target(tenant, target)?;
        }
        let spec = wish.into_spec(self.world.ids.job(now), tenant, caller.actor.clone(), now);
        // A time that has passed does not jump the line of the jobs that waited for it.
        let due = spec.run_at.max(now);
        Ok(NewJob { standing: Standing::due_at(due, Delay::Requested, now), spec, fingerprint })
    }

    async fn submitted(
        &self,
        caller: &Caller,
        new: &NewJob,
        inserted: Inserted,
        index: usize,
    ) -> Result<Submitted, JobsError> {
        match inserted {
            Inserted::New => Ok(Submitted { job: fresh(new, caller), created: true }),
            Inserted::Existing(id) => {
                let now = self.world.clock.now();
                let job = self.world.stores.reader.get(new.spec.tenant, id, now).await?;
                Ok(Submitted { job: job.ok_or(JobsError::Contended)?, created: false })
            }
            Inserted::KeyReused(_) => Err(JobsError::KeyReused { index }),
            Inserted::BacklogFull(limit) => Err(self.no_room(caller, limit).await?),
        }
    }
}

/// A job as it was at the moment of its commit; reading it back would cost a
/// query and might already show it running.
fn fresh(new: &NewJob, caller: &Caller) -> Job {
    Job {
        slug: caller.slug.clone(),
        standing: new.standing.clone(),
        counters: Counters::default(),
        seq: 1,
        last_attempt: None,
        last_error: None,
        progress: Progress::default(),
        updated_at: new.spec.created_at,
        spec: new.spec.clone(),
    }
}
