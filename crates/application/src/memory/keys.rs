//! The port of API keys, on the state.

use async_trait::async_trait;
use taskflow_domain::{ApiKey, KeyId, Timestamp};

use super::MemoryStore;
use super::state::State;
use crate::ports::{AuditNote, KeyPage, KeyStore, KnownKey, Rotated, Rotation, StoreError, StoreResult};

fn keep(state: &mut State, key: &KnownKey) -> StoreResult<()> {
    if state.api_keys.contains_key(&key.key.id) {
        return Err(StoreError::Rejected("the key's id is taken".into()));
    }
    state.api_keys.insert(key.key.id, key.clone());
    Ok(())
}

fn family(state: &State, id: KeyId) -> Vec<ApiKey> {
    let Some(meant) = state.api_keys.get(&id).map(|known| known.key.family) else { return Vec::new() };
    let keys = state.api_keys.values().map(|known| &known.key);
    keys.filter(|key| key.family == meant).cloned().collect()
}

#[async_trait]
impl KeyStore for MemoryStore {
    async fn create(&self, key: &KnownKey, note: Option<AuditNote>) -> StoreResult<()> {
        let mut state = self.state();
        keep(&mut state, key)?;
        state.tell_audit(note.as_slice());
        Ok(())
    }

    async fn rotate(
        &self,
        key: &KnownKey,
        rotation: Rotation,
        note: Option<AuditNote>,
    ) -> StoreResult<Rotated> {
        let mut state = self.state();
        let rotated = rotation.of_family(&family(&state, rotation.of));
        if rotated != Rotated::Done {
            return Ok(rotated);
        }
        keep(&mut state, key)?;
        if let Some(known) = state.api_keys.get_mut(&rotation.of) {
            let end = rotation.old_ends;
            known.key.expires_at = Some(known.key.expires_at.map_or(end, |set| set.min(end)));
        }
        state.tell_audit(note.as_slice());
        Ok(rotated)
    }

    async fn family(&self, id: KeyId) -> StoreResult<Vec<ApiKey>> {
        Ok(family(&self.state(), id))
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
