//! Distributions of durations in few numbers: how many fell into which bin.
//!
//! Bins grow with the duration, eight to a doubling, so a percentile is right
//! within a sixteenth of its value whatever the range. Spreads of different
//! minutes and processes are added up bin by bin.

use std::collections::BTreeMap;

/// Bins to a doubling.
const PER_DOUBLING: u64 = 8;

/// The bin of a duration of `micros`.
pub fn bin(micros: i64) -> u16 {
    let micros = u64::try_from(micros).unwrap_or(0);
    if micros < PER_DOUBLING {
        return micros as u16;
    }
    let octave = u64::from(micros.ilog2());
    let part = (micros >> (octave - 3)) & (PER_DOUBLING - 1);
    ((octave - 2) * PER_DOUBLING + part) as u16
}

/// The middle of a bin, in microseconds.
fn middle(bin: u16) -> i64 {
    let bin = u64::from(bin);
    if bin < PER_DOUBLING {
        return bin as i64;
    }
    let (octave, part) = (bin / PER_DOUBLING + 2, bin % PER_DOUBLING);
    let width = 1_u64.checked_shl(octave as u32 - 3).unwrap_or(u64::MAX >> 4);
    let low = width.saturating_mul(PER_DOUBLING + part);
    i64::try_from(low.saturating_add(width / 2)).unwrap_or(i64::MAX)
}

/// How many durations fell into which bin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spread(BTreeMap<u16, u64>);

impl Spread {
    /// Adds one duration.
    pub fn record(&mut self, micros: i64) {
        self.add(bin(micros), 1);
    }

    /// Adds `n` durations that fell into `bin`.
    pub fn add(&mut self, bin: u16, n: u64) {
        *self.0.entry(bin).or_default() += n;
    }

    /// The bins that hold something, in rising order.
    pub fn bins(&self) -> impl Iterator<Item = (u16, u64)> {
        self.0.iter().map(|(bin, n)| (*bin, *n))
    }

    /// How many durations there are.
    pub fn count(&self) -> u64 {
        self.0.values().sum()
    }

    /// What `share` of the durations (0 to 1) do not exceed, in microseconds;
    /// `None` if there are none.
    pub fn percentile(&self, share: f64) -> Option<i64> {
        let rank = ((self.count() as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        let found = self.0.iter().find(|(_, n)| {
            seen += **n;
            seen >= rank
        });
        found.map(|(bin, _)| middle(*bin))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_bin_holds_what_is_near_its_middle(micros in 0..1_i64 << 50) {
            let off = (middle(bin(micros)) - micros).abs();
            prop_assert!(off * 16 <= micros, "{micros} is off by {off}");
        }

        #[test]
        fn bins_rise_with_what_they_hold(micros in 0..1_i64 << 50) {
            prop_assert!(bin(micros) <= bin(micros + 1));
        }
    }

    #[test]
    fn percentiles_are_of_the_order_statistics() {
        let mut spread = Spread::default();
        assert_eq!(spread.percentile(0.5), None);
        (1..=100).for_each(|ms| spread.record(ms * 1_000));
        for (share, exact) in [(0.5, 50_000_i64), (0.95, 95_000), (0.99, 99_000), (1.0, 100_000)] {
            let found = spread.percentile(share).unwrap();
            assert!((found - exact).abs() * 16 <= exact, "{share}: {found}");
        }
    }
}
