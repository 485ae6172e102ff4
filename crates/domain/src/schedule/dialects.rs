//! The forms of expressions and their faults, and the Quartz dialect against
//! another reader of it.

use std::str::FromStr;

use proptest::prelude::{Strategy, any, prop_assert_eq, prop_oneof, proptest};

use super::*;

fn at(text: &str) -> Timestamp {
    Timestamp::parse_rfc3339(text).unwrap()
}

#[test]
fn the_forms_of_an_expression() {
    let next = |expression: &str, dialect| {
        let schedule = Schedule::parse(expression, "UTC", dialect, DstRule::default()).unwrap();
        schedule.next_after(at("2026-11-21T14:30:00Z")).unwrap().local
    };
    let standard = |expression| next(expression, Dialect::Standard);
    assert_eq!(standard("@daily"), "2026-11-22T00:00:00+00:00");
    assert_eq!(standard("@hourly"), "2026-11-21T15:00:00+00:00");
    assert_eq!(standard("@weekly"), "2026-11-22T00:00:00+00:00");
    assert_eq!(standard("@monthly"), "2026-12-01T00:00:00+00:00");
    assert_eq!(standard("@yearly"), "2027-01-01T00:00:00+00:00");
    assert_eq!(standard("10 30 14 * * *"), "2026-11-21T14:30:10+00:00");
    assert_eq!(standard("0 0 L * *"), "2026-11-30T00:00:00+00:00");
    assert_eq!(standard("0 0 15W 8 *"), "2027-08-16T00:00:00+00:00");
    assert_eq!(standard("0 0 * * MON#2"), "2026-12-14T00:00:00+00:00");
    assert_eq!(standard("0 0 * * FRI#L"), "2026-11-27T00:00:00+00:00");
    assert_eq!(standard("0 9 * JAN mon-fri"), "2027-01-01T09:00:00+00:00");
    // Sunday is 0 and 7, and of two days one is enough.
    assert_eq!(standard("0 0 * * 7"), standard("0 0 * * 0"));
    assert_eq!(standard("0 0 1 * 1"), "2026-11-23T00:00:00+00:00");
    assert_eq!(standard("0 0 13 * +FRI"), "2027-08-13T00:00:00+00:00");
    // Quartz: Sunday is 1, both days count, a year may follow.
    let quartz = |expression| next(expression, Dialect::Quartz);
    assert_eq!(quartz("0 0 9 ? * 2"), "2026-11-23T09:00:00+00:00");
    assert_eq!(quartz("0 0 9 13 * FRI"), "2027-08-13T09:00:00+00:00");
    assert_eq!(quartz("0 0 9 1 1 ? 2030"), "2030-01-01T09:00:00+00:00");
    assert_eq!(quartz("*/20 * * * * ?"), "2026-11-21T14:30:20+00:00");
    assert_eq!(quartz("@daily"), "2026-11-22T00:00:00+00:00");
    // The last day, days before it, the last and the nearest weekday, the nth and the last Friday.
    assert_eq!(quartz("0 0 9 L * ?"), "2026-11-30T09:00:00+00:00");
    assert_eq!(quartz("0 0 9 L-3 * ?"), "2026-11-27T09:00:00+00:00");
    assert_eq!(quartz("0 0 9 L-30 * ?"), "2026-12-01T09:00:00+00:00");
    assert_eq!(quartz("0 0 9 LW 1 ?"), "2027-01-29T09:00:00+00:00");
    assert_eq!(quartz("0 0 9 15W 8 ?"), "2027-08-16T09:00:00+00:00");
    assert_eq!(quartz("0 0 9 ? * 6#2"), "2026-12-11T09:00:00+00:00");
    assert_eq!(quartz("0 0 9 ? * FRI#2"), "2026-12-11T09:00:00+00:00");
    assert_eq!(quartz("0 0 9 ? * 6L"), "2026-11-27T09:00:00+00:00");
    assert_eq!(quartz("0 0 9 ? * friL"), "2026-11-27T09:00:00+00:00");
    assert_eq!(quartz("0 0 9 ? * L"), "2026-11-28T09:00:00+00:00");
    // Steps from a number on, and ranges over the end.
    assert_eq!(quartz("0 5/20 9 * * ?"), "2026-11-22T09:05:00+00:00");
    assert_eq!(quartz("0 /20 * * * ?"), "2026-11-21T14:40:00+00:00");
    assert_eq!(quartz("0 0 22-2 ? * SAT-SUN"), "2026-11-21T22:00:00+00:00");
    // The same in the standard dialect, where it has them.
    assert_eq!(standard("0 9 LW 1 *"), "2027-01-29T09:00:00+00:00");
    assert_eq!(standard("0 9 L-3 * *"), "2026-11-27T09:00:00+00:00");
    assert_eq!(standard("0 9 * * 5L"), "2026-11-27T09:00:00+00:00");
    assert_eq!(standard("0 9 * * FRI#2,MON#L"), "2026-11-30T09:00:00+00:00");
    assert_eq!(standard("0 9 ? * FRI-SUN"), "2026-11-22T09:00:00+00:00");
}

#[test]
fn all_faults_are_told_at_once() {
    let faults = |expression: &str, zone: &str, dialect| {
        let now = at("2026-11-21T14:30:00Z");
        let told = Schedule::faults(expression, zone, dialect, DstRule::default(), now);
        told.into_iter().map(|fault| format!("{}: {fault}", fault.field.as_str())).collect::<Vec<_>>()
    };
    let standard = |expression: &str| faults(expression, "UTC", Dialect::Standard);
    let zone = "timezone: is not a time zone of the IANA database, such as Europe/Madrid or UTC";
    let both = faults("61 25 * X *", "Mars/Olympus", Dialect::Standard);
    let month = "expression: the month: X is neither a number from 1 to 12 nor a name such as JAN";
    assert_eq!(
        both,
        [
            "expression: the minutes: 61 is not from 0 to 59",
            "expression: the hours: 25 is not from 0 to 23",
            month,
            zone
        ]
    );
    // A zone that nobody knows does not hide that the expression never fires.
    let never = "expression: never fires: no day of the next 80 years matches it";
    assert_eq!(faults("0 0 30 2 *", "Mars/Olympus", Dialect::Standard), [zone, never]);
    let steps = "expression: the minutes: the step of 5/5 needs a range, such as 5-59/5 or */5";
    assert_eq!(standard("5/5 * * * *"), [steps]);
    assert_eq!(standard("* 5-3 * * *"), ["expression: the hours: the range 5-3 goes backwards"]);
    let lonely = "expression: the day of the week: L needs a day before it, such as 5L for the last Friday of the month";
    assert_eq!(standard("* * * * L"), [lonely]);
    assert!(Schedule::parse("@daily", "europe/madrid", Dialect::Standard, DstRule::default()).is_ok());
    assert!(Schedule::parse(&"*,".repeat(200), "UTC", Dialect::Standard, DstRule::default()).is_err());
}

#[test]
fn each_slip_is_one_fault_in_words_for_people() {
    let now = at("2026-11-21T14:30:00Z");
    let told = |text: &str, dialect| Schedule::faults(text, "UTC", dialect, DstRule::default(), now);
    let standard =
        |text: &str| told(text, Dialect::Standard).iter().map(ToString::to_string).collect::<Vec<_>>();
    let quartz = |text: &str| told(text, Dialect::Quartz);
    for bad in [
        "",
        "* * * *",
        "* * * * * * *",
        "@reboot",
        "@soon",
        "0 0 0 * *",
        "é * * * *",
        "*/0 * * * *",
        "+5 * * * *",
        "1,,2 * * * *",
        "- * * * *",
        "* * W * *",
        "* * 40W * *",
        "* * L,LW * *",
        "* * L-0 * *",
        "* * L-3W * *",
        "* * 1-5W * *",
        "* * * * 1#6",
        "* * * * MON#",
        "* * * * *L",
        "* * * * *#1",
        "? * * * *",
        "* * * * 1-5-7",
    ] {
        assert_eq!(standard(bad).len(), 1, "{bad}: {:?}", standard(bad));
    }
    for bad in
        ["* * * * *", "0 0 9 ? * 8", "0 0 9 ? * 0", "x", "0 0 9 ? * +2", "0 0 9 * * ? 1969", "0 0 9 * * ?#1"]
    {
        assert_eq!(quartz(bad).len(), 1, "{bad}: {:?}", quartz(bad));
    }
    // No fault speaks of what reads the expression.
    for bad in ["a b c d e", "1/2/3 * * * *", "99999999999 * * * *", "* * * * SUN#0"] {
        let told = standard(bad).join(" ");
        assert!(!["bit", "omponent", "croner", "attern"].iter().any(|word| told.contains(word)), "{told}");
    }
}

#[test]
fn what_never_fires_is_found_out() {
    let now = at("2026-11-21T14:30:00Z");
    let parse =
        |expression, dialect| Schedule::parse(expression, "UTC", dialect, DstRule::default()).unwrap();
    for (expression, dialect) in [
        ("0 0 30 2 *", Dialect::Standard),
        ("0 0 31 4,6,9,11 *", Dialect::Standard),
        ("0 0 0 30 2 ?", Dialect::Quartz),
        ("0 0 9 1 1 ? 2020", Dialect::Quartz),
        ("0 0 9 L-30 2 ?", Dialect::Quartz),
        ("0 0 9 31W 6 ?", Dialect::Quartz),
        ("0 0 30W 2 *", Dialect::Standard),
    ] {
        let refused = parse(expression, dialect).check_fires(now).unwrap_err();
        assert!(refused.detail.contains("never fires"), "{expression}");
    }
    let leap = parse("0 0 29 2 +1", Dialect::Standard).check_fires(now).unwrap();
    assert_eq!(leap.local, "2044-02-29T00:00:00+00:00");
    assert_eq!(
        parse("0 0 29 2 *", Dialect::Standard).next_after(now).unwrap().local,
        "2028-02-29T00:00:00+00:00"
    );
}

/// What expressions are put together from.
const WORDS: &[&str] = &[
    " ", " ", " ", " ", "*", "*", "*", "?", "0", "1", "5", "7", "15", "29", "31", "59", "60", "2028", "-",
    "/", ",", "L", "W", "LW", "#", "#L", "+", "MON", "SUN", "JAN", "fri", "@daily", "@", "L-3", "99999",
];

/// A field that both readers of the Quartz dialect know.
fn field(least: u32, most: u32) -> impl Strategy<Value = String> {
    let number = move || least..=most;
    prop_oneof![
        "\\*",
        number().prop_map(|n| n.to_string()),
        (number(), number()).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
        (number(), number()).prop_map(|(a, b)| format!("{a},{b}")),
        (1..=most.min(20)).prop_map(|step| format!("*/{step}")),
        (number(), 1..=most.min(20)).prop_map(|(from, step)| format!("{from}/{step}")),
    ]
}

proptest! {
    #![proptest_config(proptest::test_runner::Config { failure_persistence: None, ..Default::default() })]
    #[test]
    fn no_expression_breaks_the_reader(
        words in proptest::collection::vec(0..WORDS.len(), 0..24), any in ".{0,60}", quartz in any::<bool>(),
    ) {
        let dialect = if quartz { Dialect::Quartz } else { Dialect::Standard };
        let now = at("2026-11-21T14:30:00Z");
        for text in [words.into_iter().map(|word| WORDS[word]).collect::<String>(), any] {
            let faults = Schedule::faults(&text, "Europe/Madrid", dialect, DstRule::default(), now);
            let read = Schedule::parse(&text, "Europe/Madrid", dialect, DstRule::default());
            match read {
                Ok(schedule) => {
                    let next = schedule.next_after(now);
                    prop_assert_eq!(next.is_some(), faults.is_empty(), "{}", text);
                    assert!(next.is_none_or(|next| next.at > now), "{text}");
                }
                Err(_) => assert!(!faults.is_empty(), "{text}"),
            }
        }
    }

    #[test]
    fn quartz_agrees_with_another_reader(
        (second, minute, hour) in (field(0, 59), field(0, 59), field(0, 23)),
        date in field(1, 28), month in field(1, 12), day in field(1, 7), both in any::<bool>(),
    ) {
        let (date, day) = if both { (date, day) } else { (date, "?".to_owned()) };
        let expression = format!("{second} {minute} {hour} {date} {month} {day}");
        let ours = Schedule::parse(&expression, "UTC", Dialect::Quartz, DstRule::default()).unwrap();
        let other = cron::Schedule::from_str(&expression).unwrap();
        let start = at("2026-11-21T14:30:00Z");
        let mut last = start;
        for hit in other.after(&start.to_datetime()).take(5) {
            let next = ours.next_after(last).unwrap();
            prop_assert_eq!(next.at.to_datetime(), hit, "{}", expression);
            last = next.at;
        }
    }
}
