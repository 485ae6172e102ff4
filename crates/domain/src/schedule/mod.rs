//! When a cron trigger fires: from an expression and a time zone to instants.
//!
//! Four steps stay apart. [`fields`] knows the dialects, and [`pattern`] says which
//! wall clock times are hit; no time zone plays a part in them. [`zone`] knows when
//! the wall clock of a place jumps. [`occurrence`] puts them together by the
//! rule's own answer to the two questions that every change of the clocks asks:
//! what becomes of a time that does not exist, and which of two equal times is
//! meant. What was missed is [`misfire`]'s, what runs already is [`overlap`]'s.
//!
//! An expression that hits at least 24 times a day follows real time: a job of
//! every ten minutes runs every ten minutes, however often the clocks change.

use std::fmt;

use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use crate::id::RuleId;
use crate::time::Timestamp;

#[cfg(test)]
mod dialects;
mod fields;
pub mod misfire;
mod occurrence;
pub mod overlap;
mod pattern;
#[cfg(test)]
mod tests;
mod zone;

pub use misfire::{Misfire, MisfirePolicy};
pub use overlap::Overlap;
use pattern::Pattern;

/// The most characters of an expression.
pub const MAX_EXPRESSION: usize = 256;
/// A search for the next occurrence looks this far ahead: two rounds of the
/// rarest date, a 29 February on one given weekday.
pub(crate) const HORIZON_DAYS: i64 = 80 * 366;

/// The language of an expression.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    /// Five fields, or six with seconds first. Sunday is 0 or 7. A day has to
    /// match its day of the month or its day of the week, if both are given.
    #[default]
    Standard,
    /// Six fields with seconds first, or seven with a year last. Sunday is 1. A
    /// day has to match both its day of the month and its day of the week.
    Quartz,
}

/// What becomes of a time that the clocks jump over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gap {
    /// It is hit at the first instant after the jump.
    #[default]
    RunAfter,
    /// It is not hit on that day.
    Skip,
}

/// Which is meant of two equal times, when the clocks go back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fold {
    /// The first.
    #[default]
    First,
    /// The second.
    Second,
    /// Both.
    Both,
}

/// The answer to a change of the clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DstRule {
    /// When they jump ahead.
    pub gap: Gap,
    /// When they go back.
    pub overlap: Fold,
}

/// What the clocks had to do with an occurrence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// Its time does not exist on that day; it comes right after the jump.
    DstGap,
    /// Its time exists twice on that day.
    DstOverlap,
}

impl Note {
    /// The word of the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DstGap => "dst_gap",
            Self::DstOverlap => "dst_overlap",
        }
    }
}

/// One time at which a schedule fires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occurrence {
    /// The instant.
    pub at: Timestamp,
    /// The same on the wall clock of the schedule's zone, with its offset (RFC 3339).
    pub local: String,
    /// What the clocks had to do with it.
    pub note: Option<Note>,
}

/// Which part of a schedule is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScheduleField {
    /// The expression.
    Expression,
    /// The time zone.
    Timezone,
}

impl ScheduleField {
    /// The field's name in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Expression => "expression",
            Self::Timezone => "timezone",
        }
    }
}

/// One thing that is wrong with a schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct ScheduleFault {
    /// Where.
    pub field: ScheduleField,
    /// What.
    pub detail: String,
}

/// An expression in a time zone.
#[derive(Clone)]
pub struct Schedule {
    pattern: Pattern,
    zone: Tz,
    dst: DstRule,
    /// Whether it follows real time, whatever `dst` says.
    steady: bool,
    /// Every occurrence comes this much later than the expression says.
    delay_micros: i64,
}

impl Schedule {
    /// Reads an expression and a zone; every fault is told. Whether it ever
    /// fires depends on the day, so that is [`Self::check_fires`]'s to ask.
    pub fn parse(
        expression: &str,
        timezone: &str,
        dialect: Dialect,
        dst: DstRule,
    ) -> Result<Self, Vec<ScheduleFault>> {
        let fault = |field| move |detail| ScheduleFault { field, detail };
        let pattern = Pattern::parse(expression, dialect)
            .map_err(|details| details.into_iter().map(fault(ScheduleField::Expression)).collect::<Vec<_>>());
        let zone = zone::parse(timezone).map_err(fault(ScheduleField::Timezone));
        match (pattern, zone) {
            (Ok(pattern), Ok(zone)) => {
                let steady = pattern.hits_per_day() >= 24;
                Ok(Self { pattern, zone, dst, steady, delay_micros: 0 })
            }
            (pattern, zone) => Err(pattern.err().into_iter().flatten().chain(zone.err()).collect()),
        }
    }

    /// Everything that is wrong with an expression in a zone from `now` on. Where
    /// the zone is unknown, whether the expression ever fires is asked of UTC.
    pub fn faults(
        expression: &str,
        timezone: &str,
        dialect: Dialect,
        dst: DstRule,
        now: Timestamp,
    ) -> Vec<ScheduleFault> {
        let mut faults = Self::parse(expression, timezone, dialect, dst).err().unwrap_or_default();
        let zone = if faults.is_empty() { timezone } else { "UTC" };
        if let Ok(schedule) = Self::parse(expression, zone, dialect, dst) {
            faults.extend(schedule.check_fires(now).err());
        }
        faults
    }

    /// The same, with every occurrence later by `rule`'s own part of
    /// `jitter_ms`. It follows from the rule's id alone, so that many rules of
    /// midnight spread, and each of them keeps its distances.
    #[must_use]
    pub fn spread(mut self, rule: RuleId, jitter_ms: u64) -> Self {
        let delay_ms = i64::try_from(spread_ms(rule, jitter_ms)).unwrap_or(i64::MAX);
        self.delay_micros = delay_ms.saturating_mul(1_000);
        self
    }

    /// That the schedule fires at least once after `now`.
    pub fn check_fires(&self, now: Timestamp) -> Result<Occurrence, ScheduleFault> {
        self.next_after(now).ok_or_else(|| ScheduleFault {
            field: ScheduleField::Expression,
            detail: "never fires: no day of the next 80 years matches it".to_owned(),
        })
    }

    /// The first occurrence later than `after`; none if there is none within 80 years.
    pub fn next_after(&self, after: Timestamp) -> Option<Occurrence> {
        occurrence::next_after(self, after)
    }

    /// The zone's name in the IANA database.
    pub fn timezone(&self) -> &'static str {
        self.zone.name()
    }
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Schedule({} {})", self.pattern.as_str(), self.zone)
    }
}

/// The edition of the time zone database that is built in.
pub const fn tzdata_version() -> &'static str {
    chrono_tz::IANA_TZDB_VERSION
}

/// A rule's own part of `jitter_ms`: from nothing to one less.
fn spread_ms(rule: RuleId, jitter_ms: u64) -> u64 {
    if jitter_ms == 0 {
        return 0;
    }
    // FNV-1a, and a final mix, because ids of one moment differ in few bits.
    let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = rule.0.as_bytes().iter().fold(0xcbf2_9ce4_8422_2325, fold);
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    (hash ^ (hash >> 33)) % jitter_ms
}
