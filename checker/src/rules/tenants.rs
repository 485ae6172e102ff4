//! C13: what belongs to a job belongs to its tenant.

use super::Found;
use crate::Lives;
use crate::history::{FiringRow, RuleRow};

pub(super) fn are_apart(lives: &Lives<'_>, found: &mut Found) {
    for (row, life) in lives.existing() {
        let foreign = |tenant: &String| *tenant != row.tenant;
        for event in life.events.iter().filter(|event| foreign(&event.tenant)) {
            found.add(format!("entry {} of {} is of {}", event.seq, row.job, event.tenant));
        }
        for attempt in life.attempts.iter().filter(|attempt| foreign(&attempt.tenant)) {
            found.add(format!("attempt {} of {} is of {}", attempt.number, row.job, attempt.tenant));
        }
        for effect in life.effects.iter().filter(|effect| foreign(&effect.tenant)) {
            found.add(format!("attempt {} of {} ran for {}", effect.attempt, row.job, effect.tenant));
        }
        let firing = row.firing.as_deref().and_then(|firing| lives.firings.get(firing));
        if let Some(firing) = firing.filter(|firing| firing.tenant != row.tenant) {
            found.add(format!(
                "{} of {} was made by {} for {}",
                row.job, row.tenant, firing.firing, firing.tenant
            ));
        }
    }
    for firing in &lives.history.firings {
        let rule = lives.history.rules.iter().find(|rule| rule.rule == firing.rule);
        if let Some(rule) = rule.filter(|rule| !may(rule, firing)) {
            found.add(format!("rule {} of {} acted for {}", rule.rule, rule.tenant, firing.tenant));
        }
    }
}

/// A rule makes jobs for those that it acts for; what goes wrong before that, and
/// what is given up, is told to its owner.
fn may(rule: &RuleRow, firing: &FiringRow) -> bool {
    rule.acts_for.contains(&firing.tenant) || (firing.tenant == rule.tenant && !firing.fired())
}
