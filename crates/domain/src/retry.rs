//! When a failed attempt is tried again.
//!
//! The delay after attempt n is computed in three steps that stay apart: the
//! strategy gives a delay that never falls with n, the cap bounds it, and the
//! jitter spreads it. Randomness comes in as one number, so the whole is pure.

use serde::{Deserialize, Serialize};

/// How the delay grows with the number of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Always the base.
    Fixed,
    /// The base times the number of failures.
    Linear,
    /// The base times the factor to the power of one less than the failures.
    Exponential,
}

/// How the delay is spread, so that jobs that failed together do not return together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Jitter {
    /// Exactly the delay.
    None,
    /// Anywhere from nothing to the delay.
    Full,
    /// Half of the delay, and anywhere in the other half.
    Equal,
    /// Anywhere from the base to three times the delay before, within the cap.
    Decorrelated,
}

/// How often and when a job is tried. Serialised as it stands in the API.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetryPolicy {
    /// Attempts that may be spent, 1 to 100.
    pub max_attempts: u16,
    /// How the delay grows.
    pub strategy: Strategy,
    /// The first delay, in milliseconds.
    pub base_delay_ms: u64,
    /// The growth of the exponential strategy, 1 to 100.
    pub factor: f64,
    /// No delay is longer, in milliseconds.
    pub max_delay_ms: u64,
    /// How the delay is spread.
    pub jitter: Jitter,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: 3,
            strategy: Strategy::Exponential,
            base_delay_ms: 1_000,
            factor: 2.0,
            max_delay_ms: 3_600_000,
            jitter: Jitter::Full,
        }
    }
}

/// A field of a policy that is out of its range, and the range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} must be {range}")]
pub struct PolicyError {
    /// The field's name in the API.
    pub field: &'static str,
    /// What would be right.
    pub range: &'static str,
}

impl RetryPolicy {
    /// The most attempts.
    pub const MOST_ATTEMPTS: u16 = 100;
    /// A year: the longest delay that a policy may name.
    pub const LONGEST_DELAY_MS: u64 = 366 * 24 * 3_600_000;

    /// Every field that is out of range.
    pub fn faults(&self) -> Vec<PolicyError> {
        let mut faults = Vec::new();
        let mut need = |good: bool, field, range| {
            if !good {
                faults.push(PolicyError { field, range });
            }
        };
        need((1..=Self::MOST_ATTEMPTS).contains(&self.max_attempts), "max_attempts", "from 1 to 100");
        need(self.base_delay_ms <= Self::LONGEST_DELAY_MS, "base_delay_ms", "at most 31622400000 (366 days)");
        need(self.max_delay_ms <= Self::LONGEST_DELAY_MS, "max_delay_ms", "at most 31622400000 (366 days)");
        need(self.factor.is_finite() && (1.0..=100.0).contains(&self.factor), "factor", "from 1.0 to 100.0");
        faults
    }

    /// The delay after failure number `failures` (1 is the first), before the jitter.
    pub fn plain_delay_ms(&self, failures: u16) -> u64 {
        let n = failures.max(1);
        let base = self.base_delay_ms;
        let delay = match self.strategy {
            Strategy::Fixed => base,
            Strategy::Linear => base.saturating_mul(u64::from(n)),
            // A float to integer cast saturates, so attempt 100 at factor 100 is only very long.
            Strategy::Exponential => (base as f64 * self.factor.powi(i32::from(n) - 1)) as u64,
        };
        delay.min(self.max_delay_ms)
    }

    /// The delay after failure number `failures`, spread by `random`, which is
    /// uniform in 0.0..1.0.
    pub fn delay_ms(&self, failures: u16, random: f64) -> u64 {
        let random = if random.is_finite() { random.clamp(0.0, 1.0) } else { 0.0 };
        let delay = self.plain_delay_ms(failures);
        let between = |low: u64, high: u64| low + ((high.saturating_sub(low)) as f64 * random) as u64;
        let spread = match self.jitter {
            Jitter::None => delay,
            Jitter::Full => between(0, delay),
            Jitter::Equal => between(delay / 2, delay),
            Jitter::Decorrelated => {
                let before =
                    if failures <= 1 { self.base_delay_ms } else { self.plain_delay_ms(failures - 1) };
                between(self.base_delay_ms, before.saturating_mul(3))
            }
        };
        spread.min(self.max_delay_ms)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};
    use proptest::strategy::Strategy as Generator;

    use super::*;

    fn policies() -> impl Generator<Value = RetryPolicy> {
        let longest = RetryPolicy::LONGEST_DELAY_MS;
        (0..3usize, 0..4usize, 0..=longest, 1.0..=100.0f64, 0..=longest).prop_map(
            |(strategy, jitter, base_delay_ms, factor, max_delay_ms)| RetryPolicy {
                max_attempts: 100,
                strategy: [Strategy::Fixed, Strategy::Linear, Strategy::Exponential][strategy],
                base_delay_ms,
                factor,
                max_delay_ms,
                jitter: [Jitter::None, Jitter::Full, Jitter::Equal, Jitter::Decorrelated][jitter],
            },
        )
    }

    proptest! {
        #[test]
        fn never_falls_before_the_jitter(policy in policies()) {
            let mut last = 0;
            for n in 1..=100 {
                let delay = policy.plain_delay_ms(n);
                prop_assert!(delay >= last, "{delay} after {last} at attempt {n}");
                last = delay;
            }
        }

        #[test]
        fn is_capped_and_never_overflows(policy in policies(), n in 1..=100u16, random in 0.0..1.0f64) {
            prop_assert!(policy.delay_ms(n, random) <= policy.max_delay_ms);
        }

        #[test]
        fn jitter_stays_in_its_band(policy in policies(), n in 1..=100u16, random in 0.0..1.0f64) {
            let (plain, delay) = (policy.plain_delay_ms(n), policy.delay_ms(n, random));
            match policy.jitter {
                Jitter::None => prop_assert_eq!(delay, plain),
                Jitter::Full => prop_assert!(delay <= plain),
                Jitter::Equal => prop_assert!(delay >= plain / 2 && delay <= plain),
                Jitter::Decorrelated => prop_assert!(delay >= policy.base_delay_ms.min(policy.max_delay_ms)),
            }
        }
    }

    #[test]
    fn the_defaults_double() {
        let policy = RetryPolicy { jitter: Jitter::None, ..RetryPolicy::default() };
        let delays: Vec<_> = (1..=5).map(|n| policy.delay_ms(n, 0.5)).collect();
        assert_eq!(delays, [1_000, 2_000, 4_000, 8_000, 16_000]);
        assert_eq!(policy.delay_ms(100, 0.5), 3_600_000);
    }

    #[test]
    fn every_fault_is_named_at_once() {
        let policy = RetryPolicy {
            max_attempts: 0,
            factor: f64::NAN,
            base_delay_ms: u64::MAX,
            max_delay_ms: u64::MAX,
            ..RetryPolicy::default()
        };
        let fields: Vec<_> = policy.faults().iter().map(|fault| fault.field).collect();
        assert_eq!(fields, ["max_attempts", "base_delay_ms", "max_delay_ms", "factor"]);
    }
}
