//! The states of a job and the one table of legal transitions.

use std::fmt;

/// Where a job is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i16)]
pub enum JobState {
    /// Held back until the jobs that it depends on have ended.
    Waiting = 0,
    /// Its time has not come: delayed, or backing off after a failure.
    Scheduled = 1,
    /// Due, and claimable as soon as no limit stands against it.
    Pending = 2,
    /// Leased to a worker.
    Running = 3,
    /// Held by an operator.
    Paused = 4,
    /// Ended well.
    Succeeded = 5,
    /// Ended by a failure that no retry can mend.
    Failed = 6,
    /// Ended because its retry budget is spent.
    Dead = 7,
    /// Ended because somebody said so.
    Cancelled = 8,
}

impl JobState {
    /// All states, in the order of their numbers.
    pub const ALL: [Self; 9] = [
        Self::Waiting,
        Self::Scheduled,
        Self::Pending,
        Self::Running,
        Self::Paused,
        Self::Succeeded,
        Self::Failed,
        Self::Dead,
        Self::Cancelled,
    ];

    /// The name that the API, the logs and the metrics use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "WAITING",
            Self::Scheduled => "SCHEDULED",
            Self::Pending => "PENDING",
            Self::Running => "RUNNING",
            Self::Paused => "PAUSED",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::Dead => "DEAD",
            Self::Cancelled => "CANCELLED",
        }
    }

    /// The state of that name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }

    /// The number under which the databases keep it.
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// The state of that number.
    pub fn from_code(code: i16) -> Option<Self> {
        usize::try_from(code).ok().and_then(|code| Self::ALL.get(code).copied())
    }

    /// Whether the job has ended. Only a redrive leaves such a state.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Dead | Self::Cancelled)
    }

    /// The states that may follow this one. The only table of its kind. A state
    /// that follows itself stands for a new time, priority or labels.
    pub const fn next(self) -> &'static [Self] {
        match self {
            Self::Waiting => {
                &[Self::Waiting, Self::Scheduled, Self::Pending, Self::Paused, Self::Failed, Self::Cancelled]
            }
            Self::Scheduled => &[Self::Scheduled, Self::Pending, Self::Paused, Self::Cancelled],
            Self::Pending => &[Self::Scheduled, Self::Pending, Self::Running, Self::Paused, Self::Cancelled],
            Self::Running => {
                &[Self::Scheduled, Self::Pending, Self::Succeeded, Self::Failed, Self::Dead, Self::Cancelled]
            }
            Self::Paused => &[Self::Waiting, Self::Scheduled, Self::Pending, Self::Paused, Self::Cancelled],
            Self::Failed | Self::Dead | Self::Cancelled => &[Self::Scheduled, Self::Pending],
            Self::Succeeded => &[],
        }
    }

    /// Whether `next` may follow this state.
    pub fn may_become(self, next: Self) -> bool {
        self.next().contains(&next)
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    #[test]
    fn the_whole_table() {
        let mut table = String::new();
        for state in JobState::ALL {
            let next: Vec<_> = state.next().iter().map(|next| next.as_str()).collect();
            writeln!(table, "{:<9} -> {}", state.as_str(), next.join(", ")).unwrap();
        }
        insta::assert_snapshot!(table);
    }

    #[test]
    fn names_and_numbers_come_back() {
        for state in JobState::ALL {
            assert_eq!(JobState::parse(state.as_str()), Some(state));
            assert_eq!(JobState::from_code(state.code()), Some(state));
        }
        assert_eq!(JobState::from_code(9), None);
        assert_eq!(JobState::from_code(-1), None);
    }
}
