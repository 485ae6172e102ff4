//! The port that writes jobs; each method has a file of its own.

use std::sync::Arc;

use async_trait::async_trait;
use taskflow_application::ports::{
    AuditNote, Claim, ClaimRequest, Committed, Discrepancies, Extended, Inserted, JobStore, LeaseKey, NewJob,
    Promoted, Proof, StoreResult,
};
use taskflow_domain::{JobChange, JobId, JobState, Lease, LeaseToken, Progress, TenantId, Timestamp};

use super::{Inner, claim, commit, insert, leases, promote, proof, prune, sweep};

/// The port over PostgreSQL.
pub(super) struct PgJobs(pub(super) Arc<Inner>);

#[async_trait]
impl JobStore for PgJobs {
    async fn insert(&self, jobs: Vec<NewJob>, atomic: bool) -> StoreResult<Vec<Inserted>> {
        insert::insert(&self.0, jobs, atomic).await
    }

    async fn claim(&self, request: &ClaimRequest) -> StoreResult<Claim> {
        claim::claim(&self.0, request).await
    }

    async fn commit(&self, changes: &[JobChange]) -> StoreResult<Vec<Committed>> {
        commit::commit(&self.0, changes, None).await
    }

    async fn commit_noted(&self, change: &JobChange, note: AuditNote) -> StoreResult<Committed> {
        let answers = commit::commit(&self.0, std::slice::from_ref(change), Some(note)).await?;
        Ok(answers.first().copied().unwrap_or(Committed::Refused))
    }

    async fn leases(&self, jobs: &[(TenantId, JobId)]) -> StoreResult<Vec<Option<Lease>>> {
        leases::leases(&self.0, jobs).await
    }

    async fn extend(&self, leases: &[LeaseKey], until: Timestamp) -> StoreResult<Vec<Extended>> {
        leases::extend(&self.0, leases, until).await
    }

    async fn progress(
        &self,
        reports: &[(TenantId, JobId, LeaseToken, Progress)],
        at: Timestamp,
    ) -> StoreResult<Vec<bool>> {
        leases::progress(&self.0, reports, at).await
    }

    async fn expired(&self, now: Timestamp, limit: u32) -> StoreResult<Vec<Lease>> {
        leases::expired(&self.0, now, limit).await
    }

    async fn promote(&self, now: Timestamp, limit: u32) -> StoreResult<Promoted> {
        promote::promote(&self.0, now, limit).await
    }

    async fn prune(
        &self,
        state: JobState,
        before: Timestamp,
        keys_before: Timestamp,
        limit: u32,
    ) -> StoreResult<u32> {
        prune::prune(&self.0, state, before, keys_before, limit).await
    }

    async fn sweep(&self, now: Timestamp) -> StoreResult<Discrepancies> {
        sweep::sweep(&self.0, now).await
    }

    async fn proof(&self, now: Timestamp) -> StoreResult<Proof> {
        proof::proof(&self.0, now).await
    }
}
