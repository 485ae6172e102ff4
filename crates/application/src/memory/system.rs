//! Time, identity and chance for tests: moved by hand, and the same in each run.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use taskflow_domain::{JobId, Timestamp};
use uuid::Uuid;

use crate::ports::{Clock, Ids, Jitter};

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that shows `now`.
    pub fn new(now: Timestamp) -> Self {
        Self(AtomicI64::new(now.micros()))
    }

    /// Shows `now` from now on, be it later or earlier.
    pub fn set(&self, now: Timestamp) {
        self.0.store(now.micros(), Ordering::SeqCst);
    }

    /// Moves forward by `millis`; answers what it shows then.
    pub fn advance(&self, millis: i64) -> Timestamp {
        let micros = millis.saturating_mul(1_000);
        Timestamp::from_micros(self.0.fetch_add(micros, Ordering::SeqCst).saturating_add(micros))
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }
}

/// `SplitMix64`: a short generator that is good enough for tests.
#[derive(Debug)]
struct SplitMix(AtomicU64);

impl SplitMix {
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

    fn next(&self) -> u64 {
        let mut bits = self.0.fetch_add(Self::STEP, Ordering::SeqCst).wrapping_add(Self::STEP);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }
}

/// Identities that follow from a seed.
#[derive(Debug)]
pub struct SeededIds {
    random: SplitMix,
    /// Milliseconds and count of the latest job.
    latest: Mutex<(u64, u64)>,
}

impl SeededIds {
    /// The ids of that seed.
    pub fn new(seed: u64) -> Self {
        Self { random: SplitMix(AtomicU64::new(seed)), latest: Mutex::new((0, 0)) }
    }
}

impl Ids for SeededIds {
    fn job(&self, now: Timestamp) -> JobId {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let millis = u64::try_from(now.micros() / 1_000).unwrap_or(0);
        *latest = (latest.0.max(millis), latest.1 + 1);
        // The count stands before the random bits, so that ids rise within a millisecond.
        let (millis, count) = *latest;
        let high = (u128::from(millis) << 80) | (7 << 76) | (2 << 62);
        let low = (u128::from(count & 0x3fff_ffff) << 32) | u128::from(self.random.next() >> 32);
        JobId(Uuid::from_u128(high | low))
    }

    fn nonce(&self) -> u64 {
        self.random.next() >> 16
    }

    fn bytes(&self) -> [u8; 16] {
        let (high, low) = (u128::from(self.random.next()), u128::from(self.random.next()));
        ((high << 64) | low).to_be_bytes()
    }
}

/// Chance that follows from a seed.
#[derive(Debug)]
pub struct SeededJitter(SplitMix);

impl SeededJitter {
    /// The chance of that seed.
    pub fn new(seed: u64) -> Self {
        Self(SplitMix(AtomicU64::new(seed)))
    }
}

impl Jitter for SeededJitter {
    fn random(&self) -> f64 {
        // 53 bits fill a float exactly.
        (self.0.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_rise_and_are_the_same_each_time() {
        let clock = ManualClock::new(Timestamp::from_micros(1_767_225_600_000_000));
        let (ids, again) = (SeededIds::new(7), SeededIds::new(7));
        let mut last = ids.job(clock.now());
        assert_eq!(last, again.job(clock.now()));
        assert_eq!(last.0.get_version_num(), 7);
        for step in [0, 0, 5, -9, 0, 1] {
            let next = ids.job(clock.advance(step));
            assert!(next > last, "{next} after {last}");
            last = next;
        }
        assert!(ids.nonce() < 1 << 48);
        assert_ne!(ids.bytes(), ids.bytes());
    }

    #[test]
    fn chance_stays_in_its_range() {
        let jitter = SeededJitter::new(1);
        let draws: Vec<_> = (0..1_000).map(|_| jitter.random()).collect();
        assert!(draws.iter().all(|draw| (0.0..1.0).contains(draw)));
        let mean = draws.iter().sum::<f64>() / 1_000.0;
        assert!((0.45..0.55).contains(&mean), "{mean}");
    }
}
