//! Makes a failing run smaller: leaves out troubles and actions for as long as it
//! still fails in the same rule.

use super::driver::run;
use super::plan::Plan;
use crate::planted::Bug;

/// The smallest plan found that still breaks `rule`.
pub fn shrink(plan: &Plan, bug: Option<Bug>, rule: &str) -> Plan {
    let fails = |plan: &Plan| {
        run(plan.clone(), bug, false)
            .is_ok_and(|report| report.violations.iter().any(|violation| violation.rule == rule))
    };
    let mut best = plan.clone();
    loop {
        let before = best.troubles.len() + best.actions.len();
        best = without_parts(&best, |plan| &mut plan.troubles, &fails);
        best = without_parts(&best, |plan| &mut plan.actions, &fails);
        if best.troubles.len() + best.actions.len() == before {
            return best;
        }
    }
}

/// Leaves out ever smaller parts of a list.
fn without_parts<T: Clone>(
    plan: &Plan,
    list: impl Fn(&mut Plan) -> &mut Vec<T>,
    fails: &impl Fn(&Plan) -> bool,
) -> Plan {
    let mut best = plan.clone();
    let mut size = list(&mut best).len().div_ceil(2);
    while size > 0 {
        let mut at = 0;
        while at < list(&mut best).len() {
            let mut smaller = best.clone();
            let items = list(&mut smaller);
            let end = (at + size).min(items.len());
            items.drain(at..end);
            if fails(&smaller) {
                best = smaller;
            } else {
                at += size;
            }
        }
        size /= 2;
    }
    best
}
