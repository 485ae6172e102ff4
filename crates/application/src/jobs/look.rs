//! Looking at jobs, their attempts and their histories.

use std::collections::HashMap;

use taskflow_domain::{Attempt, AttemptError, Job, JobEvent, JobId, TenantId};

use super::{Jobs, JobsError};
use crate::caller::Caller;
use crate::ports::{JobFilter, Page};

/// A part of a list.
#[derive(Clone, Debug)]
pub struct Listed<T> {
    /// The entries.
    pub items: Vec<T>,
    /// Whether there are more behind the last one.
    pub more: bool,
}

/// What the documents and texts of one page come to at most, in bytes.
const PAGE_BYTES: usize = 8 * 1024 * 1024;
/// Jobs that are read first, to see how large they are.
const FIRST: u32 = 16;

impl<T> Listed<T> {
    /// From a list that was read one entry longer than `limit`.
    pub(crate) fn cut(items: Vec<T>, limit: u32) -> Self {
        Self::cut_at(items, limit, |_| 0)
    }

    /// The same, where the entries also may not come to too many bytes. One entry
    /// is always there.
    pub(crate) fn cut_at(mut items: Vec<T>, limit: u32, weigh: impl Fn(&T) -> usize) -> Self {
        let mut sum = 0_usize;
        let fits = items.iter().take(limit as usize).take_while(|item| {
            let first = sum == 0;
            sum = sum.saturating_add(weigh(item)).max(1);
            first || sum <= PAGE_BYTES
        });
        let fits = fits.count();
        let more = items.len() > fits;
        items.truncate(fits);
        Self { items, more }
    }
}

/// About how many bytes a job's documents and texts come to.
pub(crate) fn weigh_job(job: &Job) -> usize {
    job.spec.payload.as_str().len() + job.last_attempt.as_ref().map_or(0, weigh_attempt)
}

/// The same of an attempt.
pub(crate) fn weigh_attempt(attempt: &Attempt) -> usize {
    let end = attempt.end.as_ref();
    let result = end.and_then(|end| end.result.as_ref()).map_or(0, |result| result.as_str().len());
    result + end.and_then(|end| end.error.as_ref()).map_or(0, |error| error.message.len())
}

impl Jobs {
    /// One job.
    pub async fn get(&self, caller: &Caller, id: JobId) -> Result<Job, JobsError> {
        let tenant = self.tenant(caller).await?;
        let job = self.world.stores.reader.get(tenant, id, self.world.clock.now()).await?;
        job.ok_or(JobsError::NotFound)
    }

    /// Why the last attempts of these jobs failed, of those of which one did.
    pub async fn last_errors(
        &self,
        caller: &Caller,
        jobs: &[JobId],
    ) -> Result<HashMap<JobId, AttemptError>, JobsError> {
        if jobs.is_empty() {
            return Ok(HashMap::new());
        }
        let tenant = self.tenant(caller).await?;
        let jobs = self.world.stores.reader.get_many(tenant, jobs, self.world.clock.now()).await?;
        Ok(jobs.into_iter().filter_map(|job| Some((job.spec.id, job.last_error?))).collect())
    }

    /// Jobs, newest first. They are read in steps, so that no more of them are held
    /// than a page has room for.
    pub async fn list(
        &self,
        caller: &Caller,
        filter: &JobFilter,
        page: Page,
    ) -> Result<Listed<Job>, JobsError> {
        let Some(tenant) = self.directory.find(caller).await? else {
            return Ok(Listed { items: Vec::new(), more: false });
        };
        let (now, longer) = (self.world.clock.now(), page.limit + 1);
        let (mut items, mut before, mut step, mut weight) = (Vec::<Job>::new(), page.before, FIRST, 0);
        loop {
            let limit = step.min(longer - u32::try_from(items.len()).unwrap_or(longer));
            let found = self.world.stores.reader.list(tenant, filter, Page { before, limit }, now).await?;
            let last = found.len() < limit as usize;
            weight += found.iter().map(weigh_job).sum::<usize>();
            items.extend(found);
            before = items.last().map(|job| job.spec.id);
            if last || items.len() >= longer as usize || weight > PAGE_BYTES {
                return Ok(Listed::cut_at(items, page.limit, weigh_job));
            }
            let mean = weight / items.len().max(1) + 1;
            step = u32::try_from((PAGE_BYTES - weight) / mean + 1).unwrap_or(longer);
        }
    }

    /// A job's attempts after number `after`.
    pub async fn attempts(
        &self,
        caller: &Caller,
        id: JobId,
        after: u16,
        limit: u32,
    ) -> Result<Listed<Attempt>, JobsError> {
        let tenant = self.tenant(caller).await?;
        let items = self.world.stores.reader.attempts(tenant, id, after, limit + 1).await?;
        Ok(Listed::cut_at(items.ok_or(JobsError::NotFound)?, limit, weigh_attempt))
    }

    /// A job's history after entry `after`.
    pub async fn events(
        &self,
        caller: &Caller,
        id: JobId,
        after: u32,
        limit: u32,
    ) -> Result<Listed<JobEvent>, JobsError> {
        let tenant = self.tenant(caller).await?;
        let items = self.world.stores.reader.events(tenant, id, after, limit + 1).await?;
        Ok(Listed::cut(items.ok_or(JobsError::NotFound)?, limit))
    }

    /// The caller's tenant. An unknown one owns no job, so its jobs are absent.
    pub(super) async fn tenant(&self, caller: &Caller) -> Result<TenantId, JobsError> {
        self.directory.find(caller).await?.ok_or(JobsError::NotFound)
    }
}
