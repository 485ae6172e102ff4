//! Which wall clock times an expression hits.
//!
//! The search is asked about a wall clock that never jumps, as if the whole
//! world kept UTC: what its own handling of time zones does to daylight saving
//! is not what a rule may ask for.

use chrono::{Datelike, Days, Months, NaiveDate, NaiveDateTime};
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};

use super::fields::{self, Reading};
use super::{Dialect, HORIZON_DAYS, MAX_EXPRESSION};

/// A parsed expression.
#[derive(Clone)]
pub(super) struct Pattern {
    source: String,
    cron: Box<Cron>,
    /// How many days before the last of its month a day has to be.
    from_end: Option<u32>,
}

impl Pattern {
    /// Reads an expression. Every fault of it is told.
    pub(super) fn parse(expression: &str, dialect: Dialect) -> Result<Self, Vec<String>> {
        let text = expression.trim();
        if text.is_empty() {
            return Err(vec!["must not be empty".to_owned()]);
        }
        if text.len() > MAX_EXPRESSION {
            return Err(vec![format!("must have at most {MAX_EXPRESSION} characters")]);
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ' || byte == b'\t') {
            return Err(vec!["must be ASCII".to_owned()]);
        }
        let Reading { plain, both_days, from_end } = fields::read(text, dialect)?;
        let parser = CronParser::builder().seconds(Seconds::Required).year(Year::Required);
        let cron = parser.dom_and_dow(both_days).build().parse(&plain);
        // What was read is of a form that the searcher knows.
        let cron = cron.map_err(|_| vec!["is not a cron expression".to_owned()])?;
        Ok(Self { source: text.to_owned(), cron: Box::new(cron), from_end })
    }

    /// The first hit at or after `from`.
    pub(super) fn first_from(&self, from: NaiveDateTime) -> Option<NaiveDateTime> {
        let horizon = from.checked_add_days(Days::new(HORIZON_DAYS.unsigned_abs()));
        let mut begin = from;
        loop {
            let hit = self.cron.find_next_occurrence(&begin.and_utc(), true).ok()?.naive_utc();
            if horizon.is_some_and(|horizon| hit > horizon) {
                return None;
            }
            let Some(before_last) = self.from_end else { return Some(hit) };
            // At most two looks a month: at its one day, or past it.
            let date = hit.date();
            let month = date.with_day(1)?;
            let wanted = month
                .checked_add_months(Months::new(1))?
                .checked_sub_days(Days::new(u64::from(before_last) + 1));
            begin = match wanted.filter(|wanted| *wanted >= date && *wanted >= month) {
                Some(wanted) if wanted == date => return Some(hit),
                Some(wanted) => wanted.and_time(chrono::NaiveTime::MIN),
                None => {
                    NaiveDate::and_time(&month.checked_add_months(Months::new(1))?, chrono::NaiveTime::MIN)
                }
            };
        }
    }

    /// How often it hits on a day on which it hits at all.
    pub(super) fn hits_per_day(&self) -> usize {
        let fields = &self.cron.pattern;
        fields.hours.values().len() * fields.minutes.values().len() * fields.seconds.values().len()
    }

    pub(super) fn as_str(&self) -> &str {
        &self.source
    }
}
