//! C13: what belongs to a job belongs to its tenant.

use super::Found;
use crate::Lives;

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
    }
}
