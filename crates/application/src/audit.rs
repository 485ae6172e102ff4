//! What was done by whom: notes of it, and the proof that they are whole.
//!
//! The note of a change is written in the transaction of the change: both happen
//! or neither. What takes many transactions (a purge, an act on all jobs that meet
//! a filter) is noted before it begins, and what came of it after.

mod bounds;

use std::sync::Arc;

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use taskflow_domain::{Json, TenantSlug, Timestamp};

use crate::World;
use crate::caller::Caller;
use crate::group::Group;
use crate::ports::{AuditEntry, AuditFilter, AuditHead, AuditNote, StoreResult};

pub use bounds::MOST;

/// Entries that a check reads at once.
const STEP: u32 = 500;

/// The seal of an entry: SHA-256 over all of it and over the seal before.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Seal(pub [u8; 32]);

impl Seal {
    /// What stands before the first entry.
    pub const NONE: Self = Self([0; 32]);

    /// The seal of the entry `seq` that tells `note`, after one sealed `before`.
    pub fn of(before: Self, seq: u64, note: &AuditNote) -> Self {
        let mut hash = Sha256::new();
        hash.update(before.0);
        hash.update(seq.to_be_bytes());
        hash.update(note.at.micros().to_be_bytes());
        let texts = [
            Some(note.actor.as_str()),
            note.tenant.as_ref().map(TenantSlug::as_str),
            Some(note.action.as_str()),
            Some(note.object.as_str()),
            note.reason.as_deref(),
            note.before.as_ref().map(Json::as_str),
            note.after.as_ref().map(Json::as_str),
            Some(note.request_id.as_str()),
        ];
        // Each text with its length, so that no two notes are the same bytes.
        for text in texts {
            match text {
                None => hash.update([0]),
                Some(text) => {
                    hash.update([1]);
                    hash.update((text.len() as u64).to_be_bytes());
                    hash.update(text);
                }
            }
        }
        Self(hash.finalize().into())
    }
}

impl std::fmt::Display for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl AuditNote {
    /// That `caller` does `action` to `object`, which is `tenant`'s, or nobody's.
    pub fn of(
        caller: &Caller,
        at: Timestamp,
        tenant: Option<&TenantSlug>,
        action: &str,
        object: String,
        (before, after): (Option<Value>, Option<Value>),
    ) -> Self {
        Self {
            at,
            actor: caller.actor.clone(),
            tenant: tenant.cloned(),
            action: action.to_owned(),
            object,
            reason: caller.reason.as_deref().map(str::to_owned),
            before: before.as_ref().map(Json::from),
            after: after.as_ref().map(Json::from),
            request_id: caller.request_id.as_ref().to_owned(),
        }
    }
}

/// Links `notes`, each within its bound, to the chain that ends in `head`.
pub fn link(head: AuditHead, notes: &[AuditNote]) -> Vec<AuditEntry> {
    let mut head = head;
    let linked = notes.iter().map(|note| {
        let (seq, before, note) = (head.seq + 1, head.seal, note.clone().bounded());
        head = AuditHead { seq, seal: Seal::of(before, seq, &note) };
        AuditEntry { seq, note, before, seal: head.seal }
    });
    linked.collect()
}

/// What a check of the whole chain found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// How many entries were read.
    pub entries: u64,
    /// Where the chain ends.
    pub head: AuditHead,
    /// The first place where it does not hold, and why.
    pub broken: Option<(u64, &'static str)>,
}

/// What was done by whom.
#[derive(Clone)]
pub struct Audit {
    world: World,
    notes: Group<AuditNote, ()>,
}

impl Audit {
    /// The audit of `world`.
    pub fn new(world: World) -> Self {
        let store = Arc::clone(&world.stores.audit);
        let notes = Group::new(move |notes: Vec<AuditNote>| {
            let store = Arc::clone(&store);
            Box::pin(async move { store.append(&notes).await.map(|()| vec![(); notes.len()]) })
        });
        Self { world, notes }
    }

    /// Adds a note of what is not in one transaction.
    pub async fn note(&self, note: AuditNote) -> StoreResult<()> {
        self.notes.ask(note).await
    }

    /// Logs where the chain ends. Whoever owns the database can cut entries off its
    /// end and leave a whole chain; the log, which is kept elsewhere, shows that.
    pub async fn log_head(&self) -> StoreResult<()> {
        let AuditHead { seq, seal } = self.world.stores.audit.head().await?;
        tracing::info!(audit.head = %format_args!("{seq}:{seal}"), "the audit ends here");
        Ok(())
    }

    /// Entries, newest first.
    pub async fn list(
        &self,
        filter: &AuditFilter,
        before: Option<u64>,
        limit: u32,
    ) -> StoreResult<Vec<AuditEntry>> {
        self.world.stores.audit.list(filter, before, limit).await
    }

    /// Reads the whole chain and checks every link of it. `pinned` is an end
    /// that was noted elsewhere before, which must still be a link.
    pub async fn verify(&self, pinned: Option<AuditHead>) -> StoreResult<Verified> {
        let store = &self.world.stores.audit;
        // Read first, so that what is added meanwhile is no fault.
        let kept = store.head().await?;
        let mut head = AuditHead { seq: 0, seal: Seal::NONE };
        let mut entries = 0;
        let broken = |seq, why, head, entries| Verified { entries, head, broken: Some((seq, why)) };
        loop {
            let step = store.chain(head.seq, STEP).await?;
            if step.is_empty() {
                break;
            }
            for entry in step {
                entries += 1;
                if entry.seq != head.seq + 1 {
                    return Ok(broken(head.seq + 1, "the entry is missing", head, entries));
                }
                if entry.before != head.seal {
                    return Ok(broken(entry.seq, "the entry does not follow the one before", head, entries));
                }
                if entry.seal != Seal::of(entry.before, entry.seq, &entry.note) {
                    return Ok(broken(entry.seq, "the entry is not what was sealed", head, entries));
                }
                head = AuditHead { seq: entry.seq, seal: entry.seal };
                if pinned.is_some_and(|pin| pin.seq == head.seq && pin.seal != head.seal) {
                    return Ok(broken(head.seq, "the entry is not the one that was pinned", head, entries));
                }
            }
        }
        if head.seq < kept.seq || pinned.is_some_and(|pin| head.seq < pin.seq) {
            return Ok(broken(head.seq + 1, "the end of the chain is missing", head, entries));
        }
        Ok(Verified { entries, head, broken: None })
    }
}
