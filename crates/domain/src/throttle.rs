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

/// What was drawn of many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drawn {
    /// How many there were, of those that were wanted.
    pub granted: u32,
    /// In how many microseconds everything that was taken so far is paid for.
    pub owed_us: i64,
}

/// What one of a rate costs, and the most that may be owed, in microseconds.
pub fn price_us(rate: Rate) -> (i64, i64) {
    let period_us = i64::from(rate.period_ms) * 1_000;
    let each_us = (period_us / i64::from(rate.limit.max(1))).max(1);
    (each_us, period_us.max(each_us))
}

impl Drawn {
    /// What is left when `held` of those that were drawn have not been used, and
    /// `passed_us` after they were.
    pub fn left(self, rate: Rate, held: u32, passed_us: i64) -> Left {
        let (each_us, most_us) = price_us(rate);
        let owed_us = (self.owed_us - i64::from(held) * each_us - passed_us).max(0);
        let left = u32::try_from((most_us - owed_us).max(0) / each_us).unwrap_or(u32::MAX);
        Left { left, full_in_us: owed_us }
    }

    /// How long to wait until there is one more.
    pub fn wait(self, rate: Rate) -> Wait {
        let (each_us, most_us) = price_us(rate);
        Wait((self.owed_us + each_us - most_us).max(0))
    }
}

impl Throttle {
    /// Nothing was taken.
    pub const FRESH: Self = Self(Timestamp::MIN);

    /// Takes one, if there is one. A rate gives `limit` in each period, all of
    /// them at once if somebody waited that long, and never more than twice the
    /// limit in any span as long as the period.
    pub fn take(&mut self, rate: Rate, now: Timestamp) -> Result<Left, Wait> {
        let drawn = self.draw(rate, 1, now);
        if drawn.granted == 0 { Err(drawn.wait(rate)) } else { Ok(drawn.left(rate, 0, 0)) }
    }

    /// Takes up to `want`, as many as there are.
    pub fn draw(&mut self, rate: Rate, want: u32, now: Timestamp) -> Drawn {
        let (each_us, most_us) = price_us(rate);
        // Somebody who sees an earlier clock is not paid twice for the difference,
        // and a rate that was lowered does not hold what was taken before it.
        let before_us = self.0.micros_since(now).clamp(0, most_us);
        let there = u32::try_from((most_us - before_us) / each_us).unwrap_or(u32::MAX);
        let granted = want.min(there);
        let owed_us = before_us + i64::from(granted) * each_us;
        if granted > 0 {
            *self = Self(Timestamp::from_micros(now.micros().saturating_add(owed_us)));
        }
        Drawn { granted, owed_us }
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

    #[test]
    fn what_is_drawn_ahead_is_counted_once() {
        let (mut ahead, mut single) = (Throttle::FRESH, Throttle::FRESH);
        let drawn = ahead.draw(RATE, 4, at(0));
        assert_eq!(drawn, Drawn { granted: 4, owed_us: 400_000 });
        for held in (0..4).rev() {
            assert_eq!(Ok(drawn.left(RATE, held, 0)), single.take(RATE, at(0)));
        }
        assert_eq!(drawn.left(RATE, 0, 250_000), Left { left: 8, full_in_us: 150_000 });
        assert_eq!(ahead.draw(RATE, 9, at(0)).granted, 6);
        let none = ahead.draw(RATE, 9, at(0));
        assert_eq!((none.granted, none.wait(RATE)), (0, Wait(100_000)));
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
