//! How well a rule does: what it came to last, and how long it has been failing.

use crate::rule::FiringOutcome;
use crate::time::Timestamp;

/// How well a rule does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Firings in a row that were ERROR, up to the last one.
    pub streak: u32,
    /// Since when it has been failing, while it does.
    pub failing_since: Option<Timestamp>,
    /// When it last stopped failing.
    pub recovered_at: Option<Timestamp>,
    /// When it was last evaluated.
    pub last_at: Option<Timestamp>,
    /// What that came to.
    pub last_outcome: Option<FiringOutcome>,
}

impl Health {
    /// After one more firing.
    #[must_use]
    pub fn after(self, outcome: FiringOutcome, at: Timestamp) -> Self {
        let failed = outcome == FiringOutcome::Error;
        Self {
            streak: if failed { self.streak.saturating_add(1) } else { 0 },
            failing_since: failed.then(|| self.failing_since.unwrap_or(at)),
            recovered_at: if !failed && self.streak > 0 { Some(at) } else { self.recovered_at },
            last_at: Some(at),
            last_outcome: Some(outcome),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_streak_ends_with_the_first_firing_that_is_no_error() {
        let at = Timestamp::from_micros;
        let health = Health::default().after(FiringOutcome::Error, at(1)).after(FiringOutcome::Error, at(2));
        assert_eq!((health.streak, health.failing_since, health.recovered_at), (2, Some(at(1)), None));
        let health = health.after(FiringOutcome::Skipped, at(3));
        assert_eq!((health.streak, health.failing_since, health.recovered_at), (0, None, Some(at(3))));
        let health = health.after(FiringOutcome::Fired, at(4));
        assert_eq!((health.recovered_at, health.last_at), (Some(at(3)), Some(at(4))));
    }
}
