//! A queue's settings, and the token bucket of its rate limit.

use crate::name::QueueName;
use crate::time::Timestamp;

/// So many starts in so much time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Starts allowed per period; also the burst.
    pub limit: u32,
    /// The period, in milliseconds.
    pub period_ms: u32,
}

/// A hold on a queue, which names its cause and may end by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// Why.
    pub reason: Option<String>,
    /// By whom.
    pub actor: String,
    /// Since when.
    pub since: Timestamp,
    /// Until when; `None` until somebody resumes it.
    pub until: Option<Timestamp>,
}

impl Pause {
    /// Whether it holds at `now`, or has run out.
    pub fn holds(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| until > now)
    }
}

/// That a queue takes no new jobs, while those that it has run on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drain {
    /// Why.
    pub reason: Option<String>,
    /// By whom.
    pub actor: String,
    /// Since when.
    pub since: Timestamp,
}

/// What an operator may set of a queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueSettings {
    /// Jobs of this queue that may run at once.
    pub max_running: Option<u32>,
    /// Jobs of one tenant in this queue that may run at once.
    pub max_running_per_tenant: Option<u32>,
    /// Starts in a time.
    pub rate: Option<Rate>,
    /// Whether nothing of it may start.
    pub pause: Option<Pause>,
    /// Whether it takes no new jobs.
    pub drain: Option<Drain>,
}

/// A queue as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Its name.
    pub name: QueueName,
    /// What is set.
    pub settings: QueueSettings,
}

/// The state of a rate limit: how many starts are saved up, in millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Saved starts times 1,000,000.
    pub micro_tokens: i64,
    /// As of when.
    pub at: Timestamp,
}

impl Bucket {
    /// A full bucket.
    pub fn full(rate: Rate, at: Timestamp) -> Self {
        Self { micro_tokens: i64::from(rate.limit) * 1_000_000, at }
    }

    /// The bucket at `now`, refilled for the time that has passed.
    #[must_use]
    pub fn refilled(self, rate: Rate, now: Timestamp) -> Self {
        let passed = i128::from(now.micros_since(self.at).max(0));
        let gained = passed * i128::from(rate.limit) * 1_000 / i128::from(rate.period_ms.max(1));
        let most = i64::from(rate.limit) * 1_000_000;
        let gained = i64::try_from(gained).unwrap_or(most);
        Self { micro_tokens: self.micro_tokens.saturating_add(gained).min(most), at: now.max(self.at) }
    }

    /// How many starts are possible now.
    pub fn available(self) -> u32 {
        u32::try_from((self.micro_tokens / 1_000_000).max(0)).unwrap_or(u32::MAX)
    }

    /// The bucket after `starts` starts.
    #[must_use]
    pub fn spent(self, starts: u32) -> Self {
        Self { micro_tokens: self.micro_tokens - i64::from(starts) * 1_000_000, at: self.at }
    }

    /// When the next start becomes possible.
    pub fn opens_at(self, rate: Rate) -> Timestamp {
        let missing = (1_000_000 - self.micro_tokens).max(0);
        let limit = i64::from(rate.limit.max(1));
        self.at.plus_micros((missing * i64::from(rate.period_ms) + limit * 1_000 - 1) / (limit * 1_000))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn never_more_than_burst_plus_rate(
            limit in 1..1_000u32,
            period_ms in 1..100_000u32,
            steps in proptest::collection::vec((0..5_000_000i64, 0..50u32), 1..200),
        ) {
            let rate = Rate { limit, period_ms };
            let start = Timestamp::from_micros(0);
            let mut bucket = Bucket::full(rate, start);
            let mut now = start;
            let mut total: u64 = 0;
            for (passed, wanted) in steps {
                now = now.plus_micros(passed);
                bucket = bucket.refilled(rate, now);
                let taken = wanted.min(bucket.available());
                bucket = bucket.spent(taken);
                total += u64::from(taken);
                let allowed = f64::from(limit) * (1.0 + now.micros() as f64 / 1_000.0 / f64::from(period_ms));
                prop_assert!(total as f64 <= allowed + 1e-6);
            }
        }
    }

    #[test]
    fn says_when_it_opens() {
        let rate = Rate { limit: 2, period_ms: 1_000 };
        let bucket = Bucket::full(rate, Timestamp::from_micros(0)).spent(2);
        assert_eq!(bucket.available(), 0);
        let opens = bucket.opens_at(rate);
        assert_eq!(opens.micros(), 500_000);
        assert_eq!(bucket.refilled(rate, opens).available(), 1);
    }
}
