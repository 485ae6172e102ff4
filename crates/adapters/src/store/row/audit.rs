//! `audit`: the links of its chain.

use taskflow_application::audit::Seal;
use taskflow_application::ports::{AuditEntry, AuditHead, AuditNote, StoreError};
use taskflow_domain::{Actor, Json, TenantSlug, Timestamp};

use super::{corrupt, row};

row! {
    /// A row of `audit`.
    AuditRow {
        seq: i64,
        at: i64,
        actor: String,
        tenant: Option<String>,
        action: String,
        object: String,
        reason: Option<String>,
        was: Option<String>,
        became: Option<String>,
        request_id: String,
        prev_hash: Vec<u8>,
        hash: Vec<u8>,
    }
}

/// The seal of a column; one of another length is none that was ever made.
fn seal(bytes: Vec<u8>) -> Seal {
    Seal(bytes.try_into().unwrap_or([0; 32]))
}

/// Where the chain ends.
pub(crate) fn audit_head(seq: i64, hash: Vec<u8>) -> AuditHead {
    AuditHead { seq: u64::try_from(seq).unwrap_or_default(), seal: seal(hash) }
}

impl AuditRow {
    /// The row of an entry.
    pub(crate) fn of(entry: &AuditEntry) -> Self {
        let note = &entry.note;
        let json = |json: &Option<Json>| json.as_ref().map(|json| json.as_str().to_owned());
        Self {
            seq: i64::try_from(entry.seq).unwrap_or(i64::MAX),
            at: note.at.micros(),
            actor: note.actor.as_str().to_owned(),
            tenant: note.tenant.as_ref().map(|slug| slug.as_str().to_owned()),
            action: note.action.clone(),
            object: note.object.clone(),
            reason: note.reason.clone(),
            was: json(&note.before),
            became: json(&note.after),
            request_id: note.request_id.clone(),
            prev_hash: entry.before.0.to_vec(),
            hash: entry.seal.0.to_vec(),
        }
    }

    /// The entry, as it stands: whether it is what was sealed is for others to say.
    pub(crate) fn entry(self) -> Result<AuditEntry, StoreError> {
        let seq = self.seq;
        let tenant = self.tenant.as_deref().map(TenantSlug::new).transpose();
        let json = |text: Option<String>| text.as_deref().map(Json::from_valid);
        Ok(AuditEntry {
            seq: u64::try_from(seq).map_err(|why| corrupt("audit", "seq", seq, why))?,
            note: AuditNote {
                at: Timestamp::from_micros(self.at),
                actor: Actor::from_stored(self.actor),
                tenant: tenant.map_err(|why| corrupt("audit", "tenant", seq, why))?,
                action: self.action,
                object: self.object,
                reason: self.reason,
                before: json(self.was),
                after: json(self.became),
                request_id: self.request_id,
            },
            before: seal(self.prev_hash),
            seal: seal(self.hash),
        })
    }
}
