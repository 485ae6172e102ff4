//! How many bytes of request bodies this process holds at once.
//!
//! Each body has a limit of its own, but thousands of them may come together. So
//! what was read counts until its request is done, and when the process holds as
//! much as it may, more is refused instead of bought with the memory of all.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of bodies in flight.
const MOST: usize = 256 * 1024 * 1024;

/// The one of this process.
pub(super) static BODIES: Budget = Budget::new(MOST);

/// A number of bytes that may be held.
#[derive(Debug)]
pub(crate) struct Budget {
    most: usize,
    held: AtomicUsize,
}

/// Bytes that count until this is dropped.
#[derive(Debug)]
pub(crate) struct Held<'a> {
    budget: &'a Budget,
    bytes: usize,
}

impl Budget {
    const fn new(most: usize) -> Self {
        Self { most, held: AtomicUsize::new(0) }
    }

    /// Nothing yet.
    pub(super) const fn open(&self) -> Held<'_> {
        Held { budget: self, bytes: 0 }
    }
}

impl Held<'_> {
    /// Counts more; says whether there was room.
    pub(super) fn more(&mut self, bytes: usize) -> bool {
        let add = |held: usize| held.checked_add(bytes).filter(|sum| *sum <= self.budget.most);
        let added = self.budget.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok();
        if added {
            self.bytes += bytes;
        }
        added
    }

    /// Counts nothing any more.
    pub(super) fn release(&mut self) {
        self.budget.held.fetch_sub(self.bytes, Ordering::Relaxed);
        self.bytes = 0;
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_makes_room() {
        let budget = Budget::new(100);
        let (mut one, mut other) = (budget.open(), budget.open());
        assert!(one.more(60) && other.more(40) && !other.more(1));
        drop(one);
        assert!(other.more(60) && !other.more(1));
        other.release();
        assert!(budget.open().more(100));
    }
}
