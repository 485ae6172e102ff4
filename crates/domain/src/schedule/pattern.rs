//! The dialects of cron: which wall clock times an expression hits.
//!
//! The parsers are asked about a wall clock that never jumps, as if the whole
//! world kept UTC: what their own handling of time zones does to daylight
//! saving differs from one to the other and from what a rule may ask for.

use std::str::FromStr;

use chrono::{Days, NaiveDateTime};
use croner::parser::{CronParser, Seconds, Year};

use super::{Dialect, HORIZON_DAYS, MAX_EXPRESSION};

/// A parsed expression.
#[derive(Clone)]
pub(super) enum Pattern {
    Standard(Box<croner::Cron>),
    Quartz(Box<cron::Schedule>),
}

impl Pattern {
    pub(super) fn parse(expression: &str, dialect: Dialect) -> Result<Self, String> {
        let text = expression.trim();
        if text.is_empty() {
            return Err("must not be empty".to_owned());
        }
        if text.len() > MAX_EXPRESSION {
            return Err(format!("must have at most {MAX_EXPRESSION} characters"));
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ' || byte == b'\t') {
            return Err("must be ASCII".to_owned());
        }
        match dialect {
            Dialect::Standard => standard(text),
            Dialect::Quartz => quartz(text),
        }
    }

    /// The first hit at or after `from`.
    pub(super) fn first_from(&self, from: NaiveDateTime) -> Option<NaiveDateTime> {
        let hit = match self {
            Self::Standard(cron) => cron.find_next_occurrence(&from.and_utc(), true).ok()?,
            // Its search is exclusive and knows whole seconds only.
            Self::Quartz(schedule) => {
                let before = from.and_utc() - chrono::TimeDelta::nanoseconds(1);
                schedule.after(&before).next()?
            }
        };
        let hit = hit.naive_utc();
        let horizon = from.checked_add_days(Days::new(HORIZON_DAYS.unsigned_abs()));
        horizon.is_none_or(|horizon| hit <= horizon).then_some(hit)
    }

    /// How often it hits on a day on which it hits at all.
    pub(super) fn hits_per_day(&self) -> usize {
        match self {
            Self::Standard(cron) => {
                let fields = &cron.pattern;
                fields.hours.values().len() * fields.minutes.values().len() * fields.seconds.values().len()
            }
            Self::Quartz(schedule) => {
                use cron::TimeUnitSpec;
                let per_hour = schedule.minutes().count() * schedule.seconds().count();
                schedule.hours().count() as usize * per_hour as usize
            }
        }
    }

    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Standard(cron) => cron.as_str(),
            Self::Quartz(schedule) => schedule.source(),
        }
    }
}

fn standard(text: &str) -> Result<Pattern, String> {
    if text.eq_ignore_ascii_case("@reboot") {
        return Err("@reboot is not a time: a rule outlives every process".to_owned());
    }
    let fields = text.split_ascii_whitespace().count();
    if !text.starts_with('@') && !(5..=6).contains(&fields) {
        return Err(format!("has {fields} fields; five are wanted, or six with seconds first"));
    }
    let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
    match parser.parse(text) {
        Ok(cron) => Ok(Pattern::Standard(Box::new(cron))),
        Err(error) => {
            Err(format!("is not a cron expression: {}{}", sentence(&error.to_string()), hint(text)))
        }
    }
}

fn quartz(text: &str) -> Result<Pattern, String> {
    let fields = text.split_ascii_whitespace().count();
    if !text.starts_with('@') && !(6..=7).contains(&fields) {
        let wanted = "six are wanted, seconds first, or seven with a year last";
        return Err(format!("has {fields} fields; in the Quartz dialect {wanted}"));
    }
    match cron::Schedule::from_str(text) {
        Ok(schedule) => Ok(Pattern::Quartz(Box::new(schedule))),
        Err(error) => Err(format!("is not a Quartz expression: {}", sentence(&error.to_string()))),
    }
}

/// The parser's message on one line and without its full stop.
fn sentence(message: &str) -> String {
    let words: Vec<_> = message.split_whitespace().collect();
    words.join(" ").trim_end_matches('.').to_owned()
}

/// What was probably meant by a step without a range.
fn hint(text: &str) -> &'static str {
    let bare = |field: &str| {
        field.split(',').any(|part| {
            part.split_once('/').is_some_and(|(start, _)| start.bytes().all(|byte| byte.is_ascii_digit()))
        })
    };
    if text.split_ascii_whitespace().any(bare) { "; a step needs a range, such as 5-59/5 or */5" } else { "" }
}
