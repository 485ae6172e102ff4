//! [`JobStore`]: each verb in its own module.

use async_trait::async_trait;
use taskflow_application::ports::{
    AuditNote, Claim, ClaimRequest, Committed, Discrepancies, Extended, Inserted, JobStore, LeaseKey, NewJob,
    Promoted, Proof, StoreResult,
};
use taskflow_domain::{JobChange, JobId, JobState, Lease, LeaseToken, Progress, TenantId, Timestamp};

use super::{SqliteStore, claim, commit, insert, leases, progress, promote, proof, prune, sweep};

#[async_trait]
impl JobStore for SqliteStore {
    async fn insert(&self, jobs: Vec<NewJob>, atomic: bool) -> StoreResult<Vec<Inserted>> {
        insert::insert(&self.shared, jobs, atomic).await
    }

    async fn claim(&self, request: &ClaimRequest) -> StoreResult<Claim> {
        claim::claim(&self.shared, request).await
    }

    async fn commit(&self, changes: &[JobChange]) -> StoreResult<Vec<Committed>> {
        commit::commit(&self.shared, changes, None).await
    }

    async fn commit_noted(&self, change: &JobChange, note: AuditNote) -> StoreResult<Committed> {
        let answers = commit::commit(&self.shared, std::slice::from_ref(change), Some(note)).await?;
        Ok(answers.first().copied().unwrap_or(Committed::Refused))
    }

    async fn leases(&self, jobs: &[(TenantId, JobId)]) -> StoreResult<Vec<Option<Lease>>> {
        leases::leases(&self.shared, jobs).await
    }

    async fn extend(&self, leases: &[LeaseKey], until: Timestamp) -> StoreResult<Vec<Extended>> {
        leases::extend(&self.shared, leases, until).await
    }

    async fn progress(
        &self,
        reports: &[(TenantId, JobId, LeaseToken, Progress)],
        at: Timestamp,
    ) -> StoreResult<Vec<bool>> {
        progress::progress(&self.shared, reports, at).await
    }

    async fn expired(&self, now: Timestamp, limit: u32) -> StoreResult<Vec<Lease>> {
        leases::expired(&self.shared, now, limit).await
    }

    async fn promote(&self, now: Timestamp, limit: u32) -> StoreResult<Promoted> {
        promote::promote(&self.shared, now, limit).await
    }

    async fn prune(
        &self,
        state: JobState,
        before: Timestamp,
        keys_before: Timestamp,
        limit: u32,
    ) -> StoreResult<u32> {
        prune::prune(&self.shared, state, before, keys_before, limit).await
    }

    async fn sweep(&self, now: Timestamp) -> StoreResult<Discrepancies> {
        sweep::sweep(&self.shared, now).await
    }

    async fn proof(&self, now: Timestamp) -> StoreResult<Proof> {
        proof::proof(&self.shared, now).await
    }
}
