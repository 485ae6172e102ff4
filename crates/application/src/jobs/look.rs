//! Looking at jobs, their attempts and their histories.

use taskflow_domain::{Attempt, Job, JobEvent, JobId, TenantId};

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

impl<T> Listed<T> {
    /// From a list that was read one entry longer than `limit`.
    pub(crate) fn cut(mut items: Vec<T>, limit: u32) -> Self {
        let more = items.len() > limit as usize;
        items.truncate(limit as usize);
        Self { items, more }
    }
}

impl Jobs {
    /// One job.
    pub async fn get(&self, caller: &Caller, id: JobId) -> Result<Job, JobsError> {
        let tenant = self.tenant(caller).await?;
        let job = self.world.stores.reader.get(tenant, id, self.world.clock.now()).await?;
        job.ok_or(JobsError::NotFound)
    }

    /// Jobs, newest first.
    pub async fn list(
        &self,
        caller: &Caller,
        filter: &JobFilter,
        page: Page,
    ) -> Result<Listed<Job>, JobsError> {
        let Some(tenant) = self.directory.find(caller).await? else {
            return Ok(Listed { items: Vec::new(), more: false });
        };
        let longer = Page { limit: page.limit + 1, ..page };
        let items = self.world.stores.reader.list(tenant, filter, longer, self.world.clock.now()).await?;
        Ok(Listed::cut(items, page.limit))
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
        Ok(Listed::cut(items.ok_or(JobsError::NotFound)?, limit))
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
