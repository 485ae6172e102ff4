//! The port of the audit, on the state.

use async_trait::async_trait;

use super::MemoryStore;
use super::state::State;
use crate::audit::{Seal, link};
use crate::ports::{AuditEntry, AuditFilter, AuditHead, AuditNote, AuditStore, StoreResult};

fn head(entries: &[AuditEntry]) -> AuditHead {
    entries
        .last()
        .map_or(AuditHead { seq: 0, seal: Seal::NONE }, |last| AuditHead { seq: last.seq, seal: last.seal })
}

impl State {
    pub(super) fn tell_audit(&mut self, notes: &[AuditNote]) {
        let linked = link(head(&self.audit), notes);
        self.audit.extend(linked);
    }
}

#[async_trait]
impl AuditStore for MemoryStore {
    async fn append(&self, notes: &[AuditNote]) -> StoreResult<()> {
        self.state().tell_audit(notes);
        Ok(())
    }

    async fn list(
        &self,
        filter: &AuditFilter,
        before: Option<u64>,
        limit: u32,
    ) -> StoreResult<Vec<AuditEntry>> {
        let state = self.state();
        let entries = state.audit.iter().rev();
        let meant = entries
            .filter(|entry| before.is_none_or(|before| entry.seq < before) && filter.meets(&entry.note));
        Ok(meant.take(limit as usize).cloned().collect())
    }

    async fn chain(&self, after: u64, limit: u32) -> StoreResult<Vec<AuditEntry>> {
        let state = self.state();
        Ok(state.audit.iter().filter(|entry| entry.seq > after).take(limit as usize).cloned().collect())
    }

    async fn head(&self) -> StoreResult<AuditHead> {
        Ok(head(&self.state().audit))
    }
}
