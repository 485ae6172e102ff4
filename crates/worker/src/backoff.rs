//! Growing pauses between tries of a source that fails.

use std::time::Duration;

/// Pauses that double from the first to the longest, and begin again after a
/// success. Without jitter: the workers of a fleet fail at different times.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    /// The pauses of calls to a lease source: a source that returns is noticed
    /// within a second.
    pub(crate) const fn of_source() -> Self {
        Self::new(Duration::from_millis(50), Duration::from_secs(1))
    }

    pub(crate) const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, next: first }
    }

    /// The pause before the next try.
    pub(crate) fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = self.next.saturating_mul(2).min(self.longest);
        pause
    }

    /// Whether nothing failed since the last success.
    pub(crate) fn is_fresh(&self) -> bool {
        self.next == self.first
    }

    /// Notes a success.
    pub(crate) const fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_longest() {
        let mut backoff = Backoff::of_source();
        assert!(backoff.is_fresh());
        let pauses: Vec<_> = (0..7).map(|_| backoff.pause().as_millis()).collect();
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1_000, 1_000]);
        assert!(!backoff.is_fresh());
        backoff.reset();
        assert_eq!(backoff.pause().as_millis(), 50);
    }
}
