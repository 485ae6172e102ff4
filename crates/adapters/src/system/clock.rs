//! What time it is.
//!
//! Where several processes share a database, its clock counts: leases and due
//! times are compared across machines. Each process measures by how much its own
//! clock differs and adds that; measuring anew now and then follows the drift.
//! Within a process time never goes back.
//!
//! Between two measurements time goes on as a stopwatch does, whatever becomes of
//! the machine's clock. If it jumped forwards, this process alone would think that
//! all leases have expired and all scheduled jobs are due.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use taskflow_application::ports::Clock;
use taskflow_domain::Timestamp;

#[derive(Debug)]
struct Reading {
    /// What the machine's clock said when the stopwatch began.
    began: Timestamp,
    stopwatch: Instant,
    offset_us: AtomicI64,
    latest_us: AtomicI64,
}

/// The machine's clock, corrected to the database's. Clones share the correction.
#[derive(Clone, Debug)]
pub struct SystemClock(Arc<Reading>);

impl Default for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    fn default() -> Self {
        Self(Arc::new(Reading {
            began: Self::wall(),
            stopwatch: Instant::now(),
            offset_us: AtomicI64::new(0),
            latest_us: AtomicI64::new(0),
        }))
    }
}

impl SystemClock {
    /// The machine's clock without a correction.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes over what the database said. `asked` and `heard` are readings of
    /// [`Self::local`] before and after the question; the answer is taken to be
    /// from the middle. Answers the correction in microseconds.
    pub fn adjust(&self, asked: Timestamp, heard: Timestamp, database: Timestamp) -> i64 {
        let middle = asked.micros() + (heard.micros() - asked.micros()) / 2;
        let offset = database.micros() - middle;
        self.0.offset_us.store(offset, Ordering::Relaxed);
        offset
    }

    /// What the machine's clock would say if nobody had set it since the start.
    pub fn local(&self) -> Timestamp {
        let micros = i64::try_from(self.0.stopwatch.elapsed().as_micros()).unwrap_or(i64::MAX);
        Timestamp::from_micros(self.0.began.micros().saturating_add(micros))
    }

    /// The machine's clock.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    pub fn wall() -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let now = self.local().micros() + self.0.offset_us.load(Ordering::Relaxed);
        let latest = self.0.latest_us.fetch_max(now, Ordering::Relaxed);
        // A correction backwards is waited out, up to a second; a greater one means
        // that the clock had been wrong, and standing still would be worse.
        if latest > now && latest - now <= 1_000_000 {
            return Timestamp::from_micros(latest);
        }
        if latest > now {
            self.0.latest_us.store(now, Ordering::Relaxed);
        }
        Timestamp::from_micros(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_database() {
        let clock = SystemClock::new();
        let local = clock.local();
        let offset = clock.adjust(local, local.plus_millis(10), local.plus_millis(3_600_005));
        assert_eq!(offset, 3_600_000_000);
        assert!(clock.now().micros_since(local) >= 3_600_000_000);
    }

    #[test]
    fn never_goes_back_a_little() {
        let clock = SystemClock::new();
        let local = clock.local();
        clock.adjust(local, local, local.plus_millis(500));
        let before = clock.now();
        clock.adjust(local, local, local);
        assert!(clock.now() >= before);
    }
}
