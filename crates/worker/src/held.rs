//! What the worker knows of its leases, and what a heartbeat's answer means.
//!
//! The source lists the leases that it says this worker holds. The list was made
//! at some moment between the sending of the heartbeat and its answer, while
//! claims and reports were under way, so a difference does not yet say that
//! something is wrong:
//!
//! - A lease that the worker knew **before** the heartbeat was sent and that is not
//!   listed is lost, or its report has been committed in the meantime.
//! - A lease that is listed and unknown may belong to a claim whose answer is still
//!   under way, or to a report that was committed after the list was made. It is
//!   suspected. If the next list names it again, and every claim that had begun
//!   when it was first suspected has ended since, then neither can be the case:
//!   the answer of its claim was lost, and the worker must hand it back, because
//!   its heartbeats would keep it alive for ever.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use taskflow_domain::{JobId, Lease, LeaseToken};

use crate::control::Control;
use crate::source::Held;

/// A lease: one job may be held under two tokens for a moment, if it was lost and
/// claimed again.
pub(crate) type Key = (JobId, LeaseToken);

/// The key of a lease.
pub(crate) const fn key(lease: &Lease) -> Key {
    (lease.job, lease.token)
}

#[derive(Debug)]
struct Entry {
    /// The number of the last heartbeat that was sent before this was known.
    born: u64,
    /// `None` once the attempt has ended and only its report is left.
    control: Option<Arc<Control>>,
}

/// What a heartbeat's answer calls for.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// Attempts to stop: their leases are lost. They are forgotten already.
    pub(crate) lost: Vec<Arc<Control>>,
    /// Attempts to stop: somebody cancelled them.
    pub(crate) cancelled: Vec<Arc<Control>>,
    /// Leases to hand back.
    pub(crate) unknown: Vec<Held>,
}

/// The leases that the worker knows.
#[derive(Debug, Default)]
pub(crate) struct HeldTable {
    entries: HashMap<Key, Entry>,
    suspects: HashMap<Key, u64>,
    beats: u64,
    claims_begun: u64,
    claims_ended: u64,
}

impl HeldTable {
    /// Notes that a claim is about to be sent.
    pub(crate) const fn claim_begins(&mut self) {
        self.claims_begun += 1;
    }

    /// Notes that a claim has ended, and that what it brought is known.
    pub(crate) const fn claim_ends(&mut self) {
        self.claims_ended += 1;
    }

    /// Makes a lease known: with its control if it runs, without if only its
    /// report is left.
    pub(crate) fn insert(&mut self, key: Key, control: Option<Arc<Control>>) {
        self.entries.insert(key, Entry { born: self.beats, control });
    }

    /// Notes that an attempt has ended. Answers whether its lease is still held.
    pub(crate) fn end(&mut self, key: &Key) -> bool {
        self.entries.get_mut(key).is_some_and(|entry| {
            entry.control = None;
            true
        })
    }

    /// Whether the lease is held.
    pub(crate) fn holds(&self, key: &Key) -> bool {
        self.entries.contains_key(key)
    }

    /// Forgets a lease whose report was answered.
    pub(crate) fn forget(&mut self, key: &Key) {
        self.entries.remove(key);
    }

    /// Notes that a heartbeat is about to be sent, and gives its number.
    pub(crate) const fn beat_begins(&mut self) -> u64 {
        self.beats += 1;
        self.beats
    }

    /// Compares the answer of heartbeat number `beat` with what is known.
    pub(crate) fn beat_answered(&mut self, beat: u64, listed: &[Held]) -> Findings {
        let mut findings = Findings::default();
        let keys: HashSet<Key> = listed.iter().map(|held| (held.job, held.token)).collect();
        self.entries.retain(|key, entry| {
            let keep = entry.born >= beat || keys.contains(key);
            if !keep {
                findings.lost.extend(entry.control.take());
            }
            keep
        });
        let mut suspects = HashMap::new();
        for held in listed {
            let key = (held.job, held.token);
            match self.entries.get(&key) {
                Some(Entry { control: Some(control), .. }) if held.cancel => {
                    findings.cancelled.push(Arc::clone(control));
                }
                Some(_) => {}
                None => {
                    let begun = self.suspects.get(&key).copied();
                    if begun.is_some_and(|begun| self.claims_ended >= begun) {
                        findings.unknown.push(*held);
                    }
                    suspects.insert(key, begun.unwrap_or(self.claims_begun));
                }
            }
        }
        self.suspects = suspects;
        findings
    }

    /// Forgets all leases, and gives the attempts that still run under them.
    pub(crate) fn lose_all(&mut self) -> Vec<Arc<Control>> {
        self.entries.drain().filter_map(|(_, entry)| entry.control).collect()
    }

    /// The attempts that run.
    pub(crate) fn running(&self) -> Vec<Arc<Control>> {
        self.entries.values().filter_map(|entry| entry.control.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use taskflow_domain::TenantId;
    use uuid::Uuid;

    use super::*;

    const fn known(n: u128) -> Key {
        (JobId(Uuid::from_u128(n)), LeaseToken::new(1, n as u64))
    }

    const fn listed(n: u128, cancel: bool) -> Held {
        let (job, token) = known(n);
        Held { tenant: TenantId(1), job, token, cancel }
    }

    #[test]
    fn what_was_known_before_the_beat_and_is_not_listed_is_lost() {
        let mut table = HeldTable::default();
        table.insert(known(1), Some(Arc::default()));
        table.insert(known(2), None);
        let beat = table.beat_begins();
        table.insert(known(3), Some(Arc::default()));
        let findings = table.beat_answered(beat, &[]);
        assert_eq!(findings.lost.len(), 1, "the ended one has nothing to stop");
        assert!(!table.holds(&known(1)) && !table.holds(&known(2)));
        assert!(table.holds(&known(3)), "claimed after the beat was sent");
    }

    #[test]
    fn another_token_of_the_same_job_is_another_lease() {
        let mut table = HeldTable::default();
        let (job, _) = known(1);
        table.insert((job, LeaseToken::new(1, 7)), Some(Arc::default()));
        let beat = table.beat_begins();
        let held = Held { tenant: TenantId(1), job, token: LeaseToken::new(2, 7), cancel: false };
        assert_eq!(table.beat_answered(beat, &[held]).lost.len(), 1);
    }

    #[test]
    fn running_attempts_are_cancelled_and_ended_ones_are_not() {
        let mut table = HeldTable::default();
        table.insert(known(1), Some(Arc::default()));
        table.insert(known(2), Some(Arc::default()));
        assert!(table.end(&known(2)));
        let beat = table.beat_begins();
        let findings = table.beat_answered(beat, &[listed(1, true), listed(2, true)]);
        assert_eq!((findings.cancelled.len(), findings.lost.len()), (1, 0));
    }

    #[test]
    fn an_unknown_lease_is_handed_back_at_the_second_sight() {
        let mut table = HeldTable::default();
        table.claim_begins();
        table.claim_ends();
        let beat = table.beat_begins();
        assert!(table.beat_answered(beat, &[listed(1, false)]).unknown.is_empty());
        let beat = table.beat_begins();
        assert_eq!(table.beat_answered(beat, &[listed(1, false)]).unknown, [listed(1, false)]);
    }

    #[test]
    fn an_unknown_lease_may_belong_to_a_claim_under_way() {
        let mut table = HeldTable::default();
        table.claim_begins();
        for _ in 0..3 {
            let beat = table.beat_begins();
            assert!(table.beat_answered(beat, &[listed(1, false)]).unknown.is_empty());
        }
        table.insert(known(1), Some(Arc::default()));
        table.claim_ends();
        let beat = table.beat_begins();
        assert!(table.beat_answered(beat, &[listed(1, false)]).unknown.is_empty());
        assert!(table.holds(&known(1)));
    }

    #[test]
    fn a_report_that_was_just_committed_is_not_unknown() {
        let mut table = HeldTable::default();
        table.insert(known(1), None);
        let beat = table.beat_begins();
        table.forget(&known(1));
        assert!(table.beat_answered(beat, &[listed(1, false)]).unknown.is_empty());
        let beat = table.beat_begins();
        assert!(table.beat_answered(beat, &[]).unknown.is_empty());
    }

    #[test]
    fn losing_all_stops_what_runs() {
        let mut table = HeldTable::default();
        table.insert(known(1), Some(Arc::default()));
        table.insert(known(2), None);
        assert_eq!(table.running().len(), 1);
        assert_eq!(table.lose_all().len(), 1);
        assert!(!table.holds(&known(2)));
    }
}
