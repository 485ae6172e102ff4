//! The port of writing jobs, on the state.

use async_trait::async_trait;
use taskflow_domain::{JobChange, JobId, JobState, Lease, LeaseToken, Progress, TenantId, Timestamp};

use super::MemoryStore;
use crate::ports::{
    AuditNote, Claim, ClaimRequest, Committed, Discrepancies, Extended, Inserted, JobStore, LeaseKey, NewJob,
    Promoted, Proof, StoreResult,
};

#[async_trait]
impl JobStore for MemoryStore {
    async fn insert(&self, jobs: Vec<NewJob>, atomic: bool) -> StoreResult<Vec<Inserted>> {
        self.state().insert(jobs, atomic)
    }

    async fn claim(&self, request: &ClaimRequest) -> StoreResult<Claim> {
        Ok(self.state().claim(request))
    }

    async fn commit(&self, changes: &[JobChange]) -> StoreResult<Vec<Committed>> {
        Ok(self.state().commit(changes))
    }

    async fn commit_noted(&self, change: &JobChange, note: AuditNote) -> StoreResult<Committed> {
        let mut state = self.state();
        let answers = state.commit(std::slice::from_ref(change));
        if answers.contains(&Committed::Done) {
            state.tell_audit(&[note]);
        }
        Ok(answers.first().copied().unwrap_or(Committed::Refused))
    }

    async fn leases(&self, jobs: &[(TenantId, JobId)]) -> StoreResult<Vec<Option<Lease>>> {
        Ok(self.state().leases(jobs))
    }

    async fn extend(&self, leases: &[LeaseKey], until: Timestamp) -> StoreResult<Vec<Extended>> {
        Ok(self.state().extend(leases, until))
    }

    async fn progress(
        &self,
        reports: &[(TenantId, JobId, LeaseToken, Progress)],
        at: Timestamp,
    ) -> StoreResult<Vec<bool>> {
        Ok(self.state().progress(reports, at))
    }

    async fn expired(&self, now: Timestamp, limit: u32) -> StoreResult<Vec<Lease>> {
        Ok(self.state().expired(now, limit))
    }

    async fn promote(&self, now: Timestamp, limit: u32) -> StoreResult<Promoted> {
        Ok(self.state().promote(now, limit))
    }

    async fn prune(
        &self,
        state: JobState,
        before: Timestamp,
        keys_before: Timestamp,
        limit: u32,
    ) -> StoreResult<u32> {
        Ok(self.state().prune(state, before, keys_before, limit))
    }

    /// Counters and flags do not exist here, so they cannot differ.
    async fn sweep(&self, _now: Timestamp) -> StoreResult<Discrepancies> {
        Ok(Discrepancies::default())
    }

    async fn proof(&self, now: Timestamp) -> StoreResult<Proof> {
        Ok(self.state().proof(now))
    }
}
