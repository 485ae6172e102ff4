//! The schedule against a slow oracle that asks every minute, and the rows of
//! the published table one by one.

use std::collections::BTreeMap;

use chrono::{Datelike, Offset, TimeZone, Timelike};
use proptest::prelude::{prop_assert_eq, proptest};

use super::*;

const MINUTE: i64 = 60_000_000;

fn schedule(expression: &str, zone: &str, gap: Gap, overlap: Fold) -> Schedule {
    Schedule::parse(expression, zone, Dialect::Standard, DstRule { gap, overlap }).unwrap()
}

fn at(text: &str) -> Timestamp {
    Timestamp::parse_rfc3339(text).unwrap()
}

fn list(schedule: &Schedule, from: Timestamp, to: Timestamp) -> Vec<Occurrence> {
    let mut found = Vec::new();
    let mut last = from.plus_micros(-1);
    while let Some(next) = schedule.next_after(last).filter(|next| next.at < to) {
        assert!(next.at > last, "{schedule:?} goes back to {next:?}");
        last = next.at;
        found.push(next);
    }
    found
}

fn shown(expression: &str, zone: &str, rule: (Gap, Fold), from: &str, to: &str) -> Vec<String> {
    let schedule = schedule(expression, zone, rule.0, rule.1);
    let told = |one: Occurrence| match one.note {
        Some(note) => format!("{} {}", one.local, note.as_str()),
        None => one.local,
    };
    list(&schedule, at(from), at(to)).into_iter().map(told).collect()
}

/// A field of the oracle: `*`, `*/n`, `a-b`, `a-b/n`, or numbers with commas.
fn field(text: &str, value: u32, least: u32) -> bool {
    text.split(',').any(|part| {
        let (range, step) = part.split_once('/').map_or((part, 1), |(range, n)| (range, n.parse().unwrap()));
        let (low, high) = match range.split_once('-') {
            Some((low, high)) => (low.parse().unwrap(), high.parse().unwrap()),
            None if range == "*" => (least, 99),
            None => (range.parse().unwrap(), range.parse().unwrap()),
        };
        (low..=high).contains(&value) && (value - low).is_multiple_of(step)
    })
}

fn wall_hit(fields: &[&str], wall: chrono::NaiveDateTime) -> bool {
    let (dom, dow) = (fields[2], fields[4]);
    let by_date = field(dom, wall.day(), 1);
    let by_week = field(dow, wall.weekday().num_days_from_sunday(), 0);
    let day = if dom == "*" || dow == "*" { by_date && by_week } else { by_date || by_week };
    field(fields[0], wall.minute(), 0)
        && field(fields[1], wall.hour(), 0)
        && field(fields[3], wall.month(), 1)
        && day
}

/// Walks minute by minute and keeps, for each, what the wall clock shows.
fn oracle(expression: &str, zone: Tz, rule: (Gap, Fold), from: Timestamp, to: Timestamp) -> Vec<Timestamp> {
    let fields: Vec<_> = expression.split(' ').collect();
    let hits = |text: &str, least, most| (least..=most).filter(|&value| field(text, value, least)).count();
    let steady = hits(fields[0], 0, 59) * hits(fields[1], 0, 23) >= 24;
    let wall_at = |micros: i64| {
        let utc = Timestamp::from_micros(micros).to_datetime().naive_utc();
        utc + zone.offset_from_utc_datetime(&utc).fix()
    };
    // Some hours more at each end, so that times shown twice are known as such.
    let (start, end) = (from.micros() - 300 * MINUTE, to.micros() + 300 * MINUTE);
    let mut shows: BTreeMap<_, Vec<i64>> = BTreeMap::new();
    let mut fired = Vec::new();
    let mut micros = start;
    while micros < end {
        let (before, here) = (wall_at(micros - MINUTE), wall_at(micros));
        let mut left_out = before + chrono::TimeDelta::minutes(1);
        let mut made_up = false;
        while left_out < here {
            made_up |= wall_hit(&fields, left_out);
            left_out += chrono::TimeDelta::minutes(1);
        }
        if made_up && !steady && rule.0 == Gap::RunAfter {
            fired.push(micros);
        }
        if wall_hit(&fields, here) {
            shows.entry(here).or_default().push(micros);
        }
        micros += MINUTE;
    }
    for instants in shows.values() {
        match (steady, rule.1) {
            (true, _) | (_, Fold::Both) => fired.extend(instants),
            (_, Fold::First) => fired.extend(instants.first()),
            (_, Fold::Second) => fired.extend(instants.last()),
        }
    }
    fired.sort_unstable();
    fired.dedup();
    let inside = |micros: &i64| (from.micros()..to.micros()).contains(micros);
    fired.into_iter().filter(inside).map(Timestamp::from_micros).collect()
}

/// Zones, and days around which their clocks do something.
const ZONES: &[(&str, &str)] = &[
    ("Europe/Madrid", "2026-03-29T00:00:00Z"),
    ("Europe/Madrid", "2026-10-25T00:00:00Z"),
    ("America/New_York", "2026-03-08T06:00:00Z"),
    ("America/New_York", "2026-11-01T06:00:00Z"),
    ("America/Sao_Paulo", "2018-11-04T03:00:00Z"),
    ("America/Sao_Paulo", "2019-02-17T02:00:00Z"),
    ("Australia/Lord_Howe", "2026-10-03T15:30:00Z"),
    ("Australia/Lord_Howe", "2026-04-04T15:00:00Z"),
    ("Pacific/Apia", "2011-12-30T10:00:00Z"),
    ("Pacific/Apia", "2012-03-31T14:00:00Z"),
    ("Asia/Kolkata", "2026-03-29T00:00:00Z"),
    ("Africa/Casablanca", "2026-02-15T02:00:00Z"),
    ("America/Santiago", "2026-04-05T03:00:00Z"),
    ("Europe/Dublin", "2026-10-25T01:00:00Z"),
    ("Antarctica/Troll", "2026-03-29T01:00:00Z"),
];

const EXPRESSIONS: &[&str] = &[
    "0 7 * * *",
    "30 2 * * *",
    "0 0 * * *",
    "15 1,2,3 * * *",
    "0,30 1-3 * * *",
    "*/15 2 * * *",
    "*/10 0-5 * * *",
    "0 * * * *",
    "*/7 * * * *",
    "59 23 * * *",
    "5 0 30 * *",
    "0 2 1-7 * 0",
    "0 */2 * * *",
    "45 1 * * 0,6",
];

#[test]
fn every_zone_and_expression_agrees_with_the_oracle() {
    let mut compared = 0;
    for (name, day) in ZONES {
        let zone: Tz = name.parse().unwrap();
        let (from, to) = (at(day).plus_millis(-86_400_000), at(day).plus_millis(86_400_000));
        for expression in EXPRESSIONS {
            for gap in [Gap::RunAfter, Gap::Skip] {
                for overlap in [Fold::First, Fold::Second, Fold::Both] {
                    let ours = list(&schedule(expression, name, gap, overlap), from, to);
                    let ours: Vec<_> = ours.into_iter().map(|one| one.at).collect();
                    let slow = oracle(expression, zone, (gap, overlap), from, to);
                    assert_eq!(ours, slow, "{expression} in {name}, {gap:?} {overlap:?}");
                    compared += ours.len();
                }
            }
        }
    }
    println!("{compared} occurrences compared");
}

proptest! {
    #![proptest_config(proptest::test_runner::Config { cases: 32, failure_persistence: None, ..Default::default() })]
    #[test]
    fn any_schedule_agrees_with_the_oracle(
        place in 0..ZONES.len(), minute in 0..60u32, hour in 0..24u32, step in 1..24u32, shape in 0..5usize,
        gap in proptest::bool::ANY, fold in 0..3usize, shift in -1000..1000i64,
    ) {
        let (name, day) = ZONES[place];
        let expression = match shape {
            0 => format!("{minute} {hour} * * *"),
            1 => format!("*/{step} {} * * *", hour % 4),
            2 => format!("{minute} */{step} * * *"),
            3 => format!("{minute} {}-{hour} * * *", hour.min(step)),
            _ => format!("{minute},{} 0-{hour} * * {}", minute / 2, step % 7),
        };
        let gap = if gap { Gap::RunAfter } else { Gap::Skip };
        let overlap = [Fold::First, Fold::Second, Fold::Both][fold];
        let from = at(day).plus_millis((shift - 1440) * 60_000);
        let to = from.plus_millis(3 * 86_400_000);
        let ours = list(&schedule(&expression, name, gap, overlap), from, to);
        let ours: Vec<_> = ours.into_iter().map(|one| one.at).collect();
        let slow = oracle(&expression, name.parse().unwrap(), (gap, overlap), from, to);
        prop_assert_eq!(ours, slow, "{} in {}", expression, name);
    }
}

#[test]
fn a_search_may_begin_at_any_instant() {
    // What follows an instant does not depend on where the search began.
    for (name, day) in ZONES {
        for expression in ["30 2 * * *", "*/20 * * * *", "0 0 * * *"] {
            let schedule = schedule(expression, name, Gap::RunAfter, Fold::Both);
            let from = at(day).plus_millis(-86_400_000);
            let all = list(&schedule, from, from.plus_millis(3 * 86_400_000));
            for minute in (0..2 * 1440).step_by(5) {
                let begin = from.plus_micros(minute * MINUTE);
                let expected = all.iter().find(|one| one.at > begin);
                let met = schedule.next_after(begin);
                assert_eq!(
                    met.as_ref().map(|one| one.at),
                    expected.map(|one| one.at),
                    "{expression} {name} {begin}"
                );
            }
        }
    }
}

#[test]
fn the_published_table_of_clock_changes() {
    let spring = ("2026-03-28T12:00:00Z", "2026-03-30T00:00:00Z");
    let madrid = |expression, rule, (from, to)| shown(expression, "Europe/Madrid", rule, from, to);
    let default = (Gap::RunAfter, Fold::First);
    assert_eq!(madrid("30 2 * * *", default, spring), ["2026-03-29T03:00:00+02:00 dst_gap"]);
    assert_eq!(madrid("30 2 * * *", (Gap::Skip, Fold::First), spring), [""; 0]);
    assert_eq!(madrid("0 3 * * *", default, spring), ["2026-03-29T03:00:00+02:00"]);
    assert_eq!(madrid("0 2,3 * * *", default, spring), ["2026-03-29T03:00:00+02:00 dst_gap"]);
    let autumn = ("2026-10-24T20:00:00Z", "2026-10-25T12:00:00Z");
    let first = "2026-10-25T02:30:00+02:00 dst_overlap";
    let second = "2026-10-25T02:30:00+01:00 dst_overlap";
    assert_eq!(madrid("30 2 * * *", default, autumn), [first]);
    assert_eq!(madrid("30 2 * * *", (Gap::RunAfter, Fold::Second), autumn), [second]);
    assert_eq!(madrid("30 2 * * *", (Gap::RunAfter, Fold::Both), autumn), [first, second]);
    // Every half hour follows real time: 50 on the long day, 46 on the short one.
    let day = |from, to| madrid("*/30 * * * *", default, (from, to)).len();
    assert_eq!(day("2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"), 50);
    assert_eq!(day("2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"), 46);
    // A midnight that does not exist, half an hour, and a day that did not exist.
    let sao =
        shown("0 0 * * *", "America/Sao_Paulo", default, "2018-11-03T12:00:00Z", "2018-11-04T12:00:00Z");
    assert_eq!(sao, ["2018-11-04T01:00:00-02:00 dst_gap"]);
    let lord =
        shown("15 2 * * *", "Australia/Lord_Howe", default, "2026-10-03T12:00:00Z", "2026-10-04T12:00:00Z");
    assert_eq!(lord, ["2026-10-04T02:30:00+11:00 dst_gap"]);
    let apia = shown("0 9 * * *", "Pacific/Apia", default, "2011-12-29T12:00:00Z", "2011-12-31T12:00:00Z");
    assert_eq!(
        apia,
        ["2011-12-29T09:00:00-10:00", "2011-12-31T00:00:00+14:00 dst_gap", "2011-12-31T09:00:00+14:00"]
    );
}

#[test]
fn jitter_is_the_rules_own_and_bounded() {
    let rule = |n: u128| RuleId(uuid::Uuid::from_u128(0x0197_0000_0000_7000_8000_0000_0000_0000 + n));
    let spread = |n| schedule("0 0 * * *", "UTC", Gap::RunAfter, Fold::First).spread(rule(n), 600_000);
    let now = at("2026-11-21T14:30:00Z");
    let firsts: Vec<_> = (0..1000).map(|n| spread(n).next_after(now).unwrap().at).collect();
    let midnight = at("2026-11-22T00:00:00Z");
    let late: Vec<_> = firsts.iter().map(|first| first.micros_since(midnight) / 1000).collect();
    assert!(late.iter().all(|late| (0..600_000).contains(late)));
    // Each tenth of the time gets its share of a thousand rules.
    for tenth in 0..10 {
        let share = late.iter().filter(|&&late| late / 60_000 == tenth).count();
        assert!((60..=140).contains(&share), "tenth {tenth} got {share}");
    }
    // The same rule keeps its distance, and a search from an occurrence finds the next.
    let second = spread(7).next_after(firsts[7]).unwrap();
    assert_eq!(second.at.micros_since(firsts[7]), 86_400_000_000);
    assert_eq!(spread(7).next_after(now.plus_millis(-1)).unwrap().at, firsts[7]);
    assert_eq!(spread_ms(rule(1), 0), 0);
}

#[test]
fn an_answer_is_always_later_and_hit_by_the_wall_clock() {
    // Two years through every change of the clocks of the zones, from instants that are no whole seconds.
    for (name, _) in ZONES {
        let schedule = schedule("30 2 * * *", name, Gap::RunAfter, Fold::First);
        let mut last = at("2025-01-01T00:00:00.5Z");
        let mut count = 0;
        while last < at("2027-01-01T00:00:00Z") {
            let next = schedule.next_after(last).unwrap();
            assert!(next.at > last && next.at.micros() % 1_000_000 == 0);
            assert_eq!(Timestamp::parse_rfc3339(&next.local), Some(next.at));
            last = next.at;
            count += 1;
        }
        assert!((730..=731).contains(&count), "{name} had {count} days");
    }
}
