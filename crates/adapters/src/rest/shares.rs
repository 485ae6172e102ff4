//! How many of something each one holds at once, and all together: whoever has its
//! share leaves the rest to others.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Debug)]
struct Counts<K> {
    all: usize,
    each: HashMap<K, usize>,
}

/// So many for each, and so many in all.
#[derive(Clone, Debug)]
pub(super) struct Shares<K> {
    each: usize,
    all: usize,
    counts: Arc<Mutex<Counts<K>>>,
}

/// One that counts until this is dropped.
#[derive(Debug)]
pub(super) struct Share<K: Clone + Eq + Hash> {
    of: K,
    counts: Arc<Mutex<Counts<K>>>,
}

/// Why there is none to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// It has all that it may have.
    Own,
    /// All together do.
    All,
}

fn locked<K>(counts: &Mutex<Counts<K>>) -> MutexGuard<'_, Counts<K>> {
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<K: Clone + Eq + Hash> Shares<K> {
    /// At most `each` for each one, and `all` in all.
    pub(super) fn new(each: usize, all: usize) -> Self {
        Self { each, all, counts: Arc::new(Mutex::new(Counts { all: 0, each: HashMap::new() })) }
    }

    /// One more for `of`, unless there is none to be had.
    pub(super) fn take(&self, of: K) -> Result<Share<K>, Full> {
        let mut counts = locked(&self.counts);
        let own = counts.each.get(&of).copied().unwrap_or_default();
        if own >= self.each {
            return Err(Full::Own);
        }
        if counts.all >= self.all {
            return Err(Full::All);
        }
        counts.all += 1;
        counts.each.insert(of.clone(), own + 1);
        Ok(Share { of, counts: Arc::clone(&self.counts) })
    }
}

impl<K: Clone + Eq + Hash> Drop for Share<K> {
    fn drop(&mut self) {
        let mut counts = locked(&self.counts);
        counts.all = counts.all.saturating_sub(1);
        let left = counts.each.get(&self.of).map_or(0, |own| own.saturating_sub(1));
        if left == 0 {
            counts.each.remove(&self.of);
        } else {
            counts.each.insert(self.of.clone(), left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_leaves_room_for_others() {
        let shares = Shares::new(3, 4);
        let mut held: Vec<_> = (0..3).map(|_| shares.take("one").unwrap()).collect();
        assert_eq!(shares.take("one").unwrap_err(), Full::Own);
        let other = shares.take("other").unwrap();
        assert_eq!(shares.take("third").unwrap_err(), Full::All);
        held.pop();
        drop(shares.take("one").unwrap());
        drop((held, other));
        assert!(locked(&shares.counts).each.is_empty() && locked(&shares.counts).all == 0);
    }
}
