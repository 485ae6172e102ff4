//! The wall clock of a place, and when it jumps.

use chrono::{DateTime, NaiveDateTime, Offset, TimeZone, Utc};
use chrono_tz::Tz;

/// No two jumps of any zone since the first time zones are closer together.
const CLOSEST_JUMPS_S: i64 = 2 * 86_400;

/// A jump of the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Jump {
    /// The first second after it (Unix time).
    pub(super) at: i64,
    /// Seconds east of UTC before it.
    pub(super) before: i64,
    /// Seconds east of UTC after it.
    pub(super) after: i64,
}

/// Finds a zone by its name, in any case.
pub(super) fn parse(name: &str) -> Result<Tz, String> {
    if name.is_empty() {
        return Err("must not be empty".to_owned());
    }
    let met = name.parse::<Tz>().ok().or_else(|| {
        chrono_tz::TZ_VARIANTS.iter().copied().find(|zone| zone.name().eq_ignore_ascii_case(name))
    });
    met.ok_or_else(|| "is not a time zone of the IANA database, such as Europe/Madrid or UTC".to_owned())
}

/// Seconds east of UTC at `at` (Unix time).
pub(super) fn offset_at(zone: Tz, at: i64) -> i64 {
    let utc = naive(at);
    i64::from(zone.offset_from_utc_datetime(&utc).fix().local_minus_utc())
}

/// Unix time as a date and time without a zone.
pub(super) fn naive(at: i64) -> NaiveDateTime {
    DateTime::<Utc>::from_timestamp(at, 0).unwrap_or_default().naive_utc()
}

/// The first jump in `from < jump.at <= to`.
pub(super) fn next_jump(zone: Tz, from: i64, to: i64) -> Option<Jump> {
    let before = offset_at(zone, from);
    let mut low = from;
    while low < to {
        let high = (low + CLOSEST_JUMPS_S).min(to);
        if offset_at(zone, high) != before {
            let (mut low, mut high) = (low, high);
            while high - low > 1 {
                let middle = low + (high - low) / 2;
                if offset_at(zone, middle) == before { low = middle } else { high = middle }
            }
            return Some(Jump { at: high, before, after: offset_at(zone, high) });
        }
        low = high;
    }
    None
}

/// `at` (microseconds of Unix time) on the wall clock, with the offset.
pub(super) fn local(zone: Tz, at: DateTime<Utc>) -> String {
    let offset = zone.offset_from_utc_datetime(&at.naive_utc()).fix();
    let local = at.with_timezone(&offset);
    let whole = local.timestamp_subsec_micros() == 0 && offset.local_minus_utc() % 60 == 0;
    let format = if whole { chrono::SecondsFormat::Secs } else { chrono::SecondsFormat::Micros };
    local.to_rfc3339_opts(format, false)
}
