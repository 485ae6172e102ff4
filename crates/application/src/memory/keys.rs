//! The port of API keys, on the state.

use async_trait::async_trait;
use taskflow_domain::{ApiKey, KeyId, Timestamp};

use super::MemoryStore;
use crate::ports::{AuditNote, KeyPage, KeyStore, KnownKey, StoreError, StoreResult};

#[async_trait]
impl KeyStore for MemoryStore {
    async fn create(
        &self,
        key: &KnownKey,
        instead_of: Option<(KeyId, Timestamp)>,
        note: Option<AuditNote>,
    ) -> StoreResult<()> {
        let mut state = self.state();
        if state.api_keys.contains_key(&key.key.id) {
            return Err(StoreError::Rejected("the key's id is taken".into()));
        }
        state.api_keys.insert(key.key.id, key.clone());
        if let Some((id, end)) = instead_of
            && let Some(known) = state.api_keys.get_mut(&id)
        {
            let earlier = known.key.expires_at.map_or(end, |set| set.min(end));
            known.key.expires_at = Some(earlier);
        }
        state.tell_audit(note.as_slice());
        Ok(())
    }

    async fn find(&self, ids: &[KeyId]) -> StoreResult<Vec<KnownKey>> {
        let state = self.state();
        Ok(ids.iter().filter_map(|id| state.api_keys.get(id)).cloned().collect())
    }

    async fn list(&self, page: KeyPage) -> StoreResult<Vec<ApiKey>> {
        let state = self.state();
        let keys = state.api_keys.values().rev().map(|known| &known.key);
        let meant = keys.filter(|key| {
            page.before.is_none_or(|before| key.id < before)
                && page.tenant.is_none_or(|tenant| key.tenant.as_ref().is_some_and(|(id, _)| *id == tenant))
        });
        Ok(meant.take(page.limit as usize).cloned().collect())
    }

    async fn revoke(&self, id: KeyId, now: Timestamp, note: Option<AuditNote>) -> StoreResult<()> {
        let mut state = self.state();
        if let Some(known) = state.api_keys.get_mut(&id) {
            known.key.revoked_at.get_or_insert(now);
        }
        state.tell_audit(note.as_slice());
        Ok(())
    }

    async fn used(&self, uses: &[(KeyId, Timestamp)]) -> StoreResult<()> {
        let mut state = self.state();
        for (id, at) in uses {
            if let Some(known) = state.api_keys.get_mut(id) {
                known.key.last_used_at = known.key.last_used_at.max(Some(*at));
            }
        }
        Ok(())
    }
}
