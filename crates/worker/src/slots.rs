//! How many jobs to ask for, and when a batch is worth waiting for: arithmetic
//! without state, clock or lock.

/// Attempts that ended and are not reported yet, for each slot. Beyond it no
/// more jobs are claimed: reports that do not get through must hold back claims,
/// or a dying source would be asked for ever more work.
const UNSETTLED_PER_SLOT: u32 = 4;
/// A saturated worker asks once at least this part of its slots is free.
const SATURATED_PART: u32 = 16;
/// Below this many reports in a flush, batching has nothing to gain.
const BUSY_FLUSH: usize = 16;

/// How many jobs to ask for; 0 to wait until a slot is free.
pub(crate) const fn to_ask(slots: u32, running: u32, unsettled: u32, max_batch: u32) -> u32 {
    let free = slots.saturating_sub(running);
    let room = slots.saturating_mul(UNSETTLED_PER_SLOT).saturating_sub(unsettled);
    let ask = if free < room { free } else { room };
    if ask < max_batch { ask } else { max_batch }
}

/// Whether a worker that knows of more work than it has slots for should ask for
/// `ask` jobs now, rather than let a few more slots become free first.
pub(crate) const fn worth_asking(ask: u32, slots: u32) -> bool {
    ask >= slots.div_ceil(SATURATED_PART)
}

/// Whether reports should wait a moment for others. `previous` is the size of the
/// flush before, or 0 if nothing was pending when it ended: a report that comes
/// out of silence is never held up.
pub(crate) const fn worth_collecting(previous: usize, pending: usize) -> bool {
    previous >= BUSY_FLUSH && pending < previous / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asks_for_free_slots_within_the_batch() {
        assert_eq!(to_ask(10, 0, 0, 1_000), 10);
        assert_eq!(to_ask(10, 7, 0, 1_000), 3);
        assert_eq!(to_ask(10, 10, 0, 1_000), 0);
        assert_eq!(to_ask(10, 12, 0, 1_000), 0, "more may run than there are slots after a lost lease");
        assert_eq!(to_ask(5_000, 0, 0, 1_000), 1_000);
        assert_eq!(to_ask(0, 0, 0, 1_000), 0);
    }

    #[test]
    fn unreported_attempts_hold_back_claims() {
        assert_eq!(to_ask(100, 0, 399, 1_000), 1);
        assert_eq!(to_ask(100, 0, 400, 1_000), 0);
        assert_eq!(to_ask(100, 0, 4_000, 1_000), 0);
        assert_eq!(to_ask(u32::MAX, 0, 0, u32::MAX), u32::MAX);
    }

    #[test]
    fn only_a_large_saturated_worker_waits_for_more_slots() {
        assert!(worth_asking(1, 1));
        assert!(worth_asking(1, 16));
        assert!(!worth_asking(1, 17));
        assert!(worth_asking(63, 1_000));
        assert!(!worth_asking(62, 1_000));
    }

    #[test]
    fn collects_only_under_load() {
        assert!(!worth_collecting(0, 1), "out of silence");
        assert!(!worth_collecting(15, 1), "small batches");
        assert!(worth_collecting(100, 10));
        assert!(!worth_collecting(100, 50), "enough is there");
    }
}
