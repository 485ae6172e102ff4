//! What must be so in a store at every committed instant, and what should be.

use std::collections::BTreeMap;

/// One thing that is compared with the jobs themselves, which are the truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Check {
    /// Jobs that do not stand in exactly one place: due, parked, running or ended.
    Places,
    /// Queues whose counter of running jobs differs from the jobs that run.
    QueueCounters,
    /// Limits of tenants, over all queues or in one, whose counter differs.
    LimitCounters,
    /// Lanes that carry another weight, pause or limit than their tenant and queue.
    LaneSettings,
    /// Queues and states whose kept number of jobs differs from the jobs.
    Depths,
    /// Lanes asleep although jobs of them are due. A commit wakes them in its last
    /// step, so a store looks twice before it counts one.
    SleepingLanes,
    /// Lanes held back although no limit of theirs is full; looked at twice as well.
    BlockedLanes,
    /// Limits that more jobs run under than they allow. That is so when a limit was
    /// lowered below what ran, until these jobs have ended, and never else.
    ExceededLimits,
    /// Running jobs whose lease ended more than [`Check::PATIENCE_MS`] ago.
    LostLeases,
    /// Scheduled jobs that have been due for longer than [`Check::PATIENCE_MS`].
    OverdueJobs,
}

impl Check {
    /// All of them, in the order in which they are told.
    pub const ALL: [Self; 10] = [
        Self::Places,
        Self::QueueCounters,
        Self::LimitCounters,
        Self::LaneSettings,
        Self::Depths,
        Self::SleepingLanes,
        Self::BlockedLanes,
        Self::ExceededLimits,
        Self::LostLeases,
        Self::OverdueJobs,
    ];

    /// How long the loops of a runner may take to do their duty.
    pub const PATIENCE_MS: i64 = 60_000;

    /// Its name for operators.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Places => "places",
            Self::QueueCounters => "queue_counters",
            Self::LimitCounters => "limit_counters",
            Self::LaneSettings => "lane_settings",
            Self::Depths => "depths",
            Self::SleepingLanes => "sleeping_lanes",
            Self::BlockedLanes => "blocked_lanes",
            Self::ExceededLimits => "exceeded_limits",
            Self::LostLeases => "lost_leases",
            Self::OverdueJobs => "overdue_jobs",
        }
    }

    /// Whether it holds whatever operators do and whoever runs. The others may be
    /// broken for a while in a store that is in order.
    pub const fn is_invariant(self) -> bool {
        !matches!(self, Self::ExceededLimits | Self::LostLeases | Self::OverdueJobs)
    }
}

/// How often each check was broken; all zero in health.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proof(BTreeMap<Check, u64>);

impl Proof {
    /// Notes how often a check was broken.
    pub fn note(&mut self, check: Check, times: u64) {
        self.0.insert(check, times);
    }

    /// How often it was broken.
    pub fn times(&self, check: Check) -> u64 {
        self.0.get(&check).copied().unwrap_or_default()
    }

    /// The checks that were broken, with how often.
    pub fn broken(&self) -> impl Iterator<Item = (Check, u64)> + '_ {
        self.0.iter().map(|(check, times)| (*check, *times)).filter(|(_, times)| *times > 0)
    }

    /// Whether no invariant was broken.
    pub fn holds(&self) -> bool {
        !self.broken().any(|(check, _)| check.is_invariant())
    }
}
