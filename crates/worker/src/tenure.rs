//! How long the worker may believe in its leases.
//!
//! The database's clock decides when a lease ends. The worker only has to be
//! sure never to believe in one longer than the database does, so it counts from
//! the moment before the heartbeat was sent, and by the clock that says more: the
//! monotonic clock stands still while a virtual machine is suspended, the
//! machine's uptime does not.

use std::time::Duration;

use tokio::time::Instant;

/// One point in time, by both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    at: Instant,
    uptime: Option<Duration>,
}

impl Stamp {
    pub(crate) fn now() -> Self {
        Self { at: Instant::now(), uptime: uptime() }
    }

    /// How long ago this was, by the clock that says more.
    pub(crate) fn age(self) -> Duration {
        let by_uptime = self.uptime.zip(uptime()).map(|(then, now)| now.saturating_sub(then));
        longer(self.at.elapsed(), by_uptime)
    }

    pub(crate) const fn at(self) -> Instant {
        self.at
    }
}

/// The uptime has a grain of 10 ms, so it counts only where it is well ahead.
fn longer(monotonic: Duration, uptime: Option<Duration>) -> Duration {
    match uptime {
        Some(uptime) if uptime > monotonic + Duration::from_millis(100) => uptime,
        _ => monotonic,
    }
}

/// The time since the machine started, suspension included; `None` where the
/// system does not tell it. Reading it is a matter of microseconds.
fn uptime() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/uptime").ok()?;
    let seconds: f64 = text.split_whitespace().next()?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suspended_machine_ages_its_leases() {
        let second = Duration::from_secs(1);
        assert_eq!(longer(second, None), second);
        assert_eq!(longer(second, Some(second * 60)), second * 60);
        assert_eq!(longer(second * 60, Some(second)), second * 60);
        assert_eq!(longer(second, Some(second + Duration::from_millis(9))), second);
    }

    #[test]
    fn linux_tells_its_uptime() {
        assert!(uptime().is_some_and(|uptime| uptime > Duration::ZERO));
    }
}
