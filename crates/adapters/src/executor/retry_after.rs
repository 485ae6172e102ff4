//! When an answer asks to be called again.

use chrono::DateTime;
use taskflow_domain::Timestamp;

/// No answer puts a job off for longer.
const LONGEST_MS: u64 = 24 * 3_600_000;

/// Milliseconds from `now` that a `Retry-After` of seconds or of a date asks for.
/// `None` if it asks for no delay: the retry policy then knows better.
pub(super) fn millis(text: &str, now: Timestamp) -> Option<u64> {
    let text = text.trim();
    let ms = if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        // More digits than a number has are a very long time.
        text.parse::<u64>().unwrap_or(u64::MAX).saturating_mul(1_000)
    } else {
        let at = DateTime::parse_from_rfc2822(text).ok()?;
        let micros = Timestamp::from_datetime(at.to_utc()).micros_since(now);
        u64::try_from(micros).ok()?.div_ceil(1_000)
    };
    Some(ms.min(LONGEST_MS)).filter(|ms| *ms > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_dates() {
        let now = Timestamp::parse_rfc3339("2026-11-21T10:00:00Z").unwrap();
        assert_eq!(millis("120", now), Some(120_000));
        assert_eq!(millis(" 7 ", now), Some(7_000));
        assert_eq!(millis("99999999999999999999999", now), Some(LONGEST_MS));
        assert_eq!(millis("Sat, 21 Nov 2026 10:00:30 GMT", now), Some(30_000));
        assert_eq!(millis("Mon, 23 Nov 2026 10:00:30 GMT", now), Some(LONGEST_MS));
        for none in ["0", "", "-1", "soon", "1.5", "Sat, 21 Nov 2026 09:59:00 GMT"] {
            assert_eq!(millis(none, now), None, "{none}");
        }
    }
}
