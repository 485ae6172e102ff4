//! How many requests somebody may make: the generic cell rate algorithm, which
//! keeps one number, the time at which everything taken so far is paid for.

use crate::queue::Rate;
use crate::time::Timestamp;

/// What was taken, as the time at which it is paid for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Throttle(Timestamp);

/// What somebody may still take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// How many more, at once.
    pub left: u32,
    /// When all of them are there again, in microseconds from now.
    pub full_in_us: i64,
}

/// How long to wait for the next one, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait(pub i64);

impl Throttle {
    /// Nothing was taken.
    pub const FRESH: Self = Self(Timestamp::MIN);

    /// Takes one, if there is one. A rate gives `limit` in each period, all of
    /// them at once if somebody waited that long, and never more than twice the
    /// limit in any span as long as the period.
    pub fn take(&mut self, rate: Rate, now: Timestamp) -> Result<Left, Wait> {
        let period_us = i64::from(rate.period_ms) * 1_000;
        let each_us = (period_us / i64::from(rate.limit.max(1))).max(1);
        // Somebody who sees an earlier clock is not paid twice for the difference,
        // and a rate that was lowered does not hold what was taken before it.
        let owed_us = self.0.micros_since(now).clamp(0, period_us);
        let after_us = owed_us + each_us;
        if after_us > period_us.max(each_us) {
            return Err(Wait(after_us - period_us));
        }
        *self = Self(Timestamp::from_micros(now.micros().saturating_add(after_us)));
        let left = u32::try_from((period_us - after_us).max(0) / each_us).unwrap_or(u32::MAX);
        Ok(Left { left, full_in_us: after_us })
    }

    /// Whether it says no more than a fresh one.
    pub fn is_fresh(self, now: Timestamp) -> bool {
        self.0 <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { limit: 10, period_ms: 1_000 };

    fn at(us: i64) -> Timestamp {
        Timestamp::from_micros(us)
    }

    #[test]
    fn a_burst_is_the_limit_and_then_it_drips() {
        let mut throttle = Throttle::FRESH;
        for left in (0..10).rev() {
            assert_eq!(throttle.take(RATE, at(0)).map(|left| left.left), Ok(left));
        }
        assert_eq!(throttle.take(RATE, at(0)), Err(Wait(100_000)));
        assert_eq!(throttle.take(RATE, at(99_999)), Err(Wait(1)));
        assert_eq!(throttle.take(RATE, at(100_000)), Ok(Left { left: 0, full_in_us: 1_000_000 }));
        assert!(!throttle.is_fresh(at(0)) && throttle.is_fresh(at(1_100_000)));
    }

    /// A million requests at changing speeds: in no span of one period is more
    /// let through than twice the limit, and over all no more than the rate and
    /// one burst.
    #[test]
    fn the_bound_holds_over_a_million_requests() {
        let mut throttle = Throttle::FRESH;
        let mut granted = std::collections::VecDeque::new();
        let (mut now, mut total, mut chance) = (0_i64, 0_i64, 12_345_u64);
        for _ in 0..1_000_000 {
            chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            now += (chance >> 40) as i64 % 60_000;
            if throttle.take(RATE, at(now)).is_ok() {
                total += 1;
                granted.push_back(now);
            }
            while granted.front().is_some_and(|first| now - first >= 1_000_000) {
                granted.pop_front();
            }
            assert!(granted.len() <= 20, "{} in one period", granted.len());
        }
        assert!(total <= now / 100_000 + 10, "{total} in {now} microseconds");
        assert!(total >= now / 100_000 - 10, "{total} in {now} microseconds");
    }
}
