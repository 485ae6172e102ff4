//! Reading an expression, in either dialect: what each of its fields says, and
//! every one of its faults in words for people.
//!
//! What comes out is one plain form, in which each field is `*` or a list of
//! numbers: seconds, minutes, hours, days, months, weekdays from Sunday as 0, and
//! years. The searcher behind it knows no dialects, and its own faults are never
//! shown.

use super::Dialect;

/// An expression that was read.
pub(super) struct Reading {
    /// The plain form.
    pub(super) plain: String,
    /// Whether a day has to match both its date and its weekday.
    pub(super) both_days: bool,
    /// How many days before the last of its month a day has to be.
    pub(super) from_end: Option<u32>,
}

/// One field of numbers.
struct Field {
    name: &'static str,
    least: u16,
    most: u16,
    /// Names of its numbers, beginning with that of `named`.
    names: &'static [&'static str],
    named: u16,
}

const fn plain(name: &'static str, least: u16, most: u16) -> Field {
    Field { name, least, most, names: &[], named: 0 }
}

const SECONDS: Field = plain("seconds", 0, 59);
const MINUTES: Field = plain("minutes", 0, 59);
const HOURS: Field = plain("hours", 0, 23);
const DATES: Field = plain("day of the month", 1, 31);
const YEARS: Field = plain("year", 1970, 2099);
const MONTHS: Field = Field {
    name: "month",
    least: 1,
    most: 12,
    names: &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"],
    named: 1,
};
const DAYS: &[&str] = &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];
const WEEKDAYS: Field = Field { name: "day of the week", least: 0, most: 7, names: DAYS, named: 0 };
const QUARTZ_WEEKDAYS: Field = Field { name: "day of the week", least: 1, most: 7, names: DAYS, named: 1 };

/// Expressions that have a name.
const NICKNAMES: &[(&str, &str)] = &[
    ("@yearly", "0 0 0 1 1 *"),
    ("@annually", "0 0 0 1 1 *"),
    ("@monthly", "0 0 0 1 * *"),
    ("@weekly", "0 0 0 * * 0"),
    ("@daily", "0 0 0 * * *"),
    ("@midnight", "0 0 0 * * *"),
    ("@hourly", "0 0 * * * *"),
];

/// Reads an expression. Every fault of it is told.
pub(super) fn read(text: &str, dialect: Dialect) -> Result<Reading, Vec<String>> {
    if text.starts_with('@') {
        return nickname(text);
    }
    let mut fields: Vec<String> = text.split_ascii_whitespace().map(str::to_ascii_uppercase).collect();
    let count = fields.len();
    let (possible, wanted) = match dialect {
        Dialect::Standard => (5..=6, "five are wanted, or six with seconds first"),
        Dialect::Quartz => {
            (6..=7, "in the Quartz dialect six are wanted, seconds first, or seven with a year last")
        }
    };
    if !possible.contains(&count) {
        return Err(vec![format!("has {count} fields; {wanted}")]);
    }
    if dialect == Dialect::Standard && count == 5 {
        fields.insert(0, "0".to_owned());
    }
    Reader { dialect, faults: Vec::new() }.read(&fields)
}

fn nickname(text: &str) -> Result<Reading, Vec<String>> {
    if text.eq_ignore_ascii_case("@reboot") {
        return Err(vec!["@reboot is not a time: a rule outlives every process".to_owned()]);
    }
    let Some((_, fields)) = NICKNAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)) else {
        let known: Vec<_> = NICKNAMES.iter().map(|(name, _)| *name).collect();
        return Err(vec![format!("{text} is not known; there are {}", known.join(", "))]);
    };
    Ok(Reading { plain: format!("{fields} *"), both_days: false, from_end: None })
}

struct Reader {
    dialect: Dialect,
    faults: Vec<String>,
}

impl Reader {
    fn read(mut self, fields: &[String]) -> Result<Reading, Vec<String>> {
        let text = |index: usize| fields.get(index).map_or("*", String::as_str);
        let (mut both_days, mut weekdays) = (self.dialect == Dialect::Quartz, text(5));
        if let Some(rest) = weekdays.strip_prefix('+').filter(|_| self.dialect == Dialect::Standard) {
            (both_days, weekdays) = (true, rest);
        }
        let (dates, from_end) = self.dates(text(3));
        let plain = [
            self.numbers(&SECONDS, text(0)),
            self.numbers(&MINUTES, text(1)),
            self.numbers(&HOURS, text(2)),
            dates,
            self.numbers(&MONTHS, text(4)),
            self.weekdays(weekdays),
            self.numbers(&YEARS, text(6)),
        ];
        if !self.faults.is_empty() {
            return Err(self.faults);
        }
        Ok(Reading { plain: plain.join(" "), both_days, from_end })
    }

    /// A field in its plain form, by what its parts say. What is at fault is noted.
    fn field(
        &mut self,
        field: &Field,
        text: &str,
        read: impl Fn(&str) -> Result<Vec<String>, String>,
    ) -> String {
        if text == "*" {
            return text.to_owned();
        }
        let mut plain = Vec::new();
        for part in text.split(',') {
            let read =
                if part.is_empty() { Err("a part of the list is empty".to_owned()) } else { read(part) };
            match read {
                Ok(found) => plain.extend(found),
                Err(fault) => self.faults.push(format!("the {}: {fault}", field.name)),
            }
        }
        plain.join(",")
    }

    fn numbers(&mut self, field: &Field, text: &str) -> String {
        let dialect = self.dialect;
        self.field(field, text, |part| Ok(texts(&field.values(part, dialect)?)))
    }

    fn dates(&mut self, text: &str) -> (String, Option<u32>) {
        let text = if text == "?" { "*" } else { text };
        if let Some(before) = text.strip_prefix("L-") {
            if let Some(before) = number(before).filter(|before| (1..=30).contains(before)) {
                return ("*".to_owned(), Some(u32::from(before)));
            }
            let fault = "behind L- stands how many days before the last, from 1 to 30, and nothing else";
            self.faults.push(format!("the {}: {fault}", DATES.name));
            return (String::new(), None);
        }
        let parts: Vec<_> = text.split(',').collect();
        if parts.contains(&"L") && parts.contains(&"LW") {
            self.faults.push(format!("the {}: L and LW are one or the other", DATES.name));
        }
        let dialect = self.dialect;
        let plain = self.field(&DATES, text, |part| match part.strip_suffix('W') {
            _ if part == "L" || part == "LW" => Ok(vec![part.to_owned()]),
            Some(date) => Ok(vec![format!("{}W", DATES.value(date)?)]),
            None if part.contains('L') => Err("L stands alone, or as LW or L-3".to_owned()),
            None => Ok(texts(&DATES.values(part, dialect)?)),
        });
        (plain, None)
    }

    fn weekdays(&mut self, text: &str) -> String {
        let dialect = self.dialect;
        let (field, first) = match dialect {
            Dialect::Standard => (&WEEKDAYS, 0),
            Dialect::Quartz => (&QUARTZ_WEEKDAYS, 1),
        };
        let text = if text == "?" { "*" } else { text };
        self.field(field, text, |part| {
            if part == "L" {
                let saturday = || Ok(vec!["6".to_owned()]);
                let fault = "L needs a day before it, such as 5L for the last Friday of the month";
                return if dialect == Dialect::Quartz { saturday() } else { Err(fault.to_owned()) };
            }
            let (days, which) = match (part.split_once('#'), part.strip_suffix('L')) {
                (Some((days, which)), _) if ["1", "2", "3", "4", "5", "L"].contains(&which) => (days, which),
                (Some(_), _) => return Err("behind # stands which one of the month, 1 to 5 or L".to_owned()),
                (None, Some(days)) => (days, "L"),
                (None, None) => (part, ""),
            };
            if days == "*" {
                return Err(format!("{part} names no day"));
            }
            let mark = if which.is_empty() { "" } else { "#" };
            // Both dialects end where they begin: the standard one calls Sunday 7 too.
            let day = |day: &u16| format!("{}{mark}{which}", (day - first) % 7);
            Ok(field.values(days, dialect)?.iter().map(day).collect())
        })
    }
}

fn texts(values: &[u16]) -> Vec<String> {
    values.iter().map(u16::to_string).collect()
}

impl Field {
    /// The numbers of `*`, `N`, `A-B` and of those with `/STEP` behind them.
    fn values(&self, part: &str, dialect: Dialect) -> Result<Vec<u16>, String> {
        let (range, step) = match part.split_once('/') {
            None => (part, None),
            Some((range, step)) => {
                let step = number(step).filter(|step| *step > 0);
                (range, Some(step.ok_or_else(|| format!("the step of {part} must be a number from 1 on"))?))
            }
        };
        let (from, to) = self.range(part, range, step, dialect)?;
        let step = usize::from(step.unwrap_or(1));
        if from <= to {
            return Ok((from..=to).step_by(step).collect());
        }
        // Quartz goes on from the beginning.
        Ok((from..=self.most).chain(self.least..=to).step_by(step).collect())
    }

    fn range(
        &self,
        part: &str,
        range: &str,
        step: Option<u16>,
        dialect: Dialect,
    ) -> Result<(u16, u16), String> {
        let all = (self.least, self.most);
        if range == "*" {
            // The week has seven days, though the last has two numbers.
            return Ok(if self.most - self.least == 7 { (0, 6) } else { all });
        }
        if range.is_empty() && step.is_some() && dialect == Dialect::Quartz {
            return Ok(all);
        }
        match (range.split_once('-'), step) {
            (Some((from, to)), _) => {
                let (from, mut to) = (self.value(from)?, self.value(to)?);
                // A week may end with Sunday, by whatever name.
                if to < from && to == 0 && self.most == 7 {
                    to = 7;
                }
                if to < from && dialect == Dialect::Standard {
                    return Err(format!("the range {part} goes backwards"));
                }
                Ok((from, to))
            }
            (None, None) => self.value(range).map(|value| (value, value)),
            (None, Some(_)) if dialect == Dialect::Quartz => Ok((self.value(range)?, self.most)),
            (None, Some(step)) => {
                let most = self.most;
                let from = self.value(range).unwrap_or(self.least);
                Err(format!("the step of {part} needs a range, such as {from}-{most}/{step} or */{step}"))
            }
        }
    }

    fn value(&self, text: &str) -> Result<u16, String> {
        let named = self.names.iter().position(|name| *name == text);
        let named = named.and_then(|index| u16::try_from(index).ok()).map(|index| index + self.named);
        let (least, most) = (self.least, self.most);
        match named.or_else(|| number(text)) {
            Some(value) if (least..=most).contains(&value) => Ok(value),
            Some(value) => Err(format!("{value} is not from {least} to {most}")),
            None if text.is_empty() => Err("a number is missing".to_owned()),
            None if text == "?" => Err("? stands in the place of a day alone".to_owned()),
            None if self.names.is_empty() => Err(format!("{text} is not a number from {least} to {most}")),
            None => Err(format!(
                "{text} is neither a number from {least} to {most} nor a name such as {}",
                self.names.first().copied().unwrap_or_default()
            )),
        }
    }
}

/// Digits alone: a sign is none.
fn number(text: &str) -> Option<u16> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}
