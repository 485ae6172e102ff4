//! The checker, checked: what is right passes, what is wrong is flagged.
#![expect(clippy::unwrap_used, reason = "what helps a test fails the test")]

mod corrupt;
mod files;
mod firings;
mod story;

use std::collections::BTreeMap;

use taskflow_checker::{judge, rules};

#[test]
fn a_clean_history_is_right() {
    let violations = judge(&story::clean());
    assert!(violations.is_empty(), "{violations:#?}");
}

#[test]
fn nothing_is_right() {
    assert!(judge(&taskflow_checker::History::default()).is_empty());
}

#[test]
fn every_corruption_is_flagged_by_its_rule() {
    let mut flagged: BTreeMap<&str, usize> = BTreeMap::new();
    for (rule, name, corrupt) in corrupt::ALL.iter().chain(firings::ALL) {
        let mut history = story::clean();
        corrupt(&mut history);
        assert_ne!(history, story::clean(), "{rule} {name} changes nothing");
        let violations = judge(&history);
        assert!(
            violations.iter().any(|violation| violation.rule == *rule),
            "{rule} does not see {name}: {violations:#?}"
        );
        *flagged.entry(rule).or_default() += 1;
    }
    for rule in rules::ALL {
        let count = flagged.get(rule.name).copied().unwrap_or(0);
        assert!(count >= 3, "only {count} corrupted histories for {}", rule.name);
    }
    let (seen, all) = (flagged.values().sum::<usize>(), corrupt::ALL.len() + firings::ALL.len());
    println!("report: corrupted histories flagged, by {} rules | {seen} of {all}", rules::ALL.len());
}
